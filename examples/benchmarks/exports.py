"""Speed and accuracy of all modes of running a detector on a CPU."""

import argparse
import copy
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import datasets
import numpy as np
import torch
from numpy.typing import NDArray
from tqdm.auto import tqdm
from transformers.image_processing_utils import BaseImageProcessor

from hiva_hf import HiVAForAUDetection, HiVAImageProcessor
from hiva_hf.data import load_au_dataset
from hiva_hf.data.views import evenly_spaced
from hiva_hf.evaluation.metrics import (
    DEFAULT_THRESHOLD,
    compute_roc_auc,
    count_au_predictions,
    mean_over_aus,
    tune_thresholds,
)
from hiva_hf.export import export_detector, load_exported
from hiva_hf.facs import get_action_unit
from hiva_hf.inference.loading import load_detector

from .networks import compile_for_inference, make_detector, require_compiler
from .timing import NETWORK_TURN_SECONDS, NotRun, Table, describe_turns, interleave, median_ratio, milliseconds, ratio


# Faces to logits.
Runner = Callable[[torch.Tensor], torch.Tensor]

PLAIN = "PyTorch, eager, fp32"
# A timm model with its defaults: the plain network enables timm's faster attention.
BASELINE = f"{PLAIN}, timm's default attention"
ROUNDS = {1: 20, 16: 10}
QUICK_ROUNDS = {1: 10, 16: 5}
# Number of faces on which changes of probabilities are measured.
NUM_FACES = 32
BATCH_SIZE = 16
NUM_QUICK_CALIBRATION_FACES = 16


def torch_mode(model: HiVAForAUDetection, dtype: torch.dtype, is_fused: bool, is_compiled: bool) -> Runner:
    """The network in PyTorch."""
    network = copy.deepcopy(model)
    network = (network.fuse() if is_fused else network.unfuse()).to(dtype)
    run = compile_for_inference(network) if is_compiled else network
    return lambda faces: run(faces.to(dtype)).logits.float()


def baseline_mode(model: HiVAForAUDetection) -> Runner:
    """The plain network with timm's default attention for Swin."""
    network = copy.deepcopy(model)
    for module in network.vision_model.backbone.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False
    return lambda faces: network(faces).logits


def exported_mode(
    model: HiVAForAUDetection, processor: BaseImageProcessor, folder: Path, format: str, dtype: str, quick: bool
) -> Runner:
    """The network as exported by `hiva-hf export`."""
    if (format, dtype) == ("torch", "int8"):
        require_compiler()
    folder = folder / f"{format}-{dtype}"
    # Fewer faces slightly change the results of int8, but not its speed.
    fewer = {"num_calibration_faces": NUM_QUICK_CALIBRATION_FACES} if quick else {}
    export_detector(model, processor, folder, format, dtype, num_comparison_faces=8, progress=False, **fewer)
    program = load_exported(folder, trust_remote_code=format == "torch", num_threads=torch.get_num_threads())
    return lambda faces: program(faces).logits


# Precision, whether the network is fused, and whether it is compiled.
TORCH_MODES = {
    PLAIN: (torch.float32, False, False),
    "PyTorch, fused, eager, fp32": (torch.float32, True, False),
    "PyTorch, fused, eager, bf16": (torch.bfloat16, True, False),
    "PyTorch, fused, compiled, fp32": (torch.float32, True, True),
    "PyTorch, fused, compiled, bf16": (torch.bfloat16, True, True),
}
EXPORTED_MODES = {
    "ONNX Runtime, fp32": ("onnx", "fp32"),
    "ONNX Runtime, int8": ("onnx", "int8"),
    "OpenVINO, fp32": ("openvino", "fp32"),
    "OpenVINO, bf16": ("openvino", "bf16"),
    "OpenVINO, int8": ("openvino", "int8"),
    "PyTorch, fused, compiled, int8": ("torch", "int8"),
}
# The other modes take minutes to prepare, or are never the fastest.
QUICK_MODES = (
    BASELINE,
    PLAIN,
    "PyTorch, fused, eager, fp32",
    "PyTorch, fused, eager, bf16",
    "OpenVINO, bf16",
    "OpenVINO, int8",
)


@contextmanager
def prepared_modes(
    model: HiVAForAUDetection, processor: BaseImageProcessor, quick: bool
) -> Iterator[tuple[dict[str, Runner], str]]:
    """The modes that can run here, and a note on those that can't."""
    runners, missing = {}, []
    names = QUICK_MODES if quick else (BASELINE, *TORCH_MODES, *EXPORTED_MODES)
    with tempfile.TemporaryDirectory() as folder:
        for name in tqdm(names, desc="preparing", unit="mode", leave=False, disable=None):
            try:
                if name == BASELINE:
                    runners[name] = baseline_mode(model)
                elif name in TORCH_MODES:
                    runners[name] = torch_mode(model, *TORCH_MODES[name])
                else:
                    runners[name] = exported_mode(model, processor, Path(folder), *EXPORTED_MODES[name], quick)
            except (ImportError, NotRun) as error:
                missing.append(f"{name} is left out: {error}")
        yield runners, " ".join(missing)


def modes(options: argparse.Namespace) -> Iterator[Table]:
    """Latency of the paper's network in every mode, beside the plain one."""
    model, processor = make_detector(), HiVAImageProcessor()
    faces = read_faces(load_au_dataset("synthfacs", split="test"), processor, NUM_FACES)
    with prepared_modes(model, processor, options.quick) as (runners, missing):
        changes = largest_changes(runners, faces)
        for batch_size, rounds in (QUICK_ROUNDS if options.quick else ROUNDS).items():
            yield time_modes(runners, faces[:batch_size], changes, rounds, missing)


def read_faces(dataset: datasets.Dataset, processor: HiVAImageProcessor, number: int) -> torch.Tensor:
    """Evenly spaced faces of a data set, `[number, 3, H, W]`."""
    chosen = dataset.select(evenly_spaced(len(dataset), number))
    return processor(chosen["image"][:], return_tensors="pt")["pixel_values"]


@torch.inference_mode()
def probabilities_of(runner: Runner, faces: torch.Tensor) -> NDArray[np.float32]:
    batches = tqdm(faces.split(BATCH_SIZE), unit="batch", leave=False, disable=None)
    return torch.cat([runner(batch) for batch in batches]).sigmoid().numpy()


def largest_changes(runners: dict[str, Runner], faces: torch.Tensor) -> dict[str, float]:
    """Largest difference of any probability to the plain network, for each mode."""
    found = {name: probabilities_of(runner, faces) for name, runner in runners.items()}
    return {name: float(np.abs(values - found[PLAIN]).max()) for name, values in found.items()}


@torch.inference_mode()
def time_modes(
    runners: dict[str, Runner], faces: torch.Tensor, changes: dict[str, float], rounds: int, missing: str
) -> Table:
    turns = {name: lambda run=run: run(faces) for name, run in runners.items()}
    seconds = interleave(turns, rounds, turn_seconds=NETWORK_TURN_SECONDS)
    batch_size = len(faces)
    figures = {
        f"best_cpu_speedup{over}_b{batch_size}": max(median_ratio(seconds[slow], times) for times in seconds.values())
        for over, slow in {"": BASELINE, "_over_plain": PLAIN}.items()
    }
    return Table(
        f"HiVA on a processor: Swin-B, batch {batch_size}",
        ["mode", "ms", "minimum", "faces/s", "times as fast as the first", "as the plain network"]
        + ["largest change of a probability"],
        [
            [name, *milliseconds(times), f"{batch_size / np.median(times):.1f}"]
            + [ratio(seconds[slow], times) for slow in (BASELINE, PLAIN)]
            + [f"{changes[name]:.1g}"]
            for name, times in seconds.items()
        ],
        f"{describe_turns(rounds)} Changes on {NUM_FACES} faces of SynthFACS. {missing}".strip(),
        seconds,
        figures,
    )


def accuracy(options: argparse.Namespace) -> Iterator[Table]:
    """Scores of every mode on the test subjects of SynthFACS, with a trained detector."""
    detector = load_detector(options.checkpoint, device="cpu", dtype="float32")
    model, processor = detector.model.requires_grad_(False), detector.image_processor
    labels = model.config.au_labels
    validation, test = (read_split(split, labels, processor, options.quick) for split in ("validation", "test"))
    with prepared_modes(model, processor, options.quick) as (runners, missing):
        # It differs from the plain network only in speed.
        runners.pop(BASELINE, None)
        # Exports keep the thresholds of their checkpoint, so they are tuned once, with the plain network.
        tuned = tune_thresholds(validation.truth, probabilities_of(runners[PLAIN], validation.faces), labels)
        found = {name: probabilities_of(runner, test.faces) for name, runner in runners.items()}
    scores = {name: score(test.truth, values, tuned, labels) for name, values in found.items()}
    yield Table(
        "Accuracy of the modes",
        ["mode", "F1 at .5", "F1, tuned", "ROC-AUC", "largest change of a probability"],
        [
            [name, *(f"{value:.4f}" for value in scores[name]), f"{np.abs(values - found[PLAIN]).max():.1g}"]
            for name, values in found.items()
        ],
        f"{options.checkpoint or 'The detector of the package'} on {len(test.faces)} faces of the test people of "
        f"SynthFACS, fold 1; means over {len(labels)} AUs. Thresholds tuned on the validation people with the plain "
        f"network. {missing}".strip(),
    )


@dataclass(frozen=True, eq=False)
class Split:
    """Faces `[n, 3, H, W]` and their labels `[n, N]`."""

    faces: torch.Tensor
    truth: NDArray[np.integer]


def read_split(split: str, labels: list[str], processor: BaseImageProcessor, quick: bool) -> Split:
    dataset = load_au_dataset("synthfacs", split=split, aus=[get_action_unit(label).number for label in labels])
    if quick:
        dataset = dataset.select(evenly_spaced(len(dataset), 4 * BATCH_SIZE))
    truth = np.array(dataset["labels"][:])
    if (truth < 0).all():
        raise NotRun(f"SynthFACS codes none of {', '.join(labels)}: there is nothing to score.")
    return Split(read_faces(dataset, processor, len(dataset)), truth)


def score(
    truth: NDArray[np.integer], probabilities: NDArray[np.floating], tuned: NDArray[np.floating], labels: list[str]
) -> list[float]:
    """Means over AUs: F1 at 0.5 and at the tuned thresholds, and ROC-AUC."""
    values = [
        count_au_predictions(truth, probabilities, DEFAULT_THRESHOLD).f1,
        count_au_predictions(truth, probabilities, tuned).f1,
        compute_roc_auc(truth, probabilities),
    ]
    return [mean_over_aus(value, labels)[0] for value in values]

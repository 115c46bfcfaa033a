"""Latency on a GPU, in absolute times, since nothing else runs there."""

import argparse
import copy
import re
from collections.abc import Callable, Iterator

import numpy as np
import torch

from hiva_hf import HiVAForAUDetection, profile

from .inference import BACKBONE, FUSED, TIMM, TOLERANCE, make_networks
from .networks import check_equal, make_detector, random_faces
from .timing import NotRun, Table


BATCH_SIZES = (1, 32)
# A multiply-add counts as two operations. Dense bf16 with fp32 accumulation, TFLOP/s, from NVIDIA's data sheets.
PEAK_TFLOPS = {"H200": 989, "H100 PCIe": 756, "H100": 989, "A100": 312, "L40S": 362, "L4": 121, "RTX 4090": 165}


def latency(options: argparse.Namespace) -> Iterator[Table]:
    """The fused network and the backbones in bf16, eager and compiled with CUDA graphs, timed by CUDA events."""
    if not torch.cuda.is_available():
        raise NotRun("PyTorch finds no CUDA device here.")
    rounds = 10 if options.quick else 200
    plain = make_detector().cuda()
    macs = profile(copy.deepcopy(plain).fuse(), num_batches=1, verbose=False).macs_per_image
    networks = make_networks(plain, torch.bfloat16)
    for batch_size in BATCH_SIZES:
        yield time_networks(networks, plain, batch_size, macs, rounds)


def time_networks(
    networks: dict[str, Callable[[torch.Tensor], torch.Tensor]],
    plain: HiVAForAUDetection,
    batch_size: int,
    macs: int,
    rounds: int,
) -> Table:
    device = torch.cuda.get_device_name()
    peak = next((tflops for name, tflops in PEAK_TFLOPS.items() if re.search(rf"\b{name}\b", device)), None)
    faces = random_faces(plain, batch_size).cuda()
    inputs = faces.bfloat16()
    tokens = networks[TIMM](inputs)
    seconds, medians, rows = {}, {}, []
    for name, expected in {FUSED: plain(faces).logits, BACKBONE: tokens, TIMM: tokens}.items():
        network = networks[name]
        # Compiled for a fixed batch size.
        compiled = torch.compile(network, mode="reduce-overhead", fullgraph=True, dynamic=False)
        for mode, run in {"eager": network, "compiled": compiled}.items():
            key = f"{name}, {mode}"
            times = seconds[key] = time_on_gpu(key, run, inputs, expected, rounds)
            medians[key] = np.median(times)
            row = [key, f"{1e3 * medians[key]:.2f}", f"{1e3 * min(times):.2f}", f"{batch_size / medians[key]:.0f}"]
            rows.append([*row, *arithmetic(2 * macs * batch_size / medians[key] / 1e12, peak, name)])
    return Table(
        f"HiVA on {device}: Swin-B, {plain.config.num_labels} AUs, bf16, batch {batch_size}",
        ["", "ms", "minimum", "faces/s", "TFLOP/s", "of the matrix peak"],
        rows,
        f'By CUDA events, after warm-up, medians of {rounds}; compiled with `mode="reduce-overhead"` (CUDA graphs). '
        f"torch {torch.__version__}, CUDA {torch.version.cuda}. Copies to and from the device are not in it.",
        seconds,
        {f"gpu_ms_b{batch_size}": float(1e3 * medians[f"{FUSED}, compiled"])},
    )


def arithmetic(tflops: float, peak: float | None, name: str) -> list[str]:
    """Arithmetic throughput of the whole network; multiply-adds of the backbones are not counted."""
    if name != FUSED:
        return ["", ""]
    return [f"{tflops:.0f}", "" if peak is None else f"{tflops / peak:.0%}"]


@torch.inference_mode()
def time_on_gpu(
    name: str, network: Callable, inputs: torch.Tensor, expected: torch.Tensor, rounds: int
) -> list[float]:
    """Seconds of each pass."""
    # The first passes compile and record the graph.
    for _ in range(5):
        found = network(inputs).clone()
    check_equal(name, found, expected, TOLERANCE[torch.bfloat16])
    events = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(rounds)]
    for start, end in events:
        start.record()
        network(inputs)
        end.record()
    torch.cuda.synchronize()
    return [start.elapsed_time(end) / 1e3 for start, end in events]

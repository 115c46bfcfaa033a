"""Latency on a GPU: absolute, since nothing else runs there."""

import argparse
from collections.abc import Callable, Iterator

import numpy as np
import torch

from .networks import check_equal, make_detector, random_faces
from .timing import NotRun, Table


BATCH_SIZES = (1, 32)
# Multiply-adds count twice. Dense bf16 with fp32 accumulation, TFLOP/s, as NVIDIA's data sheets tell them.
PEAK_TFLOPS = {"H200": 989, "H100 PCIe": 756, "H100": 989, "A100": 312, "L40S": 362, "L4": 121, "RTX 4090": 165}
# Of probabilities, between bf16 and fp32.
TOLERANCE = 0.1


def latency(options: argparse.Namespace) -> Iterator[Table]:
    """The fused network in bf16, compiled into CUDA graphs, by CUDA events."""
    if not torch.cuda.is_available():
        raise NotRun("PyTorch finds no CUDA device here.")
    rounds = 10 if options.quick else 200
    device = torch.cuda.get_device_name()
    peak = next((tflops for name, tflops in PEAK_TFLOPS.items() if name in device), None)
    plain, fused = make_detector().cuda(), make_detector().cuda().to(torch.bfloat16).fuse()
    macs = count_fused_macs(fused)
    rows, seconds = [], {}
    for batch_size in BATCH_SIZES:
        faces = random_faces(plain, batch_size).cuda()
        variants = {"eager": fused, "compiled": torch.compile(fused, mode="reduce-overhead", fullgraph=True)}
        for name, model in variants.items():
            key = f"{name}, batch {batch_size}"
            times = seconds[key] = time_on_gpu(key, model, plain, faces, rounds)
            tflops = 2 * macs * batch_size / np.median(times) / 1e12
            rows.append(
                [
                    key,
                    f"{1e3 * np.median(times):.2f}",
                    f"{1e3 * min(times):.2f}",
                    f"{batch_size / np.median(times):.0f}",
                ]
                + [f"{tflops:.0f}", "" if peak is None else f"{tflops / peak:.0%}"]
            )
    yield Table(
        f"HiVA on {device}: Swin-B, {plain.config.num_labels} AUs, bf16, fused",
        ["", "ms", "minimum", "faces/s", "TFLOP/s", "of the matrix peak"],
        rows,
        f'By CUDA events, after warm-up, medians of {rounds}; compiled with `mode="reduce-overhead"` (CUDA graphs). '
        f"torch {torch.__version__}, CUDA {torch.version.cuda}. Copies to and from the device are not in it.",
        seconds,
    )


def count_fused_macs(fused: torch.nn.Module) -> int:
    from hiva_hf import profile

    return profile(fused, num_batches=1, verbose=False).macs_per_image


@torch.inference_mode()
def time_on_gpu(name: str, model: Callable, plain: torch.nn.Module, faces: torch.Tensor, rounds: int) -> list[float]:
    """Seconds of each pass."""
    inputs = faces.to(torch.bfloat16)
    # The first passes compile, and record the graph.
    for _ in range(5):
        logits = model(inputs).logits.clone()
    check_equal(name, logits.float().sigmoid(), plain(faces).logits.sigmoid(), TOLERANCE)
    events = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(rounds)]
    for start, end in events:
        start.record()
        model(inputs)
        end.record()
    torch.cuda.synchronize()
    return [start.elapsed_time(end) / 1e3 for start, end in events]

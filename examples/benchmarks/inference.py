"""The fused network beside the plain one, and beside its backbone alone, which is a lower bound of its time."""

import argparse
import copy
from collections.abc import Callable, Iterator

import torch

from hiva_hf import HiVAForAUDetection, VLFAUForAUDetection, profile

from .networks import check_equal, compile_for_inference, make_detector, make_vl_fau, random_faces, timm_backbone
from .timing import NETWORK_TURN_SECONDS, Table, describe_turns, interleave, median_ratio, milliseconds, ratio


PLAIN, FUSED = "HiVA", "HiVA, fused"
PLAIN_BACKBONE, BACKBONE, TIMM = "the plain backbone", "the fused backbone", "timm's Swin-B"
ROUNDS = {1: 40, 16: 10}
# With --quick: as many rounds as the figures need.
QUICK_ROUNDS = {1: 20, 16: 7}
# For logits near 1: a larger difference means an error in the fused network. The actual one is in the note.
TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.5}


def fused(options: argparse.Namespace) -> Iterator[Table]:
    """Latency of the plain and the fused network; with --quick only in fp32 and eager mode."""
    plain = make_detector()
    if options.quick:
        yield from _time_in_all_batch_sizes(plain, torch.float32, QUICK_ROUNDS, is_compiled=False)
        return
    # Compiled ones last, which need a C++ compiler.
    for is_compiled in (False, True):
        for dtype in (torch.float32, torch.bfloat16):
            yield from _time_in_all_batch_sizes(plain, dtype, ROUNDS, is_compiled)


def _time_in_all_batch_sizes(
    plain: HiVAForAUDetection, dtype: torch.dtype, rounds_of: dict[int, int], is_compiled: bool
) -> Iterator[Table]:
    networks = make_networks(plain, dtype)
    for batch_size, rounds in rounds_of.items():
        timed = {name: compile_for_inference(run) for name, run in networks.items()} if is_compiled else networks
        yield time_networks(timed, plain, batch_size, dtype, rounds, is_compiled)


def vl_fau(options: argparse.Namespace) -> Iterator[Table]:
    """Latency of VL-FAU's probabilities, plain and fused."""
    plain = make_vl_fau()
    for dtype, precision in {torch.float32: "fp32", torch.bfloat16: "bf16"}.items():
        networks = {"VL-FAU": copy.deepcopy(plain).to(dtype), "VL-FAU, fused": copy.deepcopy(plain).fuse().to(dtype)}
        for batch_size, rounds in (QUICK_ROUNDS if options.quick else ROUNDS).items():
            yield _time_vl_fau(networks, plain, batch_size, dtype, precision, rounds)


@torch.inference_mode()
def _time_vl_fau(
    networks: dict[str, VLFAUForAUDetection],
    plain: VLFAUForAUDetection,
    batch_size: int,
    dtype: torch.dtype,
    precision: str,
    rounds: int,
) -> Table:
    faces = random_faces(plain, batch_size)
    inputs, expected = faces.to(dtype), plain(faces).logits
    differences = {
        name: check_equal(f"{name}, {precision}", network(inputs).logits, expected, TOLERANCE[dtype])
        for name, network in networks.items()
    }
    turns = {name: lambda network=network: network(inputs) for name, network in networks.items()}
    seconds = interleave(turns, rounds, turn_seconds=NETWORK_TURN_SECONDS)
    first = next(iter(seconds.values()))
    return Table(
        f"VL-FAU: Swin-B, {plain.config.num_labels} AUs, no sentences, {precision}, eager, batch {batch_size}",
        ["", "ms", "minimum", "times as fast as the first", "largest change of a logit"],
        [
            [name, *milliseconds(times), ratio(first, times), f"{differences[name]:.1g}"]
            for name, times in seconds.items()
        ],
        f"{describe_turns(rounds)} Logits have a standard deviation of {expected.std():.2f}.",
        seconds,
    )


def make_networks(plain: HiVAForAUDetection, dtype: torch.dtype) -> dict[str, Callable[[torch.Tensor], torch.Tensor]]:
    """The networks to time: from faces to logits, or to the tokens of the last stage."""
    cast = copy.deepcopy(plain).to(dtype)
    # Folded in the precision of the weights, then cast.
    folded = copy.deepcopy(plain).fuse().to(dtype)
    swin, timm_model = folded.fused_detector.swin, folded.vision_model.backbone.timm_model
    plain_timm_model, own = cast.vision_model.backbone.timm_model, timm_backbone(plain).to(plain.device, dtype)
    return {
        PLAIN: lambda faces: cast(faces).logits,
        FUSED: lambda faces: folded(faces).logits,
        PLAIN_BACKBONE: lambda faces: plain_timm_model.forward_features(faces).flatten(1, 2),
        BACKBONE: lambda faces: swin(timm_model, faces),
        TIMM: lambda faces: own.forward_features(faces).flatten(1, 2),
    }


@torch.inference_mode()
def time_networks(
    networks: dict[str, Callable[[torch.Tensor], torch.Tensor]],
    plain: HiVAForAUDetection,
    batch_size: int,
    dtype: torch.dtype,
    rounds: int,
    is_compiled: bool,
) -> Table:
    faces = random_faces(plain, batch_size)
    inputs = faces.to(dtype)
    precision = "fp32" if dtype == torch.float32 else "bf16"
    expected, tolerance = plain(faces).logits, TOLERANCE[dtype]
    difference = check_equal(f"{FUSED}, {precision}", networks[FUSED](inputs), expected, tolerance)
    for name in (BACKBONE, PLAIN_BACKBONE):
        check_equal(f"{name}, {precision}", networks[name](inputs), networks[TIMM](inputs), tolerance)
    turns = {name: lambda run=run: run(inputs) for name, run in networks.items()}
    seconds = interleave(turns, rounds, turn_seconds=NETWORK_TURN_SECONDS)
    figures = {}
    if dtype == torch.float32 and not is_compiled:
        figures[f"hiva_over_backbone_fp32_b{batch_size}"] = median_ratio(seconds[FUSED], seconds[BACKBONE])
        if batch_size == 1:
            macs = profile(copy.deepcopy(plain).fuse(), num_batches=1, verbose=False).macs_per_image
            figures["backbone_over_timm_eager_fp32_b1"] = median_ratio(seconds[TIMM], seconds[BACKBONE])
            figures |= {"fused_macs": macs, "fused_max_abs_diff": difference}
    mode = "torch.compile" if is_compiled else "eager"
    note = (
        f"{describe_turns(rounds)} {TIMM} with its default attention; {PLAIN_BACKBONE} is the same with its faster "
        f"one. Logits (standard deviation {expected.std():.2f}) of the fused network differ from the plain one's "
        f"in fp32 by {difference:.1g} at most."
    )
    if "fused_macs" in figures:
        note += f" Multiply-adds for one face, fused: {figures['fused_macs'] / 1e9:.2f} G."
    return Table(
        f"HiVA and its backbone: Swin-B, {plain.config.num_labels} AUs, {precision}, {mode}, batch {batch_size}",
        ["", "ms", "minimum"] + [f"times as long as {BACKBONE}", f"as {PLAIN_BACKBONE}", f"times as fast as {TIMM}"],
        [
            [name, *milliseconds(times)]
            + [ratio(times, seconds[backbone]) for backbone in (BACKBONE, PLAIN_BACKBONE)]
            + [ratio(seconds[TIMM], times)]
            for name, times in seconds.items()
        ],
        note,
        seconds,
        figures,
    )

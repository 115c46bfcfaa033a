"""Every way of running a detector on a processor: how fast each is, and what it costs in accuracy."""

import argparse
import copy
from collections.abc import Callable, Iterator

import datasets
import numpy as np
import torch
from numpy.typing import NDArray
from tqdm.auto import tqdm

from hiva_hf import HiVAForAUDetection, HiVAImageProcessor
from hiva_hf.data import load_au_dataset
from hiva_hf.evaluation.metrics import (
    DEFAULT_THRESHOLD,
    compute_roc_auc,
    count_au_predictions,
    mean_over_aus,
    tune_thresholds,
)
from hiva_hf.facs import get_action_unit
from hiva_hf.inference.detection import load_detector

from .networks import make_detector
from .timing import NotRun, Table, interleave, median_ratio, milliseconds, ratio


# Faces to logits.
Runner = Callable[[torch.Tensor], torch.Tensor]

PLAIN = "PyTorch, eager, fp32"
ROUNDS = {1: 20, 16: 10}
QUICK_ROUNDS = {1: 10, 16: 5}
# Enough of them for the first and the last layer to see usual faces.
NUM_FACES = 32
BATCH_SIZE = 16


def torch_mode(model: HiVAForAUDetection, dtype: torch.dtype, is_fused: bool, is_compiled: bool) -> Runner:
    """The network itself, as PyTorch runs it."""
    network = copy.deepcopy(model)
    network = (network.fuse() if is_fused else network).to(dtype)
    run = torch.compile(network, dynamic=False) if is_compiled else network
    return lambda faces: run(faces.to(dtype)).logits.float()


# What is left out with --quick takes minutes to prepare, or is never the fastest.
MODES: dict[str, Callable[[HiVAForAUDetection], Runner]] = {
    PLAIN: lambda model: torch_mode(model, torch.float32, is_fused=False, is_compiled=False),
    "PyTorch, fused, eager, fp32": lambda model: torch_mode(model, torch.float32, is_fused=True, is_compiled=False),
    "PyTorch, fused, eager, bf16": lambda model: torch_mode(model, torch.bfloat16, is_fused=True, is_compiled=False),
    "PyTorch, fused, compiled, fp32": lambda model: torch_mode(model, torch.float32, is_fused=True, is_compiled=True),
    "PyTorch, fused, compiled, bf16": lambda model: torch_mode(model, torch.bfloat16, is_fused=True, is_compiled=True),
}
QUICK_MODES = (PLAIN, "PyTorch, fused, eager, fp32", "PyTorch, fused, eager, bf16")


def make_runners(model: HiVAForAUDetection, names: list[str]) -> tuple[dict[str, Runner], str]:
    """Prepares modes.

    Returns:
        Those that can run here, and sentences about those that can't.
    """
    runners, missing = {}, []
    for name in tqdm(names, desc="preparing", unit="mode", leave=False, disable=None):
        try:
            runners[name] = MODES[name](model)
        except ImportError as error:
            missing.append(f"{name} is left out: {error}")
    return runners, " ".join(missing)


def modes(options: argparse.Namespace) -> Iterator[Table]:
    """Latency of the paper's network in every mode, beside the plain one."""
    model = make_detector()
    runners, missing = make_runners(model, list(QUICK_MODES if options.quick else MODES))
    faces = read_faces(load_au_dataset("synthfacs", split="test"), HiVAImageProcessor(), NUM_FACES)
    changes = largest_changes(runners, faces)
    for batch_size, rounds in (QUICK_ROUNDS if options.quick else ROUNDS).items():
        yield time_modes(runners, faces[:batch_size], changes, rounds, missing)


def read_faces(dataset: datasets.Dataset, processor: HiVAImageProcessor, number: int) -> torch.Tensor:
    """Evenly spaced faces of a set, `[number, 3, H, W]`."""
    chosen = dataset.select(np.linspace(0, len(dataset) - 1, min(number, len(dataset))).astype(int))
    return processor(chosen["image"][:], return_tensors="pt")["pixel_values"]


@torch.inference_mode()
def probabilities_of(runner: Runner, faces: torch.Tensor) -> NDArray[np.float32]:
    batches = tqdm(faces.split(BATCH_SIZE), unit="batch", leave=False, disable=None)
    return torch.cat([runner(batch) for batch in batches]).sigmoid().numpy()


def largest_changes(runners: dict[str, Runner], faces: torch.Tensor) -> dict[str, float]:
    """Of any probability, against the plain network."""
    found = {name: probabilities_of(runner, faces) for name, runner in runners.items()}
    return {name: float(np.abs(values - found[PLAIN]).max()) for name, values in found.items()}


@torch.inference_mode()
def time_modes(
    runners: dict[str, Runner], faces: torch.Tensor, changes: dict[str, float], rounds: int, missing: str
) -> Table:
    seconds = interleave({name: lambda run=run: run(faces) for name, run in runners.items()}, rounds)
    speedups = {name: median_ratio(seconds[PLAIN], times) for name, times in seconds.items()}
    return Table(
        f"HiVA on a processor: Swin-B, batch {len(faces)}",
        ["mode", "ms", "minimum", "faces/s", "times as fast", "largest change of a probability"],
        [
            [name, *milliseconds(times), f"{len(faces) / np.median(times):.1f}", ratio(seconds[PLAIN], times)]
            + [f"{changes[name]:.1g}"]
            for name, times in seconds.items()
        ],
        f"Random weights, {torch.get_num_threads()} threads; medians of {rounds} rounds, in brackets the ratio of the "
        f"minima. Changes on {NUM_FACES} faces of SynthFACS; random weights magnify them. {missing}".strip(),
        seconds,
        {f"best_cpu_speedup_b{len(faces)}": max(speedups.values())},
    )


def accuracy(options: argparse.Namespace) -> Iterator[Table]:
    """What every mode finds on the test people of SynthFACS, with a detector that has learned something."""
    detector = load_detector(options.checkpoint, device="cpu", dtype="float32")
    model, processor = detector.model.requires_grad_(False), detector.image_processor
    runners, missing = make_runners(model, list(QUICK_MODES if options.quick else MODES))
    number = 64 if options.quick else 10_000
    labels = model.config.au_labels
    numbers = [get_action_unit(label).number for label in labels]
    sets = {split: load_au_dataset("synthfacs", split=split, aus=numbers) for split in ("validation", "test")}
    faces = {split: read_faces(dataset, processor, number) for split, dataset in sets.items()}
    truth = {
        split: np.array(dataset["labels"][:])[np.linspace(0, len(dataset) - 1, len(faces[split])).astype(int)]
        for split, dataset in sets.items()
    }
    if (truth["test"] < 0).all():
        raise NotRun(f"SynthFACS codes none of {', '.join(labels)}: there is nothing to score.")
    # An export keeps the thresholds of its checkpoint: they are tuned once, with the plain network.
    tuned = tune_thresholds(truth["validation"], probabilities_of(runners[PLAIN], faces["validation"]), labels)
    found = {name: probabilities_of(runner, faces["test"]) for name, runner in runners.items()}
    scores = {name: score(truth["test"], values, tuned, labels) for name, values in found.items()}
    yield Table(
        "Accuracy of the modes",
        ["mode", "F1 at .5", "F1, tuned", "ROC-AUC", "largest change of a probability"],
        [
            [name, *(f"{value:.4f}" for value in scores[name]), f"{np.abs(values - found[PLAIN]).max():.1g}"]
            for name, values in found.items()
        ],
        f"{options.checkpoint or 'The detector of the package'} on {len(faces['test'])} faces of the test people of "
        f"SynthFACS, fold 1; means over {len(labels)} AUs. Thresholds tuned on the validation people with the plain "
        f"network. {missing}".strip(),
    )


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

"""Tables, and interleaved timing of variants."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from tqdm.auto import tqdm


class NotRun(Exception):
    """A benchmark can't be run here; the message says why, and what it needs."""


@dataclass
class Table:
    """Figures for people (Markdown), and the times that they come from (JSON).

    Attributes:
        title: Heading.
        columns: Names of the columns; the first column is the subject of the row.
        rows: Cells, as many in each row as there are columns.
        note: What was measured, and how.
        seconds: Time of every round, for each variant.
        figures: Figures at the top level of the JSON file, by name.
    """

    title: str
    columns: list[str]
    rows: list[list[str]]
    note: str
    seconds: dict[str, list[float]] = field(default_factory=dict)
    figures: dict[str, float] = field(default_factory=dict)

    def markdown(self) -> str:
        lines = [self.columns, ["---", *["---:"] * (len(self.columns) - 1)], *self.rows]
        table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        return f"### {self.title}\n\n{table}\n\n{self.note}\n"


# For networks: with it, turns of a network that takes 30 ms are about as long as those of one that takes 300 ms, and
# are more than a single call with caches full of the others' weights.
NETWORK_TURN_SECONDS = 0.6


def interleave(
    variants: dict[str, Callable[[], object]],
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
    turn_seconds: float = 0.0,
) -> dict[str, list[float]]:
    """Seconds per call of each variant in each round; in a round, every variant has one turn.

    The first call of each does not count.

    Args:
        variants: The functions to time.
        rounds: Number of turns of each.
        clock: Returns the time in seconds.
        turn_seconds: A turn repeats the call until this time has passed, at least once; its result is the mean.
    """
    for variant in variants.values():
        variant()
    seconds = {name: [] for name in variants}
    for _ in tqdm(range(rounds), unit="round", leave=False, disable=None):
        for name, variant in variants.items():
            seconds[name].append(_turn(variant, clock, turn_seconds))
    return seconds


def _turn(variant: Callable[[], object], clock: Callable[[], float], turn_seconds: float) -> float:
    start, calls = clock(), 0
    while True:
        variant()
        calls += 1
        passed = clock() - start
        if passed >= turn_seconds:
            return passed / calls


def describe_turns(rounds: int) -> str:
    """Description of the timing of networks with random weights, for a table's note."""
    return (
        f"Random weights, {torch.get_num_threads()} threads; medians of {rounds} rounds of {NETWORK_TURN_SECONDS} s "
        "or one call, in brackets the ratio of the minima."
    )


def median_ratio(a: list[float], b: list[float]) -> float:
    """A over B: the median over rounds of the ratio of their times in the same round."""
    return float(np.median(np.divide(a, b)))


def ratio(a: list[float], b: list[float]) -> str:
    """A over B: the median ratio, and in brackets the ratio of the minima."""
    return f"{median_ratio(a, b):.2f} ({min(a) / min(b):.2f})"


def milliseconds(times: list[float]) -> list[str]:
    """Median and minimum, in milliseconds."""
    return [f"{1e3 * np.median(times):.1f}", f"{1e3 * min(times):.1f}"]

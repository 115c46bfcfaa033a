"""Tables, and times of things that take turns."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from tqdm.auto import tqdm


class NotRun(Exception):
    """A benchmark that can't be run here; the message is a sentence that says why, and what it needs."""


@dataclass
class Table:
    """Figures as a person reads them (Markdown), and the times that they come from (JSON).

    Attributes:
        title: Heading.
        columns: Names of the columns; the first one names what a row is about.
        rows: Cells, as many in each row as there are columns.
        note: What was measured, and how.
        seconds: Time of every round, for each thing that was timed.
        figures: What stands at the top of the JSON file, by name.
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


# Of networks: a turn of one that takes 30 ms is then about as long as that of one that takes 300, and is not a single
# call for which all of its weights have to come back into the caches that the others' have gone through.
NETWORK_TURN_SECONDS = 0.6


def interleave(
    variants: dict[str, Callable[[], object]],
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
    turn_seconds: float = 0.0,
) -> dict[str, list[float]]:
    """Seconds that a call of each variant took in each round; in a round every variant has one turn.

    The first call of each does not count.

    Args:
        variants: What takes turns.
        rounds: How many turns each has.
        clock: Tells seconds.
        turn_seconds: A turn is as many calls, one after the other, as take that long together, one at least; what
            counts is their mean.
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
    """Of networks with random weights."""
    return (
        f"Random weights, {torch.get_num_threads()} threads; medians of {rounds} rounds of {NETWORK_TURN_SECONDS} s "
        "or one call, in brackets the ratio of the minima."
    )


def median_ratio(a: list[float], b: list[float]) -> float:
    """A over B: the median over the rounds of what the two took in the same round."""
    return float(np.median(np.divide(a, b)))


def ratio(a: list[float], b: list[float]) -> str:
    """A over B: the median of the rounds, and in brackets the ratio of the minima."""
    return f"{median_ratio(a, b):.2f} ({min(a) / min(b):.2f})"


def milliseconds(times: list[float]) -> list[str]:
    """Median and minimum, in milliseconds."""
    return [f"{1e3 * np.median(times):.1f}", f"{1e3 * min(times):.1f}"]

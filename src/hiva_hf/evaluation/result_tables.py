"""The tables of the paper from our own runs, with published rows beside ours if there are any."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..facs import get_action_unit
from .bootstrap import BootstrapScores, bootstrap_scores, check_same_tests, estimate_scores, single_subject_folds
from .metrics import DEFAULT_THRESHOLD, none_if_undefined
from .protocol import FoldPredictions, ProtocolScores, score_protocol
from .published import PUBLISHED_DECIMALS, PublishedTable
from .tables import NOT_APPLICABLE, OURS, PUBLISHED, SOURCE_COLUMN, Cell, Column, Table


PERCENT = 100
# Metrics of the paired comparison: F1 at 0.5 is the headline; the others show whether a difference in it comes from
# detection or from the choice of threshold.
COMPARED_METRICS = {"f1": "F1", "tuned_f1": "Tuned F1", "roc_auc": "ROC-AUC"}


@dataclass(frozen=True, eq=False)
class MethodResult:
    """One of our methods with its scores.

    Attributes:
        name: Printed name.
        predictions: One for each fold and seed.
        scores: Scores by the protocol.
        bootstraps: Its scores on resampled subjects, by metric; without resamples if a fold tests one subject.
    """

    name: str
    predictions: tuple[FoldPredictions, ...]
    scores: ProtocolScores
    bootstraps: Mapping[str, BootstrapScores]

    @property
    def f1(self) -> BootstrapScores:
        """F1, the headline."""
        return self.bootstraps["f1"]


def score_method(name: str, predictions: Sequence[FoldPredictions]) -> MethodResult:
    """Scores a method's predictions, one for each fold and seed; with intervals if every fold tests several people."""
    scores = score_protocol(predictions)
    metrics = [metric for metric in COMPARED_METRICS if metric != "tuned_f1" or scores.is_tuned]
    score = estimate_scores if single_subject_folds(predictions) else bootstrap_scores
    bootstraps = {metric: score(predictions, metric) for metric in metrics}
    return MethodResult(name, tuple(predictions), scores, bootstraps)


def compare_methods(first: MethodResult, second: MethodResult) -> dict[str, BootstrapScores]:
    """The paired differences of two methods, by metric.

    Raises:
        ValueError: If they were tested on different folds, faces or labels.
    """
    check_same_tests(first.predictions, second.predictions)
    shared = [metric for metric in first.bootstraps if metric in second.bootstraps]
    return {metric: first.bootstraps[metric].minus(second.bootstraps[metric]) for metric in shared}


def make_f1_table(
    key: str,
    title: str,
    names: Mapping[str, str],
    results: Mapping[str, MethodResult],
    published: PublishedTable | None = None,
) -> Table:
    """F1 x 100 of each AU, one row for each method; each of ours is below its published row.

    Args:
        key: Short name for files and JSON.
        title: Printed above the table.
        names: The variants of the table, in order, with their printed names.
        results: Our results by variant; variants without a result have no row of ours.
        published: The published table; None if nothing was published.

    Raises:
        ValueError: If there is neither a result nor a published table, or their AUs differ.
    """
    ours = {variant: results[variant] for variant in names if variant in results}
    au_labels = _common_aus(key, ours, published)
    rows: list[tuple[Cell, ...]] = []
    for row in published.rows if published is not None else ():
        rows.append((row.method, PUBLISHED, *row.f1, row.average, NOT_APPLICABLE, NOT_APPLICABLE))
        if row.variant in ours:
            rows.append(_f1_row(names[row.variant], ours[row.variant]))
    with_published_row = {row.variant for row in published.rows} if published is not None else set()
    rows += [_f1_row(names[variant], ours[variant]) for variant in ours if variant not in with_published_row]
    columns = (
        Column("Method"),
        Column(SOURCE_COLUMN),
        *(Column(label, PUBLISHED_DECIMALS) for label in au_labels),
        Column("Average", PUBLISHED_DECIMALS),
        Column("95% interval", PUBLISHED_DECIMALS),
        Column("Pooled", PUBLISHED_DECIMALS),
    )
    notes = [*_notes_of_ours(names, ours), *_notes_of_published(published)]
    return Table(key, title, columns, tuple(rows), tuple(notes))


def make_detail_table(key: str, title: str, result: MethodResult, split: str = "test") -> Table:
    """All scores of one method for each AU: means over folds, pooled scores and support.

    Args:
        key: Short name for files and JSON.
        title: Printed above the table.
        result: The method.
        split: Split of the folds that was predicted.
    """
    scores, columns_of_aus = result.scores, _detail_columns(result)
    rows = [
        (f"{label} {get_action_unit(label).name}", OURS, *cells)
        for label, cells in zip(scores.au_labels, zip(*columns_of_aus.values(), strict=True), strict=True)
    ]
    tuned = none_if_undefined(PERCENT * scores.headline("tuned_f1")) if scores.is_tuned else NOT_APPLICABLE
    rows.append(
        (
            "Average",
            OURS,
            none_if_undefined(PERCENT * scores.headline("f1")),
            _interval(result.f1.mean_interval),
            none_if_undefined(PERCENT * scores.pooled_mean("f1")),
            tuned,
            none_if_undefined(PERCENT * scores.headline("accuracy")),
            none_if_undefined(PERCENT * scores.headline("roc_auc")),
            NOT_APPLICABLE,
            NOT_APPLICABLE,
        )
    )
    decimals = {"Support": 0}
    columns = [Column(name, decimals.get(name, PUBLISHED_DECIMALS)) for name in columns_of_aus]
    notes = [
        *_notes_of_ours({"": result.name}, {"": result}, split),
        "Tuned F1: with the threshold of each AU that is best on the validation subjects, not 0.5. Support: "
        f"{split} faces that show the AU. Positive rate: their share of the faces whose label is known.",
    ]
    return Table(key, title, (Column("AU"), Column(SOURCE_COLUMN), *columns), tuple(rows), tuple(notes))


def make_difference_table(
    key: str, title: str, pairs: Sequence[tuple[MethodResult, MethodResult]]
) -> tuple[Table, list[dict[str, BootstrapScores]]]:
    """Paired differences between methods, in points (x 100).

    Args:
        key: Short name for files and JSON.
        title: Printed above the table.
        pairs: Methods to compare, the first minus the second.

    Returns:
        The table, and for each pair the comparisons by metric.
    """
    comparisons = [compare_methods(first, second) for first, second in pairs]
    columns = [Column("Difference"), Column(SOURCE_COLUMN)]
    for name in COMPARED_METRICS.values():
        columns += [
            Column(name, 2, is_signed=True),
            Column(f"{name} 95% interval", 2, is_signed=True),
            Column(f"{name} p", 4),
        ]
    rows = []
    for (first, second), comparison in zip(pairs, comparisons, strict=True):
        cells: list[Cell] = [f"{first.name} - {second.name}", OURS]
        for metric in COMPARED_METRICS:
            cells += _difference_cells(comparison.get(metric))
        rows.append(tuple(cells))
    note = (
        "Points (x 100), paired bootstrap over subjects: both methods are scored on the same draws of subjects. p: "
        "twice the share of draws in which the difference has the other sign; not corrected for the number of rows. "
        "Another training seed can change a difference too; the interval does not include that."
    )
    notes = (note, *_notes_of_undefined(pairs, comparisons))
    return Table(key, title, tuple(columns), tuple(rows), notes), comparisons


def _notes_of_undefined(
    pairs: Sequence[tuple[MethodResult, MethodResult]], comparisons: Sequence[Mapping[str, BootstrapScores]]
) -> list[str]:
    return [
        f"{first.name} - {second.name}: {COMPARED_METRICS[metric]} leaves out {', '.join(difference.undefined)}, "
        "undefined for one of the two or both."
        for (first, second), by_metric in zip(pairs, comparisons, strict=True)
        for metric, difference in by_metric.items()
        if difference.undefined
    ]


def _common_aus(key: str, ours: Mapping[str, MethodResult], published: PublishedTable | None) -> tuple[str, ...]:
    all_aus = {result.scores.au_labels for result in ours.values()}
    if published is not None:
        all_aus.add(published.au_labels)
    if len(all_aus) != 1:
        raise ValueError(f"The rows of {key} need one list of AUs, but there are {len(all_aus)}: {sorted(all_aus)}.")
    return all_aus.pop()


def _f1_row(name: str, result: MethodResult) -> tuple[Cell, ...]:
    scores = result.scores
    return (
        name,
        OURS,
        *_percent(scores.mean_over_folds("f1")),
        none_if_undefined(PERCENT * scores.headline("f1")),
        _interval(result.f1.mean_interval),
        none_if_undefined(PERCENT * scores.pooled_mean("f1")),
    )


def _detail_columns(result: MethodResult) -> dict[str, Sequence[Cell]]:
    scores = result.scores
    untuned = [NOT_APPLICABLE] * len(scores.au_labels)
    return {
        "F1": _percent(scores.mean_over_folds("f1")),
        "95% interval": [_interval(bounds) for bounds in result.f1.intervals],
        "Pooled F1": _percent(scores.pooled("f1")),
        "Tuned F1": _percent(scores.mean_over_folds("tuned_f1")) if scores.is_tuned else untuned,
        "Accuracy": _percent(scores.mean_over_folds("accuracy")),
        "ROC-AUC": _percent(scores.mean_over_folds("roc_auc")),
        "Positive rate": _percent(scores.pooled("positive_rate")),
        "Support": scores.support.tolist(),
    }


def _difference_cells(comparison: BootstrapScores | None) -> list[Cell]:
    if comparison is None:
        return [NOT_APPLICABLE] * 3
    difference = none_if_undefined(PERCENT * comparison.mean_estimate)
    return [difference, _interval(comparison.mean_interval), none_if_undefined(comparison.p_value)]


def _notes_of_ours(names: Mapping[str, str], ours: Mapping[str, MethodResult], split: str = "test") -> list[str]:
    if not ours:
        return []
    first = next(iter(ours.values()))
    scores = first.scores
    seeds = "" if None in scores.seeds else f" {_counted(scores.seeds, 'seed')},"
    notes = [
        f"ours: F1 x 100 at probability >= {DEFAULT_THRESHOLD}, mean over AUs of the mean over folds; "
        f"{_counted(scores.folds, 'fold')},{seeds} {scores.num_subjects} {split} subjects, "
        f"{scores.num_faces} faces. {_explain_interval(first)} Pooled: from counts summed over the folds."
    ]
    for variant, result in ours.items():
        undefined = [_name_place(**place) for place in result.scores.undefined("f1")]
        if undefined:
            notes.append(
                f"ours: {names[variant]}: F1 is undefined for {', '.join(undefined)}, where the AU was neither "
                "present nor detected; it is left out of the means."
            )
    return notes


def _name_place(au: str, fold: int, seed: int | None) -> str:
    return f"{au} in fold {fold}" + ("" if seed is None else f" (seed {seed})")


def _explain_interval(result: MethodResult) -> str:
    if single := single_subject_folds(result.predictions):
        return (
            f"No interval, because a bootstrap over subjects needs two of each fold: {_counted(single, 'fold')} "
            f"{'tests' if len(single) == 1 else 'test'} one."
        )
    return f"Interval: bootstrap over subjects, {len(result.f1.mean_samples)} draws."


def _notes_of_published(published: PublishedTable | None) -> list[str]:
    if published is None:
        return []
    folds = "its test split" if published.dataset == "gft" else "mean of three folds"
    notes = [f"published: {published.source}, Table {published.number}, {folds}. Not measured here."]
    return notes + [f"published: {row.method}: {row.slip}." for row in published.rows if row.slip is not None]


def _counted(numbers: Sequence[int], word: str) -> str:
    return f"{word}{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"


def _percent(values: NDArray[np.float64]) -> list[float | None]:
    return [none_if_undefined(PERCENT * value) for value in values]


def _interval(bounds: Sequence[float]) -> tuple[float, float] | None:
    low, high = bounds
    return None if np.isnan(low) else (float(PERCENT * low), float(PERCENT * high))

"""Metrics of Action Unit detection: counts, scores, averages and thresholds.

Everywhere, `labels` is [n, N] with 1 for present, 0 for absent and -100 for unknown, and `probabilities` is [n, N]
between 0 and 1; row i is one face and column j one Action Unit. All scores ignore unknown labels. Scores are computed
over all given faces, never averaged over batches: to score batches or folds together, add up their `AUCounts`.

An undefined score (F1 without positives and without detections, ROC-AUC without positives or without negatives) is NaN
in arrays and None in the flat results, and is left out of every average.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from ..facs import MISSING_LABEL, find_action_unit
from ..markdown_tables import markdown_table


DEFAULT_THRESHOLD = 0.5
AVERAGED_METRICS = ("f1", "accuracy", "roc_auc")


@dataclass(frozen=True, eq=False)
class AUCounts:
    """Confusion counts of N Action Units; `+` pools two sets of faces.

    Counts of several sets of faces at once, [..., N], give scores of that shape.

    Attributes:
        true_positives: [N], present and detected.
        false_positives: [N], absent but detected.
        false_negatives: [N], present but not detected.
        true_negatives: [N], absent and not detected.
    """

    true_positives: NDArray[np.int64]
    false_positives: NDArray[np.int64]
    false_negatives: NDArray[np.int64]
    true_negatives: NDArray[np.int64]

    @classmethod
    def zeros(cls, num_aus: int) -> "AUCounts":
        """Counts of no faces: the start of a sum over batches or folds."""
        return cls(*(np.zeros(num_aus, dtype=np.int64) for _ in range(4)))

    def __add__(self, other: "AUCounts") -> "AUCounts":
        if not isinstance(other, AUCounts):
            return NotImplemented
        if len(self.support) != len(other.support):
            raise ValueError(f"Cannot add counts of {len(self.support)} AUs to counts of {len(other.support)} AUs.")
        return AUCounts(
            self.true_positives + other.true_positives,
            self.false_positives + other.false_positives,
            self.false_negatives + other.false_negatives,
            self.true_negatives + other.true_negatives,
        )

    @property
    def support(self) -> NDArray[np.int64]:
        """[N], the faces that show the AU (scikit-learn's sense of the word)."""
        return self.true_positives + self.false_negatives

    @property
    def labelled(self) -> NDArray[np.int64]:
        """[N], the faces whose label is known."""
        return self.support + self.false_positives + self.true_negatives

    @property
    def f1(self) -> NDArray[np.float64]:
        """[N], NaN where the AU is neither present nor detected in any face."""
        errors = self.false_positives + self.false_negatives
        return _divide(2 * self.true_positives, 2 * self.true_positives + errors)

    @property
    def accuracy(self) -> NDArray[np.float64]:
        """[N], NaN where no label is known."""
        return _divide(self.true_positives + self.true_negatives, self.labelled)

    @property
    def positive_rate(self) -> NDArray[np.float64]:
        """[N], the share of known labels that are 1; NaN where no label is known."""
        return _divide(self.support, self.labelled)


def count_au_predictions(
    labels: ArrayLike,
    probabilities: ArrayLike,
    threshold: float | ArrayLike = DEFAULT_THRESHOLD,
    au_names: Sequence[str] | None = None,
) -> AUCounts:
    """Counts correct and wrong decisions; an AU is detected if its probability is at least the threshold.

    Args:
        labels: [n, N], 0, 1 or -100 for unknown.
        probabilities: [n, N], between 0 and 1.
        threshold: One number, or one per AU [N].
        au_names: N names for the error messages; columns are numbered without them.

    Raises:
        ValueError: If shapes disagree or a value is out of range.
    """
    labels, probabilities = _check_inputs(labels, probabilities, au_names)
    found = probabilities >= _check_threshold(threshold, labels.shape[1])
    present, absent = labels == 1, labels == 0
    return AUCounts(
        true_positives=(present & found).sum(axis=0),
        false_positives=(absent & found).sum(axis=0),
        false_negatives=(present & ~found).sum(axis=0),
        true_negatives=(absent & ~found).sum(axis=0),
    )


def compute_roc_auc(
    labels: ArrayLike, probabilities: ArrayLike, au_names: Sequence[str] | None = None
) -> NDArray[np.float64]:
    """Computes the area under the ROC curve of every AU.

    It is the normalised Mann-Whitney statistic: the chance that a face with the AU gets a higher probability than a
    face without it, ties counting half.

    Args:
        labels: [n, N], 0, 1 or -100 for unknown.
        probabilities: [n, N], between 0 and 1.
        au_names: N names for the error messages; columns are numbered without them.

    Returns:
        [N], NaN for an AU without positives or without negatives.

    Raises:
        ValueError: If shapes disagree or a value is out of range.
    """
    labels, probabilities = _check_inputs(labels, probabilities, au_names)
    return np.array([_roc_auc(*_known(labels, probabilities, au)) for au in range(labels.shape[1])])


def tune_thresholds(
    labels: ArrayLike, probabilities: ArrayLike, au_names: Sequence[str] | None = None
) -> NDArray[np.float64]:
    """Finds the threshold of every AU that maximises its F1.

    For validation subjects only: a threshold that is tuned on the faces it is scored on inflates the score.

    Args:
        labels: [n, N], 0, 1 or -100 for unknown.
        probabilities: [n, N], between 0 and 1.
        au_names: N names for the error messages; columns are numbered without them.

    Returns:
        [N], halfway between neighbouring probabilities; of equally good ones the nearest to 0.5, and 0.5 for an AU
        without positives, where F1 is no guide.

    Raises:
        ValueError: If shapes disagree or a value is out of range.
    """
    labels, probabilities = _check_inputs(labels, probabilities, au_names)
    return np.array([_best_threshold(*_known(labels, probabilities, au)) for au in range(labels.shape[1])])


def mean_over_aus(values: ArrayLike, au_names: Sequence[str]) -> tuple[float, list[str]]:
    """Averages a score over the AUs for which it is defined.

    Args:
        values: [N], NaN where undefined.
        au_names: The names of the N AUs.

    Returns:
        The mean (NaN if the score is undefined for all AUs) and the names of the AUs left out.

    Raises:
        ValueError: If there is not one name per value.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.shape != (len(au_names),):
        raise ValueError(f"values has shape {values.shape}, but au_names names {len(au_names)} AUs.")
    undefined = np.isnan(values)
    mean = float(values[~undefined].mean()) if not undefined.all() else float("nan")
    return mean, [name for name, left_out in zip(au_names, undefined, strict=True) if left_out]


def none_if_undefined(value: float) -> float | None:
    """JSON has no NaN."""
    return None if np.isnan(value) else float(value)


def compute_au_metrics(
    labels: ArrayLike,
    probabilities: ArrayLike,
    au_names: Sequence[str],
    threshold: float | ArrayLike = DEFAULT_THRESHOLD,
) -> dict[str, float | int | list[str] | None]:
    """Computes all scores as a flat, JSON-serialisable dictionary.

    Args:
        labels: [n, N], 0, 1 or -100 for unknown.
        probabilities: [n, N], between 0 and 1.
        au_names: N different names, for example "AU12"; they become part of the keys.
        threshold: One number, or one per AU [N].

    Returns:
        `mean_f1`, `mean_accuracy`, `mean_roc_auc`, each averaged over the AUs for which it is defined; `undefined_f1`,
        `undefined_accuracy`, `undefined_roc_auc` with the names of those left out; and for every AU `f1_AU12`,
        `accuracy_AU12`, `roc_auc_AU12`, `positive_rate_AU12` and `support_AU12`. Undefined numbers are None.

    Raises:
        ValueError: If shapes disagree, a value is out of range or names repeat.
    """
    counts = count_au_predictions(labels, probabilities, threshold, au_names)
    scores = {
        "f1": counts.f1,
        "accuracy": counts.accuracy,
        "roc_auc": compute_roc_auc(labels, probabilities, au_names),
    }
    results: dict[str, float | int | list[str] | None] = {}
    for metric in AVERAGED_METRICS:
        mean, undefined = mean_over_aus(scores[metric], au_names)
        results[f"mean_{metric}"] = none_if_undefined(mean)
        results[f"undefined_{metric}"] = undefined
    scores["positive_rate"] = counts.positive_rate
    for index, name in enumerate(au_names):
        results |= {f"{metric}_{name}": none_if_undefined(values[index]) for metric, values in scores.items()}
        results[f"support_{name}"] = int(counts.support[index])
    return results


def format_au_table(metrics: Mapping[str, object], au_names: Sequence[str], prefix: str = "") -> str:
    """Formats the result of `compute_au_metrics` as a Markdown table, with the means in the last row.

    Args:
        metrics: Flat results; other keys are ignored.
        au_names: The AUs to list, in this order. One that is not in the catalogue gets an empty name cell.
        prefix: Prefix of the keys, for example "test_" for `test_f1_AU12`.

    Returns:
        The table, without a trailing line break. Undefined scores are "n/a".

    Raises:
        ValueError: If a score of a listed AU is missing from `metrics`.
    """
    header = ["AU", "Name", "F1", "Accuracy", "ROC-AUC", "Positive rate", "Support"]
    columns = (*AVERAGED_METRICS, "positive_rate", "support")
    rows = []
    for name in au_names:
        unit = find_action_unit(name)
        cells = [_cell(metrics, f"{prefix}{column}_{name}") for column in columns]
        rows.append([name, "" if unit is None else unit.name, *cells])
    rows.append(["Mean", "", *(_cell(metrics, f"{prefix}mean_{metric}") for metric in AVERAGED_METRICS), "", ""])
    return markdown_table([header, *rows], [column not in ("AU", "Name") for column in header])


def _cell(metrics: Mapping[str, object], key: str) -> str:
    if key not in metrics:
        raise ValueError(f"metrics has no {key!r}. Were the scores computed for these AUs and with this key prefix?")
    value = metrics[key]
    if value is None:
        return "n/a"
    return str(value) if isinstance(value, int) else f"{value:.3f}"


def _divide(numerator: NDArray[np.int64], denominator: NDArray[np.int64]) -> NDArray[np.float64]:
    """Divides elementwise; 0 / 0 gives NaN without a warning."""
    return np.divide(numerator, denominator, out=np.full(denominator.shape, np.nan), where=denominator > 0)


def _known(
    labels: NDArray[np.float64], probabilities: NDArray[np.float64], au: int
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Returns presence and probability of one AU over the faces whose label is known."""
    known = labels[:, au] != MISSING_LABEL
    return labels[known, au] == 1, probabilities[known, au]


def _roc_auc(present: NDArray[np.bool_], probabilities: NDArray[np.float64]) -> float:
    num_present = int(present.sum())
    num_absent = len(present) - num_present
    if num_present == 0 or num_absent == 0:
        return float("nan")
    rank_sum = pd.Series(probabilities).rank()[present].sum()
    return float((rank_sum - num_present * (num_present + 1) / 2) / (num_present * num_absent))


def _best_threshold(present: NDArray[np.bool_], probabilities: NDArray[np.float64]) -> float:
    num_present = int(present.sum())
    if num_present == 0:
        return DEFAULT_THRESHOLD
    order = np.argsort(-probabilities, kind="stable")
    descending = probabilities[order]
    # A threshold can only separate different probabilities: `last` has the last position of each tie.
    last = np.flatnonzero(np.append(descending[1:] != descending[:-1], True))
    num_found = last + 1
    f1 = 2 * np.cumsum(present[order])[last] / (num_found + num_present)
    lowest_found = descending[last]
    highest_left = np.append(lowest_found[1:], 0.0)
    halfway = (lowest_found + highest_left) / 2
    # Between adjacent floats the midpoint rounds to one of them, and must not include the lower one.
    candidates = np.where(halfway > highest_left, halfway, lowest_found)[f1 == f1.max()]
    return float(candidates[np.abs(candidates - DEFAULT_THRESHOLD).argmin()])


def _check_inputs(
    labels: ArrayLike, probabilities: ArrayLike, au_names: Sequence[str] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns both as float arrays [n, N] after checking shapes, names and values."""
    labels, probabilities = _as_matrix("labels", labels), _as_matrix("probabilities", probabilities)
    if labels.shape != probabilities.shape:
        raise ValueError(f"labels has shape {labels.shape}, but probabilities has {probabilities.shape}.")
    if au_names is None:
        au_names = [f"column {column}" for column in range(labels.shape[1])]
    if len(au_names) != labels.shape[1]:
        raise ValueError(
            f"au_names has {len(au_names)} names, but labels and probabilities {labels.shape[1]} columns."
        )
    if len(set(au_names)) != len(au_names):
        raise ValueError(f"au_names must differ from each other, but are {list(au_names)}.")
    valid_labels = np.isin(labels, (0, 1, MISSING_LABEL))
    _require("labels", labels, valid_labels, au_names, f"0, 1 or {MISSING_LABEL} for unknown")
    # NaN fails both comparisons.
    valid_probabilities = (probabilities >= 0) & (probabilities <= 1)
    _require("probabilities", probabilities, valid_probabilities, au_names, "between 0 and 1 (logits need a sigmoid)")
    return labels, probabilities


def _as_matrix(argument: str, values: ArrayLike) -> NDArray[np.float64]:
    try:
        matrix = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{argument} must hold numbers in rows of equal length, one column per AU: {error}"
        ) from error
    if matrix.ndim != 2 or matrix.shape[1] == 0:
        raise ValueError(f"{argument} must have shape [faces, AUs], but has {matrix.shape}.")
    return matrix


def _require(
    argument: str, matrix: NDArray[np.float64], valid: NDArray[np.bool_], au_names: Sequence[str], expected: str
) -> None:
    if valid.all():
        return
    row, column = np.argwhere(~valid)[0]
    raise ValueError(
        f"{argument} must be {expected}, but row {row}, {au_names[column]}, is {matrix[row, column]:g} "
        f"({np.count_nonzero(~valid)} such values)."
    )


def _check_threshold(threshold: float | ArrayLike, num_aus: int) -> NDArray[np.float64]:
    threshold = np.asarray(threshold, dtype=np.float64)
    if threshold.shape not in ((), (num_aus,)):
        raise ValueError(f"threshold must be one number or {num_aus}, one per AU, but has shape {threshold.shape}.")
    if not ((threshold >= 0) & (threshold <= 1)).all():
        raise ValueError(f"threshold must lie between 0 and 1, but is {threshold.tolist()}.")
    return threshold

"""The evaluation protocol: scores of each fold, their mean over folds (the headline) and scores of pooled counts.

Several seeds of a fold are averaged before the folds. A fold in which a score is undefined (F1 without positives and
without detections) is left out of that AU's mean and listed in `ProtocolScores.undefined`; it never counts as 0 or 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .metrics import (
    DEFAULT_THRESHOLD,
    AUCounts,
    compute_roc_auc,
    count_au_predictions,
    mean_over_aus,
    none_if_undefined,
    tune_thresholds,
)
from .predictions import Predictions


Metric = Literal["f1", "tuned_f1", "accuracy", "roc_auc"]


@dataclass(frozen=True, eq=False)
class FoldPredictions:
    """Predictions of one trained network.

    Attributes:
        fold: The fold that it was tested on.
        seed: The seed that it was trained with; None if unknown, as for a checkpoint from elsewhere.
        test: Predictions for the test subjects.
        validation: Predictions for the validation subjects, on which thresholds are tuned; None for no tuning.
    """

    fold: int
    seed: int | None
    test: Predictions
    validation: Predictions | None = None


@dataclass(frozen=True, eq=False)
class FoldScores:
    """The scores of one network on one fold.

    Attributes:
        fold: Its fold.
        seed: Its seed, if it is known.
        counts: Confusion counts [N] at the threshold 0.5.
        roc_auc: [N].
        thresholds: [N], tuned on the validation subjects; None without validation predictions.
        tuned_counts: Confusion counts [N] of the test faces at these thresholds; None without them.
    """

    fold: int
    seed: int | None
    counts: AUCounts
    roc_auc: NDArray[np.float64]
    thresholds: NDArray[np.float64] | None
    tuned_counts: AUCounts | None

    def __getitem__(self, metric: str) -> NDArray[np.float64]:
        """[N], NaN where undefined. `metric` is one of `Metric` or `"positive_rate"`."""
        if metric == "roc_auc":
            return self.roc_auc
        if metric == "tuned_f1":
            return self.tuned_counts.f1
        return getattr(self.counts, metric)


@dataclass(frozen=True, eq=False)
class ProtocolScores:
    """The scores of a method over all its folds and seeds.

    Attributes:
        au_labels: The N AUs.
        parts: Scores of each network, by fold and then seed.
        num_faces: Test faces of all folds.
        num_subjects: Test subjects of all folds.
    """

    au_labels: tuple[str, ...]
    parts: tuple[FoldScores, ...]
    num_faces: int
    num_subjects: int

    @property
    def folds(self) -> tuple[int, ...]:
        return tuple(sorted({part.fold for part in self.parts}))

    @property
    def seeds(self) -> tuple[int | None, ...]:
        return tuple(sorted({part.seed for part in self.parts}))

    @property
    def is_tuned(self) -> bool:
        """Whether every fold came with validation predictions, so that `"tuned_f1"` is defined."""
        return all(part.thresholds is not None for part in self.parts)

    def of_fold(self, metric: str, fold: int) -> NDArray[np.float64]:
        """[N], one fold's score, the mean of its seeds."""
        return mean_where_defined(np.stack([part[metric] for part in self.parts if part.fold == fold]))

    def mean_over_folds(self, metric: str) -> NDArray[np.float64]:
        """[N], the mean over the folds in which the score is defined."""
        return mean_where_defined(np.stack([self.of_fold(metric, fold) for fold in self.folds]))

    def headline(self, metric: str) -> float:
        """The mean over AUs of the mean over folds: the number that papers report. NaN if undefined for all AUs."""
        return mean_over_aus(self.mean_over_folds(metric), self.au_labels)[0]

    def pooled(self, metric: str) -> NDArray[np.float64]:
        """[N], the score of the counts summed over all folds, mean over seeds.

        Args:
            metric: One that is computed from counts: `"f1"`, `"accuracy"`, `"positive_rate"`.
        """
        return mean_where_defined(np.stack([getattr(self._pooled_counts(seed), metric) for seed in self.seeds]))

    def pooled_mean(self, metric: str) -> float:
        """The mean over AUs of the pooled score."""
        return mean_over_aus(self.pooled(metric), self.au_labels)[0]

    @property
    def support(self) -> NDArray[np.int64]:
        """[N], the test faces of all folds that show the AU."""
        return self._pooled_counts(self.seeds[0]).support

    def undefined(self, metric: str) -> list[dict[str, str | int | None]]:
        """Where a score is undefined and hence left out of the means: AU, fold and seed."""
        return [
            {"au": label, "fold": part.fold, "seed": part.seed}
            for part in self.parts
            for label, value in zip(self.au_labels, part[metric], strict=True)
            if np.isnan(value)
        ]

    def _pooled_counts(self, seed: int | None) -> AUCounts:
        parts = [part.counts for part in self.parts if part.seed == seed]
        return sum(parts, start=AUCounts.zeros(len(self.au_labels)))

    def as_dict(self) -> dict:
        """All scores, JSON-serialisable; undefined numbers are None."""
        metrics = [metric for metric in get_args(Metric) if metric != "tuned_f1" or self.is_tuned]
        return {
            "au_labels": list(self.au_labels),
            "folds": list(self.folds),
            "seeds": list(self.seeds),
            "num_faces": self.num_faces,
            "num_subjects": self.num_subjects,
            "mean_over_folds": {metric: self._named(self.mean_over_folds(metric)) for metric in metrics},
            "headline": {metric: none_if_undefined(self.headline(metric)) for metric in metrics},
            "pooled": {metric: self._named(self.pooled(metric)) for metric in ("f1", "accuracy", "positive_rate")},
            "pooled_mean": {metric: none_if_undefined(self.pooled_mean(metric)) for metric in ("f1", "accuracy")},
            "support": dict(zip(self.au_labels, self.support.tolist(), strict=True)),
            "undefined": {metric: self.undefined(metric) for metric in metrics},
            "per_fold": [
                {
                    "fold": part.fold,
                    "seed": part.seed,
                    "scores": {metric: self._named(part[metric]) for metric in (*metrics, "positive_rate")},
                    "thresholds": None if part.thresholds is None else self._named(part.thresholds),
                }
                for part in self.parts
            ],
        }

    def _named(self, values: NDArray[np.float64]) -> dict[str, float | None]:
        return {label: none_if_undefined(value) for label, value in zip(self.au_labels, values, strict=True)}


def score_protocol(predictions: Sequence[FoldPredictions]) -> ProtocolScores:
    """Scores a method by the protocol.

    Args:
        predictions: One for each fold and seed; every seed must have been run on the same folds.

    Returns:
        The scores of each fold and seed, with methods that average them.

    Raises:
        ValueError: If folds and seeds do not form a full grid, only some seeds are known, AUs, faces or labels
            disagree, or a subject is tested in two folds or is tested and validated by the same network.
    """
    check_folds(predictions)
    parts = sorted(predictions, key=lambda part: (part.fold, part.seed))
    of_first_seed = [part.test for part in parts if part.seed == parts[0].seed]
    return ProtocolScores(
        au_labels=parts[0].test.au_labels,
        parts=tuple(_score_fold(part) for part in parts),
        num_faces=sum(len(test) for test in of_first_seed),
        num_subjects=sum(len(test.subjects) for test in of_first_seed),
    )


def check_folds(predictions: Sequence[FoldPredictions]):
    """Raises a ValueError unless these predictions can be averaged; see `score_protocol`."""
    if not predictions:
        raise ValueError("There are no predictions to score: pass those of at least one fold.")
    grid = [(part.fold, part.seed) for part in predictions]
    folds, seeds = {fold for fold, _ in grid}, {seed for _, seed in grid}
    if None in seeds and len(seeds) > 1:
        raise ValueError(
            f"The seeds of all predictions or of none must be known, but these were given (fold, seed): {grid}. A "
            "network of unknown seed may be the same as another."
        )
    if sorted(grid) != sorted((fold, seed) for fold in folds for seed in seeds):
        raise ValueError(
            f"Every seed needs the same folds, each once, but these were given (fold, seed): {sorted(grid)}. A mean "
            "over them would weight folds unequally."
        )
    first_of_fold: dict[int, FoldPredictions] = {}
    fold_of_subject: dict[str, int] = {}
    first = predictions[0]
    for part in predictions:
        if part.test.au_labels != first.test.au_labels:
            raise ValueError(
                f"Fold {part.fold}, seed {part.seed} predicts {', '.join(part.test.au_labels)}, but fold "
                f"{first.fold}, seed {first.seed} predicts {', '.join(first.test.au_labels)}."
            )
        _check_validation(part)
        part.test.in_order_of(first_of_fold.setdefault(part.fold, part).test)
        for subject in part.test.subjects:
            other = fold_of_subject.setdefault(subject, part.fold)
            if other != part.fold:
                raise ValueError(
                    f"Subject {subject} is tested in folds {other} and {part.fold}: folds must not overlap."
                )


def metric_threshold(part: FoldPredictions, metric: Metric) -> float | NDArray[np.float64]:
    """The threshold(s) that a count-based metric applies to a fold's test faces.

    Raises:
        ValueError: If thresholds are to be tuned, but there are no validation predictions.
    """
    if metric != "tuned_f1":
        return DEFAULT_THRESHOLD
    if part.validation is None:
        raise ValueError(f"Fold {part.fold}, seed {part.seed} has no validation predictions to tune thresholds on.")
    return tune_thresholds(part.validation.labels, part.validation.probabilities, part.validation.au_labels)


def mean_where_defined(values: ArrayLike) -> NDArray[np.float64]:
    """Mean over the first axis, ignoring NaN; NaN where all values are."""
    values = np.asarray(values, dtype=np.float64)
    defined = ~np.isnan(values)
    count = defined.sum(axis=0)
    total = np.where(defined, values, 0).sum(axis=0)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def _score_fold(part: FoldPredictions) -> FoldScores:
    test = part.test
    thresholds = None if part.validation is None else metric_threshold(part, "tuned_f1")
    return FoldScores(
        fold=part.fold,
        seed=part.seed,
        counts=count_au_predictions(test.labels, test.probabilities, au_names=test.au_labels),
        roc_auc=compute_roc_auc(test.labels, test.probabilities, test.au_labels),
        thresholds=thresholds,
        tuned_counts=None
        if thresholds is None
        else count_au_predictions(test.labels, test.probabilities, thresholds, test.au_labels),
    )


def _check_validation(part: FoldPredictions):
    if part.validation is None:
        return
    if part.validation.au_labels != part.test.au_labels:
        raise ValueError(f"Test and validation predictions of fold {part.fold} are for different AUs.")
    shared = sorted(set(part.validation.subjects) & set(part.test.subjects))
    if shared:
        raise ValueError(
            f"Fold {part.fold}, seed {part.seed} validates on test subjects ({', '.join(shared[:5])}): thresholds "
            "tuned on them would inflate the score."
        )

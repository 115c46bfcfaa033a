"""Confidence intervals by a bootstrap over subjects, and the paired comparison of two methods on the same subjects.

Faces of one subject resemble each other, so whole subjects are drawn with replacement, separately in each fold
(Efron & Tibshirani 1993, chapters 6 and 13; Field & Welsh 2007 for clustered data). The intervals show how much a
score would vary with other subjects. They include the variation between training seeds only with `over_seeds`: then
the seeds are drawn too, S - 1 of S with replacement, because drawing S of so few would make the variance of their mean
too small by the factor (S - 1) / S (Rao & Wu 1988 draw n - 1 of n for that reason).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from .metrics import AUCounts, count_au_predictions, mean_over_aus
from .predictions import Predictions
from .protocol import (
    FoldPredictions,
    Metric,
    check_folds,
    mean_where_defined,
    metric_threshold,
    score_protocol,
)


DEFAULT_RESAMPLES = 2000
DEFAULT_CONFIDENCE = 0.95
# Resamples are scored in portions, so that memory stays small with many AUs and folds.
_PORTION = 250
# Number of distinct probabilities whose pairs are counted at a time.
_LEVELS_AT_A_TIME = 4096
# Makes the draws of seeds independent of those of subjects.
_SEED_STREAM = 1


@dataclass(frozen=True, eq=False)
class BootstrapScores:
    """A score, or the difference of two scores, with its bootstrap distribution over subjects.

    Everything is computed from the scores of single networks. Undefined ones (NaN) are left out of all means.

    Attributes:
        metric: The metric.
        au_labels: The N AUs.
        folds: The F folds.
        seeds: The S training seeds. Empty, with S = 1, for the difference of two methods with different seeds, which
            is the difference of their means over seeds.
        values: [F, S, N], the score of each network on the real subjects.
        draws: [F, S, R, N], its score on each resample.
        seed_weights: [R, S], how often each seed is in each resample; None if each is in it once.
        confidence: Coverage of the intervals.
    """

    metric: Metric
    au_labels: tuple[str, ...]
    folds: tuple[int, ...]
    seeds: tuple[int, ...]
    values: NDArray[np.float64]
    draws: NDArray[np.float64]
    seed_weights: NDArray[np.int64] | None
    confidence: float

    @cached_property
    def estimate(self) -> NDArray[np.float64]:
        """[N], the value on the real subjects, mean over folds of the mean over seeds."""
        return mean_where_defined([mean_where_defined(of_fold) for of_fold in self.values])

    @property
    def mean_estimate(self) -> float:
        """The mean of the estimate over the AUs for which it is defined."""
        return mean_over_aus(self.estimate, self.au_labels)[0]

    @cached_property
    def samples(self) -> NDArray[np.float64]:
        """[R, N], the value on each resample; NaN where it is undefined."""
        return mean_where_defined([_mean_over_seeds(of_fold, self.seed_weights) for of_fold in self.draws])

    @cached_property
    def mean_samples(self) -> NDArray[np.float64]:
        """[R], the mean over the AUs for which the value of a resample is defined."""
        return mean_where_defined(self.samples.T)

    @property
    def mean_of_seeds(self) -> dict[int, float]:
        """The value of each seed on its own: the mean over AUs of the mean over folds."""
        means = mean_where_defined(self.values)
        return {seed: mean_over_aus(mean, self.au_labels)[0] for seed, mean in zip(self.seeds, means, strict=True)}

    @property
    def undefined(self) -> list[str]:
        """Where the value on the real subjects is undefined, in words: `AU4 in fold 2 (seed 42)`."""
        return [
            f"{self.au_labels[au]} in fold {self.folds[fold]}" + (f" (seed {self.seeds[seed]})" if self.seeds else "")
            for fold, seed, au in np.argwhere(np.isnan(self.values))
        ]

    @property
    def mean_interval(self) -> tuple[float, float]:
        """Percentile interval of the mean over AUs."""
        low, high = self._interval(self.mean_samples[:, None])[0]
        return float(low), float(high)

    @property
    def intervals(self) -> NDArray[np.float64]:
        """[N, 2], percentile interval of each AU; NaN where the score is undefined in all resamples."""
        return self._interval(self.samples)

    @property
    def p_value(self) -> float:
        """For a difference: twice the share of resamples whose mean has the other sign, at most 1.

        Small if nearly all draws of subjects agree on the sign. It is estimated from the bootstrap distribution, not
        an exact test, and is never below 2 / (R + 1), where R is the number of resamples in which the difference is
        defined; NaN if there are none.
        """
        defined = self.mean_samples[~np.isnan(self.mean_samples)]
        if len(defined) == 0:
            return float("nan")
        below, above = (defined <= 0).sum(), (defined >= 0).sum()
        return float(min(1.0, 2 * (1 + min(below, above)) / (len(defined) + 1)))

    def minus(self, other: "BootstrapScores") -> "BootstrapScores":
        """The paired difference; both must come from the same draws of the same tests (see `check_same_tests`).

        It is the mean of the differences of single networks (or of the means over seeds, if the two have different
        seeds). Values that one of the two leaves undefined are left out: otherwise their means would be over different
        AUs.

        Raises:
            ValueError: If metric, AUs, folds, number of draws or coverage differ.
        """
        ours, theirs = (
            (scores.metric, scores.au_labels, scores.folds, scores.draws.shape[2], scores.confidence)
            for scores in (self, other)
        )
        if ours != theirs:
            raise ValueError(f"Bootstrapped scores of different kinds can't be subtracted: {ours} and {theirs}.")
        if self.seeds != other.seeds:
            return self._averaged_over_seeds().minus(other._averaged_over_seeds())
        return replace(self, values=self.values - other.values, draws=self.draws - other.draws)

    def _averaged_over_seeds(self) -> "BootstrapScores":
        draws = [_mean_over_seeds(of_fold, self.seed_weights) for of_fold in self.draws]
        values = [mean_where_defined(of_fold) for of_fold in self.values]
        return replace(
            self, seeds=(), values=np.stack(values)[:, None], draws=np.stack(draws)[:, None], seed_weights=None
        )

    def _interval(self, samples: NDArray[np.float64]) -> NDArray[np.float64]:
        tail = 50 * (1 - self.confidence)
        bounds = np.full((samples.shape[1], 2), np.nan)
        for column, values in enumerate(samples.T):
            defined = values[~np.isnan(values)]
            if len(defined) > 0:
                bounds[column] = np.percentile(defined, [tail, 100 - tail])
        return bounds


def bootstrap_scores(
    predictions: Sequence[FoldPredictions],
    metric: Metric = "f1",
    num_resamples: int = DEFAULT_RESAMPLES,
    confidence: float = DEFAULT_CONFIDENCE,
    seed: int = 0,
    over_seeds: bool = False,
) -> BootstrapScores:
    """Draws subjects with replacement, in each fold as many as it has, and scores every draw by the protocol.

    Args:
        predictions: One for each fold and seed. All seeds of a fold are scored on the same draw.
        metric: `"f1"`, `"accuracy"`, `"roc_auc"`, or `"tuned_f1"`, whose thresholds are always tuned on the real
            validation subjects.
        num_resamples: R, the number of resamples.
        confidence: Coverage of the intervals, between 0 and 1.
        seed: Seed of the draws. The draws of a fold depend only on it, the fold and its subjects, so that different
            methods are scored on the same draws.
        over_seeds: Draw the training seeds too. Different methods get the same draws, seeds being matched in ascending
            order.

    Raises:
        ValueError: If the predictions do not form a protocol (see `score_protocol`), a fold has a single subject,
            seeds are to be drawn but there is only one, or an argument is out of range.
    """
    if num_resamples < 1 or not 0 < confidence < 1:
        raise ValueError(
            f"`num_resamples` must be at least 1 and `confidence` between 0 and 1, got {num_resamples} and "
            f"{confidence}."
        )
    if single := single_subject_folds(predictions):
        raise ValueError(f"Fold {single[0]} has 1 test subject: a bootstrap over subjects needs two.")
    return _bootstrap(predictions, metric, num_resamples, confidence, seed, over_seeds)


def estimate_scores(predictions: Sequence[FoldPredictions], metric: Metric = "f1") -> BootstrapScores:
    """Scores the real subjects only, without resamples and hence without intervals and p-values.

    Args:
        predictions: One for each fold and seed.
        metric: See `bootstrap_scores`.

    Raises:
        ValueError: If the predictions do not form a protocol, or `metric` does not exist.
    """
    return _bootstrap(predictions, metric, num_resamples=0)


def single_subject_folds(predictions: Sequence[FoldPredictions]) -> list[int]:
    """The folds that test a single subject, for which a bootstrap gives no interval."""
    return sorted({part.fold for part in predictions if len(part.test.subjects) < 2})


def compare_paired(
    first: Sequence[FoldPredictions],
    second: Sequence[FoldPredictions],
    metric: Metric = "f1",
    num_resamples: int = DEFAULT_RESAMPLES,
    confidence: float = DEFAULT_CONFIDENCE,
    seed: int = 0,
    over_seeds: bool = False,
) -> BootstrapScores:
    """The score of `first` minus that of `second`, both on the same draws of the same subjects.

    Hard subjects lower both scores alike and cancel in the difference, which is why a paired interval is much narrower
    than two separate intervals suggest.

    Args:
        first: One method's predictions, one for each fold and seed.
        second: The other's, for the same folds, faces and labels; its seeds may differ.
        metric: See `bootstrap_scores`.
        num_resamples: R, the number of resamples.
        confidence: Coverage of the intervals, between 0 and 1.
        seed: Seed of the draws.
        over_seeds: Draw the training seeds too, the same for both methods: runs of the same seed are paired, so that
            what they share (the initial weights, a first stage) affects both alike.

    Raises:
        ValueError: If folds, AUs, faces or labels of the two differ, their seeds differ with `over_seeds`, or as in
            `bootstrap_scores`.
    """
    check_folds(first)
    check_folds(second)
    check_same_tests(first, second)
    if over_seeds:
        check_same_seeds(first, second)
    ours = bootstrap_scores(first, metric, num_resamples, confidence, seed, over_seeds)
    return ours.minus(bootstrap_scores(second, metric, num_resamples, confidence, seed, over_seeds))


def check_same_tests(first: Sequence[FoldPredictions], second: Sequence[FoldPredictions]):
    """Raises a ValueError unless two methods were tested on the same folds, faces and labels."""
    ours = {part.fold: part.test for part in first}
    theirs = {part.fold: part.test for part in second}
    if ours.keys() != theirs.keys():
        raise ValueError(
            f"Two runs can only be compared on the same folds, but one was tested on {sorted(ours)} and the other on "
            f"{sorted(theirs)}."
        )
    for fold, test in ours.items():
        theirs[fold].in_order_of(test)


def check_same_seeds(first: Sequence[FoldPredictions], second: Sequence[FoldPredictions]):
    """Raises a ValueError unless two methods were trained with the same seeds, so that they can be paired."""
    ours, theirs = (sorted({part.seed for part in parts}) for parts in (first, second))
    if ours != theirs:
        raise ValueError(f"Runs are paired by their seeds, but one method has {ours} and the other {theirs}.")


def _bootstrap(
    predictions: Sequence[FoldPredictions],
    metric: Metric,
    num_resamples: int,
    confidence: float = DEFAULT_CONFIDENCE,
    seed: int = 0,
    over_seeds: bool = False,
) -> BootstrapScores:
    if metric not in get_args(Metric):
        raise ValueError(f"`metric` is {metric!r}, but it must be one of {', '.join(get_args(Metric))}.")
    scores = score_protocol(predictions)
    num_seeds = len(scores.seeds)
    seed_weights = _draw_seeds(num_seeds, num_resamples, seed) if over_seeds else None
    draws = []
    for fold in scores.folds:
        parts = sorted((part for part in predictions if part.fold == fold), key=lambda part: part.seed)
        num_subjects = len(parts[0].test.subjects)
        generator = np.random.default_rng([seed, fold])
        # How often each subject is in each draw: [R, P].
        weights = generator.multinomial(num_subjects, np.full(num_subjects, 1 / num_subjects), size=num_resamples)
        draws.append(np.stack([_score_draws(part, metric, weights) for part in parts]))
    # By fold and then seed, as `parts` are.
    values = np.stack([part[metric] for part in scores.parts])
    return BootstrapScores(
        metric=metric,
        au_labels=scores.au_labels,
        folds=scores.folds,
        seeds=scores.seeds,
        values=values.reshape(len(scores.folds), num_seeds, -1),
        draws=np.stack(draws),
        seed_weights=seed_weights,
        confidence=confidence,
    )


def _draw_seeds(num_seeds: int, num_resamples: int, seed: int) -> NDArray[np.int64]:
    """How often each of S training seeds is in each draw: [R, S]. All folds share the draws."""
    if num_seeds < 2:
        raise ValueError(
            "An interval over training seeds needs runs with at least two seeds, got one. Train with more, or compute "
            "an interval over subjects alone."
        )
    draws = np.random.default_rng([seed, num_seeds, _SEED_STREAM])
    return draws.multinomial(num_seeds - 1, np.full(num_seeds, 1 / num_seeds), size=num_resamples)


def _mean_over_seeds(
    scores: Sequence[NDArray[np.float64]], seed_weights: NDArray[np.int64] | None
) -> NDArray[np.float64]:
    """[R, N], the mean of the defined scores [R, N] of S seeds, weighted by how often each was drawn."""
    if seed_weights is None:
        return mean_where_defined(scores)
    stacked = np.stack(scores)
    weights = np.where(np.isnan(stacked), 0, seed_weights.T[:, :, None])
    total = weights.sum(axis=0)
    weighted = (weights * np.nan_to_num(stacked)).sum(axis=0)
    return np.divide(weighted, total, out=np.full(total.shape, np.nan), where=total > 0)


def _score_draws(part: FoldPredictions, metric: Metric, weights: NDArray[np.int64]) -> NDArray[np.float64]:
    """[R, N], one network's score of one fold for draws `[R, P]` of its subjects, which are sorted by name."""
    if metric == "roc_auc":
        return _roc_auc_of_draws(part.test, weights)
    counts = _counts_of_subjects(part.test, metric_threshold(part, metric))
    drawn = AUCounts(
        weights @ counts.true_positives,
        weights @ counts.false_positives,
        weights @ counts.false_negatives,
        weights @ counts.true_negatives,
    )
    return drawn.accuracy if metric == "accuracy" else drawn.f1


def _counts_of_subjects(test: Predictions, threshold: float | NDArray[np.float64]) -> AUCounts:
    """Confusion counts [P, N] of each subject."""
    _, subject_index, num_rows = np.unique(test.subject, return_inverse=True, return_counts=True)
    each = [
        count_au_predictions(test.labels[rows], test.probabilities[rows], threshold, test.au_labels)
        for rows in np.split(np.argsort(subject_index, kind="stable"), np.cumsum(num_rows)[:-1])
    ]
    return AUCounts(
        np.stack([counts.true_positives for counts in each]),
        np.stack([counts.false_positives for counts in each]),
        np.stack([counts.false_negatives for counts in each]),
        np.stack([counts.true_negatives for counts in each]),
    )


def _roc_auc_of_draws(test: Predictions, weights: NDArray[np.int64]) -> NDArray[np.float64]:
    """[R, N], the area under the ROC curve of draws `[R, P]`.

    A draw's area is the share of its pairs (face with the AU, face without it) that are ranked correctly. Pairs are
    counted once for each pair of subjects, and weighted for each draw.
    """
    subject_index = np.searchsorted(test.subjects, test.subject.astype(str))
    areas = np.full((len(weights), len(test.au_labels)), np.nan)
    for au in range(len(test.au_labels)):
        wins, positives, negatives = _ranked_pairs(
            test.labels[:, au], test.probabilities[:, au], subject_index, weights.shape[1]
        )
        for start in range(0, len(weights), _PORTION):
            drawn = weights[start : start + _PORTION].astype(np.float64)
            right = ((drawn @ wins) * drawn).sum(axis=1)
            pairs = (drawn @ positives) * (drawn @ negatives)
            areas[start : start + _PORTION, au] = np.divide(
                right, pairs, out=np.full(len(drawn), np.nan), where=pairs > 0
            )
    return areas


def _ranked_pairs(
    labels: NDArray[np.int8], probabilities: NDArray[np.float32], subject_index: NDArray[np.int64], num_subjects: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Correctly ranked pairs [P, P] (positive of p, negative of q; ties count half), positives and negatives [P]."""
    _, level = np.unique(probabilities, return_inverse=True)
    order = np.argsort(level, kind="stable")
    level, subject_index, labels = level[order], subject_index[order], labels[order]
    wins, below = np.zeros((num_subjects, num_subjects)), np.zeros(num_subjects)
    # From low to high, some distinct probabilities at a time: all of them times all subjects would fill the memory.
    for first in range(0, level[-1] + 1, _LEVELS_AT_A_TIME):
        rows = slice(*np.searchsorted(level, (first, first + _LEVELS_AT_A_TIME)))
        present, absent = labels[rows] == 1, labels[rows] == 0
        own_level, subject = level[rows] - first, subject_index[rows]
        # Negatives of each subject at each of these levels, and up to it: [levels, P].
        at_level = np.zeros((own_level[-1] + 1, num_subjects))
        np.add.at(at_level, (own_level[absent], subject[absent]), 1)
        up_to = below + np.cumsum(at_level, axis=0)
        np.add.at(wins, subject[present], (up_to - at_level / 2)[own_level[present]])
        below = up_to[-1]
    positives = np.bincount(subject_index[labels == 1], minlength=num_subjects).astype(np.float64)
    return wins, positives, below

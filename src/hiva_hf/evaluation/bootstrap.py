"""How sure a score is: bootstrap over subjects, and the paired comparison of two methods on the same subjects.

Faces of one subject resemble each other, so whole subjects are drawn with replacement, each fold's among themselves
(Efron & Tibshirani 1993, chapters 6 and 13; Field & Welsh 2007 for clustered data). The intervals tell how far a score
would move with other subjects. What another seed of training would move is in them only with `over_seeds`: then the
seeds are drawn too, S - 1 of S with replacement, because drawing S of so few would make the spread of their mean too
small by the factor (S - 1) / S (Rao & Wu 1988 draw n - 1 of n for that reason).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from .metrics import AUCounts, count_au_predictions
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
# Resamples are drawn in portions, so that memory stays small with many AUs and folds.
_PORTION = 250
# Keeps the draws of seeds apart from those of subjects.
_SEED_STREAM = 1


@dataclass(frozen=True, eq=False)
class BootstrapScores:
    """A score, or the difference of two, with what resampled subjects make of it.

    Attributes:
        metric: Which one.
        au_labels: The N AUs.
        estimate: [N], the value of the real subjects, mean over folds.
        mean_estimate: Its mean over AUs.
        samples: [R, N], the value of each resample; NaN where it is undefined.
        mean_samples: [R], the mean over the AUs that a resample defines.
        confidence: Coverage of the intervals.
    """

    metric: Metric
    au_labels: tuple[str, ...]
    estimate: NDArray[np.float64]
    mean_estimate: float
    samples: NDArray[np.float64]
    mean_samples: NDArray[np.float64]
    confidence: float

    @property
    def mean_interval(self) -> tuple[float, float]:
        """Percentile interval of the mean over AUs."""
        low, high = self._interval(self.mean_samples[:, None])[0]
        return float(low), float(high)

    @property
    def intervals(self) -> NDArray[np.float64]:
        """[N, 2], percentile interval of each AU; NaN where no resample defines the score."""
        return self._interval(self.samples)

    @property
    def undefined_share(self) -> NDArray[np.float64]:
        """[N], the share of resamples in which the AU's score is undefined in every fold."""
        return np.isnan(self.samples).mean(axis=0)

    @property
    def p_value(self) -> float:
        """For a difference: twice the share of resamples whose mean lies on the other side of zero, at most 1.

        Small where nearly every draw of subjects agrees on the sign. It is read off the bootstrap distribution, not
        an exact test, and is never below 2 / (R + 1), where R counts the resamples that define it; NaN if none does.
        """
        defined = self.mean_samples[~np.isnan(self.mean_samples)]
        if len(defined) == 0:
            return float("nan")
        below, above = (defined <= 0).sum(), (defined >= 0).sum()
        return float(min(1.0, 2 * (1 + min(below, above)) / (len(defined) + 1)))

    def minus(self, other: "BootstrapScores") -> "BootstrapScores":
        """The paired difference; both must come from the same draws of the same tests (see `check_same_tests`).

        Raises:
            ValueError: If metric, AUs, number of draws or coverage differ.
        """
        ours, theirs = (
            (scores.metric, scores.au_labels, len(scores.mean_samples), scores.confidence) for scores in (self, other)
        )
        if ours != theirs:
            raise ValueError(f"Bootstrapped scores of different kinds have no difference: {ours} and {theirs}.")
        return replace(
            self,
            estimate=self.estimate - other.estimate,
            mean_estimate=self.mean_estimate - other.mean_estimate,
            samples=self.samples - other.samples,
            mean_samples=self.mean_samples - other.mean_samples,
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
        metric: `"f1"`, `"accuracy"`, `"roc_auc"`, or `"tuned_f1"`, whose thresholds stay those of the real
            validation subjects.
        num_resamples: R.
        confidence: Coverage of the intervals, between 0 and 1.
        seed: The draws of a fold depend on it, the fold and its subjects alone, so that different methods are scored
            on the same draws.
        over_seeds: Draw the seeds of training too. Seed by seed in ascending order, different methods get the same
            draws.

    Raises:
        ValueError: If the predictions do not make a protocol, a fold has a single subject, seeds are to be drawn but
            there is one only, or an argument is out of range.
    """
    samples = _resample(predictions, metric, num_resamples, confidence, seed, over_seeds)
    scores = score_protocol(predictions)
    return BootstrapScores(
        metric=metric,
        au_labels=scores.au_labels,
        estimate=scores.mean_over_folds(metric),
        mean_estimate=scores.headline(metric),
        samples=samples,
        mean_samples=mean_where_defined(samples.T),
        confidence=confidence,
    )


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

    What makes subjects hard moves both scores alike and leaves their difference, which is why a paired interval is
    much narrower than the distance of two separate ones.

    Args:
        first: One method's predictions, one for each fold and seed.
        second: The other's, for the same folds, faces and labels; its seeds may be others.
        metric: See `bootstrap_scores`.
        num_resamples: R.
        confidence: Coverage of the intervals, between 0 and 1.
        seed: Of the draws.
        over_seeds: Draw the seeds of training too, the same for both methods: runs of one seed are paired, so that
            what they share (the initial weights, a first stage) moves both alike.

    Raises:
        ValueError: If folds, AUs, faces or labels of the two differ, their seeds differ where they are to be paired,
            or as in `bootstrap_scores`.
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
            f"Two runs can be compared on the same folds only, but one was tested on {sorted(ours)} and the other on "
            f"{sorted(theirs)}."
        )
    for fold, test in ours.items():
        theirs[fold].in_order_of(test)


def check_same_seeds(first: Sequence[FoldPredictions], second: Sequence[FoldPredictions]):
    """Raises a ValueError unless two methods were trained with the same seeds, so that they can be paired."""
    ours, theirs = (sorted({part.seed for part in parts}) for parts in (first, second))
    if ours != theirs:
        raise ValueError(f"Runs are paired by their seeds, but one method has {ours} and the other {theirs}.")


def _resample(
    predictions: Sequence[FoldPredictions],
    metric: Metric,
    num_resamples: int,
    confidence: float,
    seed: int,
    over_seeds: bool,
) -> NDArray[np.float64]:
    """[R, N], the protocol's mean over seeds and folds for every draw."""
    if metric not in get_args(Metric):
        raise ValueError(f"`metric` is {metric!r}, but it must be one of {', '.join(get_args(Metric))}.")
    if num_resamples < 1 or not 0 < confidence < 1:
        raise ValueError(
            f"`num_resamples` must be at least 1 and `confidence` between 0 and 1, got {num_resamples} and "
            f"{confidence}."
        )
    check_folds(predictions)
    seeds = sorted({part.seed for part in predictions})
    seed_weights = _draw_seeds(len(seeds), num_resamples, seed) if over_seeds else None
    means_of_folds = []
    for fold in sorted({part.fold for part in predictions}):
        parts = sorted((part for part in predictions if part.fold == fold), key=lambda part: part.seed)
        num_subjects = len(parts[0].test.subjects)
        if num_subjects < 2:
            raise ValueError(f"Fold {fold} has {num_subjects} test subject(s): a bootstrap over subjects needs two.")
        draws = np.random.default_rng([seed, fold])
        # How often each subject is in each draw: [R, P].
        weights = draws.multinomial(num_subjects, np.full(num_subjects, 1 / num_subjects), size=num_resamples)
        of_seeds = [_score_draws(part, metric, weights) for part in parts]
        means_of_folds.append(_mean_over_seeds(of_seeds, seed_weights))
    return mean_where_defined(means_of_folds)


def _draw_seeds(num_seeds: int, num_resamples: int, seed: int) -> NDArray[np.int64]:
    """How often each of S seeds of training is in each draw: [R, S]. All folds share the draws."""
    if num_seeds < 2:
        raise ValueError(
            "An interval over seeds of training needs runs with at least two, got one. Train with more, or ask for an "
            "interval over subjects alone."
        )
    draws = np.random.default_rng([seed, num_seeds, _SEED_STREAM])
    return draws.multinomial(num_seeds - 1, np.full(num_seeds, 1 / num_seeds), size=num_resamples)


def _mean_over_seeds(
    scores: Sequence[NDArray[np.float64]], seed_weights: NDArray[np.int64] | None
) -> NDArray[np.float64]:
    """[R, N], the mean of scores [R, N] of S seeds that is defined, each weighing as often as it was drawn."""
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
    each = [
        count_au_predictions(test.labels[rows], test.probabilities[rows], threshold, test.au_labels)
        for rows in (test.subject == subject for subject in test.subjects)
    ]
    return AUCounts(
        np.stack([counts.true_positives for counts in each]),
        np.stack([counts.false_positives for counts in each]),
        np.stack([counts.false_negatives for counts in each]),
        np.stack([counts.true_negatives for counts in each]),
    )


def _roc_auc_of_draws(test: Predictions, weights: NDArray[np.int64]) -> NDArray[np.float64]:
    """[R, N], the area under the ROC curve of draws `[R, P]`.

    A draw's area is the share of its pairs (face with the AU, face without it) that are ranked rightly. Pairs are
    counted once for each pair of subjects, and a draw weighs them.
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
    """Rightly ranked pairs [P, P] (positive of p, negative of q; ties count half), and positives and negatives [P]."""
    present, absent = labels == 1, labels == 0
    _, level = np.unique(probabilities, return_inverse=True)
    # Negatives of each subject at each level of probability, and strictly below it: [levels, P].
    at_level = np.zeros((level.max() + 1, num_subjects))
    np.add.at(at_level, (level[absent], subject_index[absent]), 1)
    below = np.cumsum(at_level, axis=0) - at_level
    wins = np.zeros((num_subjects, num_subjects))
    np.add.at(wins, subject_index[present], (below + at_level / 2)[level[present]])
    positives = np.bincount(subject_index[present], minlength=num_subjects).astype(np.float64)
    return wins, positives, at_level.sum(axis=0)

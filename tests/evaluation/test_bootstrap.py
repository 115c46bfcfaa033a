"""The resampled scores are those of really resampled faces, and the comparison is a paired one."""

import tracemalloc
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

from hiva_hf.evaluation import bootstrap
from hiva_hf.evaluation.bootstrap import bootstrap_scores, compare_paired, estimate_scores, single_subject_folds
from hiva_hf.evaluation.metrics import tune_thresholds
from hiva_hf.evaluation.protocol import FoldPredictions, score_protocol


AU_NAMES = ["AU1", "AU4", "AU12", "AU25"]


def score_by_hand(part, metric, rows, au) -> float:
    """The score of test rows, of which some are there several times."""
    rows = rows[part.test.labels[rows, au] != -100]
    labels, probabilities = part.test.labels[rows, au], part.test.probabilities[rows, au]
    if metric == "roc_auc":
        return roc_auc_score(labels, probabilities)
    threshold = 0.5
    if metric == "tuned_f1":
        threshold = tune_thresholds(part.validation.labels, part.validation.probabilities)[au]
    found = probabilities >= threshold
    return accuracy_score(labels, found) if metric == "accuracy" else f1_score(labels, found)


@pytest.mark.parametrize("metric", ["f1", "tuned_f1", "accuracy", "roc_auc"])
def test_every_resample_is_the_score_of_its_repeated_faces(random_fold, metric):
    parts = [random_fold(fold, seed) for fold in (1, 2) for seed in (0, 1)]
    result = bootstrap_scores(parts, metric, num_resamples=5, seed=3)
    for draw in range(5):
        folds = []
        for fold in (1, 2):
            weights = np.random.default_rng([3, fold]).multinomial(8, np.full(8, 1 / 8), size=5)[draw]
            times = dict(zip(parts[0].test.subjects if fold == 1 else parts[2].test.subjects, weights, strict=True))
            seeds = []
            for part in (part for part in parts if part.fold == fold):
                repeats = [times[subject] for subject in part.test.subject]
                rows = np.repeat(np.arange(len(part.test)), repeats)
                seeds.append([score_by_hand(part, metric, rows, au) for au in range(4)])
            folds.append(np.mean(seeds, axis=0))
        np.testing.assert_allclose(result.samples[draw], np.mean(folds, axis=0), atol=1e-9)
    np.testing.assert_allclose(result.mean_samples, result.samples.mean(axis=1))


def test_the_estimate_is_the_protocol_s_and_lies_in_its_interval(three_folds):
    result = bootstrap_scores(three_folds, num_resamples=500)
    scores = score_protocol(three_folds)
    np.testing.assert_array_equal(result.estimate, scores.mean_over_folds("f1"))
    assert result.mean_estimate == scores.headline("f1")
    low, high = result.mean_interval
    assert low < result.mean_estimate < high
    assert ((result.intervals[:, 0] < result.estimate) & (result.estimate < result.intervals[:, 1])).all()
    np.testing.assert_allclose(result.intervals[1], np.percentile(result.samples[:, 1], [2.5, 97.5]))


def test_the_spread_over_subjects_is_found_where_faces_alone_would_hide_it(predictions_of):
    """Ten subjects, always right or always wrong: accuracy is binomial over subjects, however many faces they have."""
    subjects = np.repeat([f"S{index}" for index in range(10)], 100)
    labels = np.ones((1000, 1), dtype=int)
    probabilities = np.repeat([0.9, 0.1], 500)[:, None]
    part = FoldPredictions(1, 0, predictions_of(labels, probabilities, subjects, ["AU1"]))
    result = bootstrap_scores([part], "accuracy", num_resamples=4000)
    assert result.mean_samples.std() == pytest.approx(np.sqrt(0.5 * 0.5 / 10), rel=0.05)


def test_the_same_seed_gives_the_same_draws_and_another_gives_others(three_folds):
    one, again = (bootstrap_scores(three_folds, num_resamples=20, seed=4).samples for _ in range(2))
    np.testing.assert_array_equal(one, again)
    assert (one != bootstrap_scores(three_folds, num_resamples=20, seed=5).samples).any()


def test_draws_without_a_definition_are_counted_and_left_out(predictions_of):
    """Only subject A shows AU1: without A there is nothing to find."""
    labels = [[1, 1], [0, 1], [0, 1]]
    probabilities = [[0.9, 0.9], [0.1, 0.9], [0.1, 0.1]]
    part = FoldPredictions(1, 0, predictions_of(labels, probabilities, ["A", "B", "C"], ["AU1", "AU4"]))
    result = bootstrap_scores([part], num_resamples=3000)
    undefined = np.isnan(result.samples[:, 0])
    assert undefined.mean() == pytest.approx((2 / 3) ** 3, abs=0.03)
    assert not np.isnan(result.samples[:, 1]).any()
    assert result.intervals[0].tolist() == [1.0, 1.0]
    np.testing.assert_array_equal(result.mean_samples[undefined], result.samples[undefined, 1])


def test_a_method_does_not_differ_from_itself(three_folds):
    result = compare_paired(three_folds, three_folds, num_resamples=50)
    assert (result.mean_estimate, result.mean_interval, result.p_value) == (0.0, (0.0, 0.0), 1.0)


def test_a_difference_is_over_what_both_methods_define(predictions_of):
    """Nobody shows AU4: F1 is undefined for a method that finds nothing, and 0 for one with a false alarm."""
    labels, subjects = [[1, 0], [1, 0], [1, 0]], ["A", "B", "C"]
    quiet = predictions_of(labels, [[0.9, 0.1]] * 3, subjects, ["AU1", "AU4"])
    alarmed = predictions_of(labels, [[0.9, 0.9], [0.9, 0.1], [0.9, 0.1]], subjects, ["AU1", "AU4"])
    for first, second in ((quiet, alarmed), (alarmed, quiet)):
        parts = [FoldPredictions(1, 0, first)], [FoldPredictions(1, 0, second)]
        result = compare_paired(*parts, num_resamples=50)
        np.testing.assert_array_equal(result.estimate, [0, np.nan])
        assert (result.mean_estimate, result.mean_interval, result.p_value) == (0.0, (0.0, 0.0), 1.0)
        assert result.undefined == ["AU4 in fold 1 (seed 0)"]
        over_seeds = compare_paired(parts[0], [replace(parts[1][0], seed=7)], num_resamples=50)
        assert (over_seeds.mean_estimate, over_seeds.mean_interval) == (0.0, (0.0, 0.0))
        assert over_seeds.undefined == ["AU4 in fold 1"]


def test_a_fold_with_one_subject_has_estimates_alone(three_folds, predictions_of):
    alone = FoldPredictions(4, 0, predictions_of([[1, 0, 1, 0]], [[0.9] * 4], ["A"], AU_NAMES, fold=4))
    parts = [*three_folds, alone]
    assert single_subject_folds(parts) == [4]
    result = estimate_scores(parts, "accuracy")
    assert result.mean_estimate == score_protocol(parts).headline("accuracy")
    assert np.isnan([*result.mean_interval, result.p_value, *result.intervals.ravel()]).all()


def test_an_undefined_difference_has_no_p_value(predictions_of):
    never = predictions_of([[0], [0], [0]], [[0.1], [0.2], [0.3]], ["A", "B", "C"], ["AU1"])
    result = compare_paired([FoldPredictions(1, 0, never)], [FoldPredictions(1, 0, never)], num_resamples=20)
    assert np.isnan([result.mean_estimate, result.p_value]).all()


@pytest.mark.parametrize("metric", ["f1", "roc_auc"])
def test_a_better_method_is_recognised_and_the_sign_follows_the_order(random_fold, metric):
    better = [random_fold(fold, seed=1, skill=0.5) for fold in (1, 2, 3)]
    worse = [random_fold(fold, seed=2, skill=0.2) for fold in (1, 2, 3)]
    result = compare_paired(better, worse, metric, num_resamples=400)
    difference = score_protocol(better).headline(metric) - score_protocol(worse).headline(metric)
    assert result.mean_estimate == pytest.approx(difference)
    assert result.mean_interval[0] > 0
    assert result.p_value == pytest.approx(2 / 401)
    apart = [bootstrap_scores(method, metric, num_resamples=400) for method in (better, worse)]
    np.testing.assert_allclose(result.samples, apart[0].samples - apart[1].samples, atol=1e-12)
    np.testing.assert_allclose(result.estimate, apart[0].estimate - apart[1].estimate)
    turned = compare_paired(worse, better, metric, num_resamples=400)
    np.testing.assert_allclose(turned.mean_samples, -result.mean_samples)
    assert turned.p_value == result.p_value


def test_pairing_removes_what_both_methods_share(predictions_of):
    """Subjects differ a lot, methods by one face of each: separate intervals overlap, the paired one has no width."""
    rng = np.random.default_rng(0)
    subjects = np.repeat([f"S{index}" for index in range(20)], 20)
    labels = np.ones((400, 1), dtype=int)
    is_right = rng.random(400) < np.repeat(rng.uniform(0.2, 0.8, 20), 20)
    better = is_right.copy()
    better[::20] = True
    worse = is_right.copy()
    worse[::20] = False
    first, second = (
        [FoldPredictions(1, 0, predictions_of(labels, np.where(right, 0.9, 0.1)[:, None], subjects, ["AU1"]))]
        for right in (better, worse)
    )
    paired = compare_paired(first, second, "accuracy")
    assert paired.mean_estimate == pytest.approx(1 / 20)
    assert paired.mean_interval == (pytest.approx(1 / 20), pytest.approx(1 / 20))
    apart = [bootstrap_scores(part, "accuracy").mean_interval for part in (first, second)]
    assert apart[1][1] > apart[0][0]


def test_the_p_value_holds_its_level_when_nothing_differs(predictions_of):
    """Two coin-tossing methods, 200 times: at most about 10 % of the p-values lie below 0.1."""
    rng = np.random.default_rng(1)
    subjects = np.repeat([f"S{index}" for index in range(20)], 10)
    labels = np.ones((200, 1), dtype=int)
    p_values = []
    for _ in range(200):
        first, second = (
            [FoldPredictions(1, 0, predictions_of(labels, rng.choice([0.1, 0.9], (200, 1)), subjects, ["AU1"]))]
            for _ in range(2)
        )
        p_values.append(compare_paired(first, second, "accuracy", num_resamples=200).p_value)
    assert 0.04 < np.mean(np.array(p_values) < 0.1) < 0.2
    assert 0.3 < np.mean(np.array(p_values) < 0.5) < 0.7


def test_drawn_seeds_are_averaged_as_often_as_they_are_drawn(random_fold):
    """Each sample is a mean of the samples of the seeds alone, which share the draws of subjects."""
    parts = {seed: [random_fold(fold, seed) for fold in (1, 2)] for seed in (0, 1, 2)}
    alone = np.stack([bootstrap_scores(parts[seed], num_resamples=30).samples for seed in parts])
    result = bootstrap_scores(sum(parts.values(), []), num_resamples=30, over_seeds=True)
    assert result.mean_estimate == bootstrap_scores(sum(parts.values(), []), num_resamples=30).mean_estimate
    # Two of three seeds are drawn: the mean is that of a pair, or of one seed drawn twice.
    means = [(alone[first] + alone[second]) / 2 for first in range(3) for second in range(first, 3)]
    distances = np.stack([np.abs(mean - result.samples).max(axis=1) for mean in means])
    np.testing.assert_allclose(distances.min(axis=0), 0, atol=1e-12)
    assert len(set(distances.argmin(axis=0))) == 6


def test_an_interval_over_seeds_contains_what_the_seeds_differ_by(predictions_of):
    """All subjects agree and seeds do not: the spread of the mean of S seeds is s / sqrt(S), without a factor."""
    subjects = np.repeat([f"S{index}" for index in range(10)], 20)
    labels = np.ones((200, 1), dtype=int)
    accuracies = [0.5, 0.6, 0.85]
    parts = [
        FoldPredictions(1, seed, predictions_of(labels, np.where(right, 0.9, 0.1)[:, None], subjects, ["AU1"]))
        for seed, right in enumerate(np.tile(np.arange(20) < 20 * accuracy, 10) for accuracy in accuracies)
    ]
    over_subjects = bootstrap_scores(parts, "accuracy")
    assert over_subjects.mean_samples.std() == pytest.approx(0, abs=1e-9)
    over_both = bootstrap_scores(parts, "accuracy", num_resamples=20_000, over_seeds=True)
    assert over_both.mean_samples.mean() == pytest.approx(np.mean(accuracies), abs=0.002)
    assert over_both.mean_samples.std() == pytest.approx(np.std(accuracies, ddof=1) / np.sqrt(3), rel=0.03)


def test_runs_of_one_seed_are_paired(predictions_of):
    """The seeds differ a lot, the methods by as much in each seed: what the seeds share leaves the difference."""
    subjects = np.repeat([f"S{index}" for index in range(10)], 20)
    labels = np.ones((200, 1), dtype=int)

    def method(accuracies):
        rights = (np.tile(np.arange(20) < 20 * accuracy, 10) for accuracy in accuracies)
        return [
            FoldPredictions(1, seed, predictions_of(labels, np.where(right, 0.9, 0.1)[:, None], subjects, ["AU1"]))
            for seed, right in enumerate(rights)
        ]

    paired = compare_paired(method([0.5, 0.8, 0.9]), method([0.45, 0.75, 0.85]), "accuracy", over_seeds=True)
    assert paired.mean_interval == (pytest.approx(0.05), pytest.approx(0.05))


def test_seeds_that_cannot_be_drawn_or_paired_are_refused(random_fold):
    one, two, other = ([random_fold(1, seed) for seed in seeds] for seeds in ((0,), (0, 1), (0, 2)))
    with pytest.raises(ValueError, match="needs runs with at least two seeds, got one"):
        bootstrap_scores(one, over_seeds=True)
    with pytest.raises(ValueError, match=r"one method has \[0, 1\] and the other \[0, 2\]"):
        compare_paired(two, other, over_seeds=True)
    compare_paired(two, other, num_resamples=5)


def test_scores_of_different_draws_have_no_difference(three_folds):
    ten = bootstrap_scores(three_folds, num_resamples=10)
    for other in (bootstrap_scores(three_folds, num_resamples=20), bootstrap_scores(three_folds, "accuracy", 10)):
        with pytest.raises(ValueError, match="different kinds can't be subtracted"):
            ten.minus(other)


def test_the_order_of_rows_does_not_matter(random_fold):
    part, other = random_fold(1, seed=1), random_fold(1, seed=2)
    rows = np.random.default_rng(0).permutation(len(part.test))
    names = ("subject", "task", "frame", "fold", "labels", "probabilities")
    mixed = replace(part, test=replace(part.test, **{name: getattr(part.test, name)[rows] for name in names}))
    for metric in ("f1", "roc_auc"):
        plain = compare_paired([part], [other], metric, num_resamples=20)
        np.testing.assert_allclose(
            compare_paired([mixed], [other], metric, num_resamples=20).samples, plain.samples, atol=1e-12
        )


def test_runs_on_other_tests_are_not_compared(three_folds, random_fold):
    with pytest.raises(ValueError, match=r"one was tested on \[1, 2, 3\] and the other on \[1, 2\]\."):
        compare_paired(three_folds, three_folds[:2])
    changed = three_folds[0].test.labels.copy()
    changed[3, 2] = 1 - max(changed[3, 2], 0)
    other = [replace(three_folds[0], test=replace(three_folds[0].test, labels=changed)), *three_folds[1:]]
    with pytest.raises(ValueError, match=r"same labels, but 1 labels differ: AU12 of \('test1-3', 'T1', 3\)"):
        compare_paired(three_folds, other)
    with pytest.raises(ValueError, match="same faces, but"):
        compare_paired([random_fold(1)], [random_fold(1, faces_each=11)])


def test_senseless_arguments_are_refused(three_folds, predictions_of):
    with pytest.raises(ValueError, match="`metric` is 'recall', but it must be one of f1, tuned_f1"):
        bootstrap_scores(three_folds, "recall")
    with pytest.raises(ValueError, match="got 0 and 0.95"):
        bootstrap_scores(three_folds, num_resamples=0)
    with pytest.raises(ValueError, match="got 10 and 95"):
        bootstrap_scores(three_folds, num_resamples=10, confidence=95)
    alone = FoldPredictions(1, 0, predictions_of([[1]], [[0.9]], ["A"], ["AU1"]))
    with pytest.raises(ValueError, match="Fold 1 has 1 test subject"):
        bootstrap_scores([alone])
    with pytest.raises(ValueError, match="no validation predictions to tune thresholds on"):
        bootstrap_scores([replace(three_folds[0], validation=None)], "tuned_f1")


def test_subjects_are_drawn_within_their_fold(random_fold):
    """Every draw has as many subjects of each fold as the fold has: the mean weight is one, and so is every total."""
    part = random_fold(1)
    counts = Counter(part.test.subject)
    assert set(counts.values()) == {12}
    one_fold = bootstrap_scores([part], num_resamples=10, seed=0).samples
    two_folds = bootstrap_scores([part, random_fold(2)], num_resamples=10, seed=0).samples
    other = bootstrap_scores([random_fold(2)], num_resamples=10, seed=0).samples
    np.testing.assert_allclose(two_folds, (one_fold + other) / 2)


@pytest.mark.parametrize("decimals", [7, 1])
def test_pairs_are_ranked_some_levels_at_a_time(monkeypatch, decimals):
    generator = np.random.default_rng(0)
    labels = generator.choice([0, 1, -100], 400).astype(np.int8)
    probabilities = generator.random(400).astype(np.float32).round(decimals)
    subject = generator.integers(0, 5, 400)
    monkeypatch.setattr(bootstrap, "_LEVELS_AT_A_TIME", 3)
    wins, positives, negatives = bootstrap._ranked_pairs(labels, probabilities, subject, 5)
    for p in range(5):
        present = probabilities[(subject == p) & (labels == 1)]
        assert positives[p] == len(present)
        for q in range(5):
            absent = probabilities[(subject == q) & (labels == 0)]
            assert negatives[q] == len(absent)
            difference = present[:, None] - absent
            assert wins[p, q] == (difference > 0).sum() + (difference == 0).sum() / 2


def test_pairs_of_many_faces_and_people_fit_into_memory():
    generator = np.random.default_rng(0)
    labels, probabilities = generator.choice([0, 1], 60_000).astype(np.int8), generator.random(60_000, np.float32)
    tracemalloc.start()
    try:
        bootstrap._ranked_pairs(labels, probabilities, generator.integers(0, 500, 60_000), 500)
        # All levels by all people would be 240 MB, three times.
        assert tracemalloc.get_traced_memory()[1] < 120e6
    finally:
        tracemalloc.stop()

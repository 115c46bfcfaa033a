"""Means over folds and pooled counts agree with scikit-learn, and nothing undefined is averaged."""

import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

from hiva_hf.evaluation.metrics import tune_thresholds
from hiva_hf.evaluation.protocol import FoldPredictions, score_protocol


NUM_AUS = 4


def known(predictions, au: int) -> tuple[np.ndarray, np.ndarray]:
    is_known = predictions.labels[:, au] != -100
    return predictions.labels[is_known, au], predictions.probabilities[is_known, au]


def score_with_sklearn(part, metric: str, au: int) -> float:
    labels, probabilities = known(part.test, au)
    if metric == "roc_auc":
        return roc_auc_score(labels, probabilities)
    found = probabilities >= 0.5
    return f1_score(labels, found) if metric == "f1" else accuracy_score(labels, found)


@pytest.mark.parametrize("metric", ["f1", "accuracy", "roc_auc"])
def test_the_headline_is_the_mean_over_folds(three_folds, metric):
    scores = score_protocol(three_folds)
    expected = np.array([[score_with_sklearn(part, metric, au) for au in range(NUM_AUS)] for part in three_folds])
    np.testing.assert_allclose(scores.mean_over_folds(metric), expected.mean(axis=0))
    assert scores.headline(metric) == pytest.approx(expected.mean())
    np.testing.assert_allclose(scores.of_fold(metric, 2), expected[1])


def test_pooled_counts_are_those_of_all_faces_together(three_folds):
    scores = score_protocol(three_folds)
    columns = [[known(part.test, au) for part in three_folds] for au in range(NUM_AUS)]
    together = [(np.concatenate([y for y, _ in parts]), np.concatenate([p for _, p in parts])) for parts in columns]
    np.testing.assert_allclose(scores.pooled("f1"), [f1_score(y, p >= 0.5) for y, p in together])
    np.testing.assert_allclose(scores.pooled("positive_rate"), [y.mean() for y, _ in together])
    assert scores.support.tolist() == [(y == 1).sum() for y, _ in together]
    assert scores.pooled_mean("f1") != pytest.approx(scores.headline("f1"), abs=1e-5)
    assert scores.num_faces == 3 * 96
    assert scores.num_subjects == 24


def test_seeds_are_averaged_before_folds(random_fold):
    parts = [random_fold(fold, seed) for fold in (1, 2) for seed in (1, 2, 3)]
    scores = score_protocol(parts)
    expected = np.mean([[score_with_sklearn(part, "f1", au) for au in range(NUM_AUS)] for part in parts], axis=0)
    np.testing.assert_allclose(scores.mean_over_folds("f1"), expected)
    assert (scores.folds, scores.seeds) == ((1, 2), (1, 2, 3))
    # Three networks for the same faces, which count once.
    assert scores.num_faces == 2 * 96
    pooled = [score_protocol([part for part in parts if part.seed == seed]).pooled("f1") for seed in (1, 2, 3)]
    np.testing.assert_allclose(scores.pooled("f1"), np.mean(pooled, axis=0))


def test_tuned_thresholds_come_from_validation_and_are_scored_on_test(three_folds):
    scores = score_protocol(three_folds)
    expected = []
    for part, tuned in zip(three_folds, scores.parts, strict=True):
        thresholds = tune_thresholds(part.validation.labels, part.validation.probabilities)
        np.testing.assert_array_equal(tuned.thresholds, thresholds)
        expected.append([f1_score(y, p >= thresholds[au]) for au in range(NUM_AUS) for y, p in [known(part.test, au)]])
    np.testing.assert_allclose(scores.mean_over_folds("tuned_f1"), np.mean(expected, axis=0))
    assert scores.headline("tuned_f1") != pytest.approx(scores.headline("f1"), abs=1e-3)


def test_test_labels_do_not_touch_the_thresholds(three_folds):
    flipped = [
        replace(part, test=replace(part.test, labels=np.where(part.test.labels == -100, -100, 1 - part.test.labels)))
        for part in three_folds
    ]
    for before, after in zip(score_protocol(three_folds).parts, score_protocol(flipped).parts, strict=True):
        np.testing.assert_array_equal(before.thresholds, after.thresholds)


def test_an_undefined_f1_is_reported_and_in_no_mean(predictions_of):
    present = predictions_of([[1, 1], [0, 0]], [[0.9, 0.9], [0.1, 0.9]], ["A", "B"], ["AU1", "AU4"])
    absent = predictions_of([[0, 1], [0, 0]], [[0.1, 0.9], [0.1, 0.1]], ["C", "D"], ["AU1", "AU4"], fold=2)
    scores = score_protocol([FoldPredictions(1, 0, present), FoldPredictions(2, 0, absent)])
    assert scores.mean_over_folds("f1").tolist() == [1.0, pytest.approx((2 / 3 + 1) / 2)]
    assert scores.undefined("f1") == [{"au": "AU1", "fold": 2, "seed": 0}]
    both = score_protocol([FoldPredictions(2, 0, absent)])
    assert np.isnan(both.mean_over_folds("f1")[0])
    assert both.headline("f1") == 1.0
    described = json.loads(json.dumps(both.as_dict(), allow_nan=False))
    assert described["mean_over_folds"]["f1"] == {"AU1": None, "AU4": 1.0}
    assert described["undefined"]["roc_auc"] == [{"au": "AU1", "fold": 2, "seed": 0}]


def test_without_validation_nothing_is_tuned(three_folds):
    scores = score_protocol([replace(part, validation=None) for part in three_folds])
    assert not scores.is_tuned
    assert "tuned_f1" not in scores.as_dict()["headline"]


def test_what_is_no_protocol_is_refused(three_folds, random_fold):
    first, second, _ = three_folds
    with pytest.raises(ValueError, match="at least one"):
        score_protocol([])
    with pytest.raises(ValueError, match=r"Every seed needs the same folds.*\[\(1, 0\), \(1, 5\), \(2, 0\)\]"):
        score_protocol([first, second, random_fold(1, seed=5)])
    with pytest.raises(ValueError, match="same folds, each once"):
        score_protocol([first, first])
    with pytest.raises(ValueError, match="is tested in folds 1 and 2"):
        score_protocol([first, replace(second, test=first.test)])
    with pytest.raises(ValueError, match=r"validates on test subjects \(test1-0, "):
        score_protocol([replace(first, validation=first.test)])
    with pytest.raises(ValueError, match="predicts AU1, but fold 1, seed 0 predicts AU1, AU4, AU12, AU25"):
        score_protocol([first, replace(second, test=second.test.select_aus(["AU1"]), validation=None)])
    with pytest.raises(ValueError, match="different AUs"):
        score_protocol([replace(first, validation=first.validation.select_aus(["AU1"]))])
    with pytest.raises(ValueError, match="same faces, but"):
        score_protocol([first, replace(second, fold=1, seed=1)])


def test_seeds_are_all_known_or_all_unknown(three_folds, random_fold):
    unknown = [replace(part, seed=None) for part in three_folds]
    assert score_protocol(unknown).seeds == (None,)
    for mixed in ([unknown[0], random_fold(1, seed=42)], [unknown[0], three_folds[1]], [*unknown, *three_folds]):
        with pytest.raises(ValueError, match=r"seeds of all predictions or of none.*\(1, None\)"):
            score_protocol(mixed)

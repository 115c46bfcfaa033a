"""The scores agree with scikit-learn where it defines them, and say so where the data defines none."""

import json
import re

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

from hiva_hf.evaluation import (
    AUCounts,
    compute_au_metrics,
    compute_roc_auc,
    count_au_predictions,
    format_au_table,
    mean_over_aus,
    tune_thresholds,
)


AU_NAMES = ["AU1", "AU4", "AU12", "AU25"]
NAN = float("nan")

# Four faces, two AUs; the second label of the last face is unknown.
LABELS = [[1, 0], [1, 1], [0, 0], [0, -100]]
PROBABILITIES = [[0.9, 0.7], [0.3, 0.8], [0.6, 0.1], [0.2, 0.9]]


def random_faces(seed: int, num_faces: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Labels with a tenth unknown, and probabilities that know something and are full of ties."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, size=(num_faces, len(AU_NAMES)))
    probabilities = np.clip(0.2 * labels + rng.uniform(0, 0.8, size=labels.shape), 0, 1).round(1)
    labels[rng.random(labels.shape) < 0.1] = -100
    return labels, probabilities


def known_columns(labels: np.ndarray, probabilities: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    return [
        (labels[labels[:, au] != -100, au], probabilities[labels[:, au] != -100, au]) for au in range(labels.shape[1])
    ]


def counts_as_lists(counts: AUCounts) -> list[list[int]]:
    return [
        counts.true_positives.tolist(),
        counts.false_positives.tolist(),
        counts.false_negatives.tolist(),
        counts.true_negatives.tolist(),
    ]


# Counts


def test_counts_leave_unknown_labels_out():
    counts = count_au_predictions(LABELS, PROBABILITIES)
    assert counts_as_lists(counts) == [[1, 1], [1, 1], [1, 0], [1, 1]]
    assert counts.labelled.tolist() == [4, 3]
    assert counts.support.tolist() == [2, 1]
    assert counts.positive_rate.tolist() == [0.5, pytest.approx(1 / 3)]


def test_probability_equal_to_the_threshold_counts_as_found():
    assert count_au_predictions([[1]], [[0.5]]).true_positives.tolist() == [1]
    assert count_au_predictions([[1]], [[0.49]]).true_positives.tolist() == [0]


def test_threshold_may_differ_between_aus():
    counts = count_au_predictions([[1, 1]], [[0.4, 0.4]], threshold=[0.3, 0.5])
    assert counts.true_positives.tolist() == [1, 0]


@pytest.mark.parametrize("dtype", [np.int8, np.int64, np.float32])
def test_label_dtype_does_not_matter(dtype):
    counts = count_au_predictions(np.array(LABELS, dtype=dtype), np.array(PROBABILITIES, dtype=np.float32))
    assert counts_as_lists(counts) == counts_as_lists(count_au_predictions(LABELS, PROBABILITIES))


def test_sum_of_counts_over_folds_equals_counts_of_all_faces():
    labels, probabilities = random_faces(seed=0)
    folds = [count_au_predictions(labels[start::3], probabilities[start::3]) for start in range(3)]
    pooled = sum(folds, start=AUCounts.zeros(len(AU_NAMES)))
    assert counts_as_lists(pooled) == counts_as_lists(count_au_predictions(labels, probabilities))


def test_counts_of_different_aus_cannot_be_added():
    with pytest.raises(ValueError, match="counts of 2 AUs to counts of 3 AUs"):
        AUCounts.zeros(2) + AUCounts.zeros(3)


def test_counts_and_numbers_cannot_be_added():
    with pytest.raises(TypeError):
        AUCounts.zeros(2) + 1


# Scores


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("threshold", [0.3, 0.5])
def test_f1_and_accuracy_agree_with_sklearn(seed, threshold):
    labels, probabilities = random_faces(seed)
    counts = count_au_predictions(labels, probabilities, threshold)
    for au, (truth, scores) in enumerate(known_columns(labels, probabilities)):
        found = scores >= threshold
        assert counts.f1[au] == pytest.approx(f1_score(truth, found))
        assert counts.accuracy[au] == pytest.approx(accuracy_score(truth, found))


@pytest.mark.parametrize("seed", range(3))
def test_roc_auc_agrees_with_sklearn_on_tied_probabilities(seed):
    labels, probabilities = random_faces(seed)
    expected = [roc_auc_score(*column) for column in known_columns(labels, probabilities)]
    np.testing.assert_allclose(compute_roc_auc(labels, probabilities), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("probabilities", "expected"),
    [([0.1, 0.2, 0.8, 0.9], 1.0), ([0.9, 0.8, 0.2, 0.1], 0.0), ([0.5] * 4, 0.5), ([0.1, 0.6, 0.6, 0.9], 0.875)],
    ids=["separated", "reversed", "all tied", "one tie across"],
)
def test_roc_auc_by_hand(probabilities, expected):
    assert compute_roc_auc([[0], [0], [1], [1]], np.array(probabilities)[:, None]).tolist() == [expected]


@pytest.mark.filterwarnings("error")
def test_f1_is_undefined_only_with_nothing_to_find_and_nothing_found():
    nothing_found, something_found = [[0.1], [0.2]], [[0.1], [0.9]]
    absent = [[0], [0]]
    assert np.isnan(count_au_predictions(absent, nothing_found).f1).tolist() == [True]
    assert count_au_predictions(absent, something_found).f1.tolist() == [0.0]
    assert count_au_predictions([[0], [1]], nothing_found).f1.tolist() == [0.0]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("label", [0, 1, -100])
def test_roc_auc_is_undefined_with_one_class(label):
    assert np.isnan(compute_roc_auc([[label], [label]], [[0.1], [0.9]])).tolist() == [True]


@pytest.mark.filterwarnings("error")
def test_scores_of_an_au_without_known_labels_are_undefined():
    counts = count_au_predictions([[-100], [-100]], [[0.1], [0.9]])
    assert np.isnan([counts.f1, counts.accuracy, counts.positive_rate]).all()
    assert counts.labelled.tolist() == counts.support.tolist() == [0]


@pytest.mark.filterwarnings("error")
def test_mean_leaves_undefined_aus_out_and_names_them():
    assert mean_over_aus([0.5, NAN, 1.0], ["AU1", "AU2", "AU4"]) == (0.75, ["AU2"])
    mean, undefined = mean_over_aus([NAN, NAN], ["AU1", "AU2"])
    assert np.isnan(mean)
    assert undefined == ["AU1", "AU2"]


def test_mean_needs_one_name_per_value():
    with pytest.raises(ValueError, match=r"values has shape \(2,\), but au_names names 1 AUs"):
        mean_over_aus([0.5, 0.5], ["AU1"])


# Thresholds


def best_f1_of_any_threshold(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    grid = np.linspace(0, 1, 101)
    return np.max([count_au_predictions(labels, probabilities, threshold).f1 for threshold in grid], axis=0)


@pytest.mark.parametrize("seed", range(5))
def test_tuned_thresholds_reach_the_best_f1(seed):
    labels, probabilities = random_faces(seed, num_faces=40)
    tuned = count_au_predictions(labels, probabilities, tune_thresholds(labels, probabilities)).f1
    np.testing.assert_allclose(tuned, best_f1_of_any_threshold(labels, probabilities))


def test_tuned_threshold_lies_halfway_between_the_classes():
    assert tune_thresholds([[0], [0], [1]], [[0.1], [0.2], [0.4]]).tolist() == [pytest.approx(0.3)]


@pytest.mark.parametrize(
    ("probabilities", "equally_good", "nearest"),
    [([0.9, 0.8, 0.75, 0.7], 0.85, 0.35), ([0.6, 0.4, 0.2, 0.1], 0.05, 0.5)],
    ids=["lower", "higher"],
)
def test_tuned_threshold_is_the_nearest_to_one_half_of_equally_good_ones(probabilities, equally_good, nearest):
    """Finding the first face alone and finding all four both give an F1 of 2/3."""
    labels, probabilities = [[1], [0], [0], [1]], np.array(probabilities)[:, None]
    for threshold in (equally_good, nearest):
        assert count_au_predictions(labels, probabilities, threshold).f1 == pytest.approx(2 / 3)
    assert tune_thresholds(labels, probabilities).tolist() == [pytest.approx(nearest)]


def test_tuned_threshold_parts_neighbouring_floats():
    lower = 0.7
    labels, probabilities = [[0], [1]], [[lower], [np.nextafter(lower, 1)]]
    assert count_au_predictions(labels, probabilities, tune_thresholds(labels, probabilities)).f1.tolist() == [1.0]


def test_tuned_threshold_ignores_unknown_labels():
    labels, probabilities = [[0], [1], [-100], [-100]], [[0.2], [0.6], [0.9], [0.3]]
    assert tune_thresholds(labels, probabilities).tolist() == [pytest.approx(0.4)]


@pytest.mark.parametrize("label", [0, -100])
def test_threshold_stays_at_one_half_without_positives(label):
    assert tune_thresholds([[label], [label]], [[0.8], [0.9]]).tolist() == [0.5]


# Flat results


def test_metrics_have_exactly_the_documented_keys():
    per_au = {
        f"{metric}_{name}"
        for metric in ("f1", "accuracy", "roc_auc", "positive_rate", "support")
        for name in ("AU1", "AU12")
    }
    over_aus = {f"{kind}_{metric}" for kind in ("mean", "undefined") for metric in ("f1", "accuracy", "roc_auc")}
    assert compute_au_metrics(LABELS, PROBABILITIES, ["AU1", "AU12"]).keys() == per_au | over_aus


def test_metrics_of_a_small_case_by_hand():
    metrics = compute_au_metrics(LABELS, PROBABILITIES, ["AU1", "AU12"])
    assert metrics == {
        "mean_f1": pytest.approx((1 / 2 + 2 / 3) / 2),
        "undefined_f1": [],
        "mean_accuracy": pytest.approx((1 / 2 + 2 / 3) / 2),
        "undefined_accuracy": [],
        "mean_roc_auc": pytest.approx((3 / 4 + 1) / 2),
        "undefined_roc_auc": [],
        "f1_AU1": 0.5,
        "accuracy_AU1": 0.5,
        "roc_auc_AU1": 0.75,
        "positive_rate_AU1": 0.5,
        "support_AU1": 2,
        "f1_AU12": pytest.approx(2 / 3),
        "accuracy_AU12": pytest.approx(2 / 3),
        "roc_auc_AU12": 1.0,
        "positive_rate_AU12": pytest.approx(1 / 3),
        "support_AU12": 1,
    }


def test_undefined_scores_are_none_named_and_in_no_mean():
    metrics = compute_au_metrics(
        [[1, 0, -100], [0, 0, -100]], [[0.9, 0.1, 0.5], [0.1, 0.2, 0.5]], ["AU1", "AU2", "AU4"]
    )
    assert metrics["f1_AU2"] is metrics["roc_auc_AU2"] is metrics["accuracy_AU4"] is metrics["f1_AU4"] is None
    assert metrics["undefined_f1"] == metrics["undefined_roc_auc"] == ["AU2", "AU4"]
    assert metrics["undefined_accuracy"] == ["AU4"]
    assert metrics["mean_f1"] == metrics["mean_accuracy"] == metrics["mean_roc_auc"] == 1.0
    assert metrics["positive_rate_AU2"] == 0.0
    assert metrics["positive_rate_AU4"] is None


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("num_faces", [0, 2])
def test_metrics_survive_strict_json_even_without_any_known_label(num_faces):
    metrics = compute_au_metrics(np.full((num_faces, 4), -100), np.full((num_faces, 4), 0.5), AU_NAMES)
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics
    assert metrics["mean_f1"] is metrics["mean_accuracy"] is metrics["mean_roc_auc"] is None
    assert metrics["undefined_f1"] == AU_NAMES


def test_metrics_use_the_thresholds_given():
    at_half = compute_au_metrics(LABELS, PROBABILITIES, ["AU1", "AU12"])
    tuned = compute_au_metrics(LABELS, PROBABILITIES, ["AU1", "AU12"], tune_thresholds(LABELS, PROBABILITIES))
    assert tuned["f1_AU12"] == 1.0 > at_half["f1_AU12"]
    assert tuned["roc_auc_AU12"] == at_half["roc_auc_AU12"]


# Bad input


@pytest.mark.parametrize(
    ("labels", "probabilities", "message"),
    [
        ([[1, 0]], [[0.5]], "labels has shape (1, 2), but probabilities has (1, 1)"),
        ([1, 0], [0.5, 0.5], "labels must have shape [faces, AUs], but has (2,)"),
        ([[], []], [[], []], "labels must have shape [faces, AUs], but has (2, 0)"),
        ([[1, 0], [1]], [[0.5, 0.5], [0.5]], "labels must hold numbers in rows of equal length"),
        ([["yes", 0]], [[0.5, 0.5]], "labels must hold numbers"),
        ([[1, 0], [1, 9]], [[0.5, 0.5]] * 2, "labels must be 0, 1 or -100 for unknown, but row 1, AU2, is 9 (1 such"),
        ([[NAN, 0], [1, -1]], [[0.5, 0.5]] * 2, "row 0, AU1, is nan (2 such values)"),
        ([[1, 0.5]], [[0.5, 0.5]], "row 0, AU2, is 0.5"),
        (
            [[1, -100]],
            [[0.5, NAN]],
            "probabilities must be between 0 and 1 (logits need a sigmoid), but row 0, AU2, is nan",
        ),
        ([[1, 0]], [[3.5, 0.5]], "(logits need a sigmoid), but row 0, AU1, is 3.5"),
        ([[1, 0]], [[0.5, -0.1]], "row 0, AU2, is -0.1"),
    ],
)
def test_bad_values_are_refused_by_argument_row_and_au(labels, probabilities, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        compute_au_metrics(labels, probabilities, ["AU1", "AU2"])


@pytest.mark.parametrize("function", [count_au_predictions, compute_roc_auc, tune_thresholds])
def test_columns_are_numbered_where_names_are_not_given(function):
    with pytest.raises(ValueError, match=r"labels must be .* but row 0, column 1, is 9"):
        function([[1, 9]], [[0.5, 0.5]])
    with pytest.raises(ValueError, match=r"labels must be .* but row 0, AU2, is 9"):
        function([[1, 9]], [[0.5, 0.5]], au_names=["AU1", "AU2"])


@pytest.mark.parametrize(
    ("au_names", "message"),
    [(["AU1"], "au_names has 1 names, but labels and probabilities 2 columns"), (["AU1", "AU1"], "must differ")],
)
def test_bad_names_are_refused(au_names, message):
    with pytest.raises(ValueError, match=message):
        compute_au_metrics(LABELS, PROBABILITIES, au_names)


@pytest.mark.parametrize(
    ("threshold", "message"),
    [([0.5] * 3, r"one number or 2, one per AU, but has shape \(3,\)"), (1.5, "is 1.5"), ([0.5, NAN], "nan")],
)
def test_bad_threshold_is_refused(threshold, message):
    with pytest.raises(ValueError, match=f"threshold .*{message}"):
        count_au_predictions(LABELS, PROBABILITIES, threshold)


# Table


def test_table_lists_aus_and_ends_in_their_means():
    metrics = compute_au_metrics(LABELS, PROBABILITIES, ["AU1", "AU12"])
    assert format_au_table(metrics, ["AU1", "AU12"]).splitlines() == [
        "| AU   | Name              |    F1 | Accuracy | ROC-AUC | Positive rate | Support |",
        "| ---- | ----------------- | ----: | -------: | ------: | ------------: | ------: |",
        "| AU1  | Inner Brow Raiser | 0.500 |    0.500 |   0.750 |         0.500 |       2 |",
        "| AU12 | Lip Corner Puller | 0.667 |    0.667 |   1.000 |         0.333 |       1 |",
        "| Mean |                   | 0.583 |    0.583 |   0.875 |               |         |",
    ]


def test_table_shows_undefined_scores_and_names_outside_the_catalogue():
    metrics = compute_au_metrics([[0], [0]], [[0.1], [0.2]], ["wink"])
    row, means = format_au_table(metrics, ["wink"]).splitlines()[-2:]
    assert [cell.strip() for cell in row.split("|")[1:-1]] == ["wink", "", "n/a", "1.000", "n/a", "0.000", "0"]
    assert [cell.strip() for cell in means.split("|")[1:-1]] == ["Mean", "", "n/a", "1.000", "n/a", "", ""]


def test_table_reads_prefixed_keys():
    metrics = compute_au_metrics(LABELS, PROBABILITIES, ["AU1", "AU12"])
    prefixed = {f"test_{key}": value for key, value in metrics.items()}
    assert format_au_table(prefixed, ["AU12"], prefix="test_") == format_au_table(metrics, ["AU12"])


def test_table_names_the_score_that_is_absent():
    metrics = compute_au_metrics(LABELS, PROBABILITIES, ["AU1", "AU12"])
    with pytest.raises(ValueError, match="metrics has no 'f1_AU25'"):
        format_au_table(metrics, ["AU25"])

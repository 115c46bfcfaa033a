"""Our rows stand beside the published ones, with the numbers of the protocol."""

from dataclasses import replace

import numpy as np
import pytest

from hiva_hf.evaluation.bootstrap import compare_paired
from hiva_hf.evaluation.predictions import Predictions
from hiva_hf.evaluation.protocol import FoldPredictions
from hiva_hf.evaluation.published import published_tables
from hiva_hf.evaluation.result_tables import make_detail_table, make_difference_table, make_f1_table, score_method


NAMES = {"full": "HiVA", "baseline": "Baseline (vision only)", "names_only": "HiVA, AU names"}


@pytest.fixture(scope="module")
def make_folds(random_fold, predictions_of):
    """Predictions of random faces for the AUs of DISFA."""
    aus = published_tables()["V"].au_labels

    def widen(split: Predictions) -> Predictions:
        labels, probabilities = np.tile(split.labels, 2), np.tile(split.probabilities, 2)
        return predictions_of(labels, probabilities, split.subject, aus, fold=int(split.fold[0]))

    def make(seed: int) -> list[FoldPredictions]:
        parts = [random_fold(fold, seed) for fold in (1, 2, 3)]
        return [replace(part, test=widen(part.test), validation=widen(part.validation)) for part in parts]

    return make


@pytest.fixture(scope="module")
def results(make_folds):
    return {
        "full": score_method("HiVA", make_folds(1)),
        "baseline": score_method("Baseline (vision only)", make_folds(2)),
    }


def cells(table, row: int) -> dict:
    return dict(zip([column.name for column in table.columns], table.rows[row], strict=True))


def test_each_of_our_rows_stands_under_its_published_one(results):
    table = make_f1_table("t", "Table V", NAMES, results, published_tables()["V"])
    methods = [(row[0], row[1]) for row in table.rows]
    assert len(methods) == 8 + 2
    assert methods[methods.index(("HiVA", "published")) + 1] == ("HiVA", "ours")
    assert methods[methods.index(("Baseline (vision only)", "published")) + 1] == ("Baseline (vision only)", "ours")


def test_published_rows_are_as_printed_and_ours_are_the_protocol_s(results):
    table = make_f1_table("t", "Table V", NAMES, results, published_tables()["V"])
    rows = [cells(table, index) for index in range(len(table.rows))]
    published, ours = (
        next(row for row in rows if (row["Method"], row["Source"]) == ("HiVA", source))
        for source in ("published", "ours")
    )
    assert (published["AU1"], published["Average"], published["95% interval"]) == (60.6, 67.4, "")
    scores = results["full"].scores
    assert ours["AU9"] == pytest.approx(100 * scores.mean_over_folds("f1")[4])
    assert ours["Average"] == pytest.approx(100 * scores.headline("f1"))
    assert ours["Pooled"] == pytest.approx(100 * scores.pooled_mean("f1"))
    assert ours["95% interval"] == pytest.approx(tuple(100 * end for end in results["full"].f1.mean_interval))
    assert ours["Average"] == pytest.approx(np.mean([ours[label] for label in scores.au_labels]))


def test_notes_tell_protocol_source_and_slips(results):
    notes = make_f1_table("t", "T", NAMES, results, published_tables()["V"]).notes
    assert any("folds 1, 2, 3, seed" in note and "24 test subjects, 288 faces" in note for note in notes)
    assert any(note.startswith("published: arXiv 2602.14425, Table V") for note in notes)
    assert any(note.startswith("published: HiVA, w/o L_diff: its AUs average 64.74") for note in notes)


def test_without_published_rows_ours_stand_alone_and_without_ours_the_published(results):
    alone = make_f1_table("t", "T", NAMES, results)
    assert [(row[0], row[1]) for row in alone.rows] == [("HiVA", "ours"), ("Baseline (vision only)", "ours")]
    assert not any("published" in note for note in alone.notes)
    published = make_f1_table("t", "T", NAMES, {}, published_tables()["VI"])
    assert {row[1] for row in published.rows} == {"published"}
    assert not any(note.startswith("ours") for note in published.notes)


def test_a_table_of_other_aus_is_refused(results):
    with pytest.raises(ValueError, match="one list of AUs, but there are 2"):
        make_f1_table("t", "T", NAMES, results, published_tables()["I"])
    with pytest.raises(ValueError, match="there are 0"):
        make_f1_table("t", "T", NAMES, {})


def test_an_undefined_f1_is_printed_as_such(predictions_of):
    absent = predictions_of(
        [[0, 1], [0, 0], [0, 1]], [[0.1, 0.9], [0.1, 0.1], [0.1, 0.9]], list("ABC"), ["AU1", "AU4"]
    )
    result = score_method("HiVA", [FoldPredictions(1, 7, absent)])
    table = make_f1_table("t", "T", NAMES, {"full": result})
    assert "n/a" in table.to_markdown()
    assert cells(table, 0)["Average"] == 100
    assert any("F1 is undefined for AU1 in fold 1 (seed 7)" in note for note in table.notes)


def test_details_hold_every_score_of_every_au(results):
    result = results["full"]
    table = make_detail_table("d", "Details", result)
    assert [column.name for column in table.columns][2:] == [
        *("F1", "95% interval", "Pooled F1", "Tuned F1", "Accuracy", "ROC-AUC", "Positive rate", "Support")
    ]
    assert len(table.rows) == 8 + 1
    row, scores = cells(table, 3), result.scores
    assert row["AU"] == "AU6 Cheek Raiser"
    assert row["Tuned F1"] == pytest.approx(100 * scores.mean_over_folds("tuned_f1")[3])
    assert row["ROC-AUC"] == pytest.approx(100 * scores.mean_over_folds("roc_auc")[3])
    assert row["Positive rate"] == pytest.approx(100 * scores.pooled("positive_rate")[3])
    assert row["Support"] == scores.support[3]
    assert cells(table, 8)["F1"] == pytest.approx(100 * scores.headline("f1"))


def test_details_of_an_untuned_method_have_no_tuned_scores(results):
    untuned = score_method("HiVA", [replace(part, validation=None) for part in results["full"].predictions])
    assert {row[5] for row in make_detail_table("d", "Details", untuned).rows} == {""}


def test_differences_are_those_of_the_paired_comparison(results):
    full, baseline = results["full"], results["baseline"]
    table, comparisons = make_difference_table("p", "Differences", [(full, baseline)])
    row = cells(table, 0)
    expected = compare_paired(full.predictions, baseline.predictions)
    assert row["Difference"] == "HiVA - Baseline (vision only)"
    assert row["F1"] == pytest.approx(100 * (full.scores.headline("f1") - baseline.scores.headline("f1")))
    assert row["F1 95% interval"] == pytest.approx(tuple(100 * end for end in expected.mean_interval))
    assert row["F1 p"] == expected.p_value
    assert comparisons[0].keys() == {"f1", "tuned_f1", "roc_auc"}


def test_one_subject_of_a_fold_leaves_scores_without_intervals(predictions_of):
    """Leave-one-subject-out."""
    folds = [
        FoldPredictions(fold, 0, predictions_of([[1, 0], [0, 0]], [[0.9, 0.1]] * 2, [name] * 2, ["AU1", "AU4"], fold))
        for fold, name in ((1, "A"), (2, "B"))
    ]
    result = score_method("HiVA", folds)
    detail = make_detail_table("d", "Details", result)
    average = cells(detail, 2)
    assert (average["F1"], average["95% interval"]) == (pytest.approx(200 / 3), None)
    assert (
        "No interval, because a bootstrap over subjects needs two of each fold: folds 1, 2 test one."
        in detail.notes[0]
    )
    table, _ = make_difference_table("p", "Differences", [(result, result)])
    assert [cells(table, 0)[name] for name in ("F1", "F1 95% interval", "F1 p")] == [0, None, None]
    assert table.notes[1].startswith("HiVA - HiVA: F1 leaves out AU4 in fold 1 (seed 0), AU4 in fold 2 (seed 0), ")

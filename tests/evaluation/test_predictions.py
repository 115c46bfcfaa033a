"""Predictions survive the disk, and two runs are compared face by face or not at all."""

from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest

from hiva_hf.evaluation.predictions import read_predictions, write_predictions


AU_LABELS = ["AU1", "AU12"]
ROWS = {"subject": ["S1", "S1", "S2"], "task": ["T1", None, "T2"], "frame": [7, 8, 9], "fold": [1, 1, 2]}
LABELS = [[1, 0], [0, -100], [1, 1]]
PROBABILITIES = [[0.25, 0.5], [0.0, 1.0], [0.75, 0.125]]


@pytest.fixture
def path(tmp_path):
    write_predictions(tmp_path / "predictions.parquet", ROWS, LABELS, PROBABILITIES, AU_LABELS)
    return tmp_path / "predictions.parquet"


def test_what_was_written_is_read(path):
    read = read_predictions(path)
    assert read.au_labels == ("AU1", "AU12")
    assert read.labels.tolist() == LABELS
    assert read.probabilities.tolist() == PROBABILITIES
    assert {name: getattr(read, name).tolist() for name in ROWS} == ROWS
    assert read.faces == [("S1", "T1", 7), ("S1", None, 8), ("S2", "T2", 9)]
    assert read.subjects == ["S1", "S2"]


def test_the_columns_of_the_file_have_names_and_types_for_others_to_read(path):
    schema = pq.read_schema(path)
    assert schema.names == [*ROWS, "AU1_label", "AU1_probability", "AU12_label", "AU12_probability"]
    assert str(schema.field("AU12_label").type) == "int8"
    assert str(schema.field("AU12_probability").type) == "float"


def test_writing_again_replaces_the_file_and_leaves_nothing_beside_it(path):
    write_predictions(path, ROWS, LABELS, np.zeros((3, 2)), AU_LABELS)
    assert read_predictions(path).probabilities.sum() == 0
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": {"subject": ["S1"] * 3}}, "need the row columns task, frame, fold"),
        ({"labels": LABELS[:2]}, r"need shape \(3, 2\), but labels have \(2, 2\)"),
        ({"rows": {**ROWS, "frame": [1]}}, "differ in length"),
        ({"labels": np.full((3, 2), 2)}, "Labels for .* must be 0, 1 or -100"),
        ({"labels": np.full((3, 2), 0.5)}, "Labels for .* must be 0, 1 or -100"),
        ({"probabilities": np.full((3, 2), np.nan)}, "must lie between 0 and 1"),
        ({"au_labels": ["AU1", "AU1"]}, "must differ"),
    ],
)
def test_wrong_predictions_are_not_written(tmp_path, change, message):
    arguments = {"rows": ROWS, "labels": LABELS, "probabilities": PROBABILITIES, "au_labels": AU_LABELS}
    with pytest.raises(ValueError, match=message):
        write_predictions(tmp_path / "p.parquet", **(arguments | change))
    assert not list(tmp_path.iterdir())


def test_a_missing_broken_or_foreign_file_is_named(tmp_path, path):
    with pytest.raises(FileNotFoundError, match=r"no predictions at .*none\.parquet"):
        read_predictions(tmp_path / "none.parquet")
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match=r"broken\.parquet is not a Parquet file"):
        read_predictions(broken)
    pq.write_table(pq.read_table(path).drop_columns(["AU12_probability", "fold"]), broken)
    with pytest.raises(ValueError, match="lacks the columns fold, AU12_probability"):
        read_predictions(broken)


def test_aus_can_be_selected_and_reordered(path):
    read = read_predictions(path)
    chosen = read.select_aus(["AU12"])
    assert (chosen.au_labels, chosen.labels.tolist()) == (("AU12",), [[0], [-100], [1]])
    assert chosen.probabilities.tolist() == [[0.5], [1.0], [0.125]]
    assert read.select_aus(["AU12", "AU1"]).labels.tolist() == [row[::-1] for row in LABELS]
    with pytest.raises(ValueError, match="no predictions of AU7, only of AU1, AU12"):
        read.select_aus(["AU7"])


def test_rows_are_brought_into_the_order_of_another_run(predictions_of):
    one = predictions_of([[1], [0], [1]], [[0.1], [0.2], [0.3]], ["S1", "S2", "S3"], ["AU1"])
    rows = [2, 0, 1]
    names = ("subject", "task", "frame", "fold", "labels", "probabilities")
    other = replace(one, **{name: getattr(one, name)[rows] for name in names})
    assert other.probabilities[:, 0].tolist() != one.probabilities[:, 0].tolist()
    assert other.in_order_of(one).probabilities.tolist() == one.probabilities.tolist()
    assert other.in_order_of(one).faces == one.faces


def test_runs_on_other_faces_labels_or_aus_are_not_put_side_by_side(predictions_of):
    one = predictions_of([[1], [0]], [[0.1], [0.2]], ["S1", "S2"], ["AU1"])
    with pytest.raises(ValueError, match=r"same labels, but 1 labels differ: AU1 of \('S2', 'T1', 1\) is 0"):
        replace(one, labels=np.array([[1], [1]], dtype=np.int8)).in_order_of(one)
    with pytest.raises(ValueError, match="same faces, but they have 2 and 2 faces, of which 2 are not shared"):
        replace(one, frame=np.array([0, 5])).in_order_of(one)
    with pytest.raises(ValueError, match="one predicts AU1 and the other AU2"):
        replace(one, au_labels=("AU2",)).in_order_of(one)
    with pytest.raises(ValueError, match="Some faces occur twice"):
        replace(one, frame=np.array([0, 0]), subject=np.array(["S1", "S1"], dtype=object)).in_order_of(one)

import datasets
import numpy as np
import pyarrow as pa
import pytest

from hiva_hf.data import au_features
from hiva_hf.data.views import (
    arrange_column,
    arrange_dataset,
    check_aus,
    evenly_spaced,
    ranges_of_subjects,
    select_subjects,
)


AUS = (1, 2, 12)
ROWS = [[1, 0, -100], [0, 1, 1], [0, 0, 1], [1, 1, 0]]
INTENSITIES = [[5, 0, -100], [0, 3, 4], [1, 0, 2], [2, 2, 1]]


@pytest.fixture
def faces(make_rows):
    """The frames 1 to 4, of the subjects B, A, A and C."""
    rows = [make_rows(subject, 1, "", frame, AUS)[-1] for frame, subject in enumerate("BAAC", start=1)]
    for row, labels, intensities in zip(rows, ROWS, INTENSITIES, strict=True):
        row |= {"labels": labels, "intensities": intensities}
    rows[0]["detector_score"] = None
    return datasets.Dataset.from_list(rows, features=au_features(3))


def lists(values, length):
    return pa.chunked_array([pa.array(values, pa.list_(pa.int8(), length))])


def test_labels_are_put_in_the_asked_for_order_with_missing_ones_where_there_are_none():
    assert arrange_column(lists(ROWS, 3), AUS, (12, 6, 1)).to_pylist() == [
        [-100, -100, 1],
        [1, -100, 0],
        [1, -100, 0],
        [0, -100, 1],
    ]


def test_slices_and_chunks_of_a_column_are_arranged_by_their_own_rows():
    column = pa.chunked_array([lists(ROWS, 3).chunk(0).slice(1, 2), lists(ROWS, 3).chunk(0).slice(3)])
    assert arrange_column(column, AUS, (2,)).to_pylist() == [[1], [0], [1]]


def test_a_data_set_keeps_its_schema_and_all_else(faces):
    arranged = arrange_dataset(faces, AUS, (12, 4))
    assert arranged.features == au_features(2)
    assert list(arranged.features) == list(au_features(2))
    assert arranged["labels"][:] == [[-100, -100], [1, -100], [1, -100], [0, -100]]
    assert arranged["intensities"][:] == [[-100, -100], [4, -100], [2, -100], [1, -100]]
    others = [name for name in faces.column_names if name not in ("labels", "intensities")]
    assert arranged.select_columns(others).to_dict() == faces.select_columns(others).to_dict()


@pytest.mark.parametrize("aus, complaint", [([1, 3], "`aus` has 3, which"), ([], "`aus` is"), ([1, 1], "only once")])
def test_aus_that_make_no_sense_are_refused(aus, complaint):
    with pytest.raises(ValueError, match=complaint):
        check_aus(aus)


def test_adjacent_rows_are_in_one_range():
    subjects = pa.chunked_array([["b", "a"], ["c", "a", "b", "c"]])
    assert ranges_of_subjects(subjects, ["a", "c"]) == [range(1, 4), range(5, 6)]
    assert ranges_of_subjects(subjects, ["b"]) == [range(0, 1), range(4, 5)]
    assert ranges_of_subjects(subjects, ["d"]) == []


def test_rows_of_subjects_keep_their_order_and_need_no_list_of_rows(faces):
    chosen = select_subjects(faces, ["C", "B"], "train")
    assert chosen["subject"][:] == ["B", "C"]
    assert chosen["frame"][:] == [1, 4]
    assert chosen.split == "train"
    assert chosen._indices is None


def test_random_rows_can_be_taken_from_what_was_arranged_and_selected(faces):
    chosen = select_subjects(arrange_dataset(faces, AUS, (2, 1)), ["A", "C"]).select([2, 0])
    assert np.array(chosen["labels"]).tolist() == [[1, 1], [1, 0]]
    assert chosen.column_names == list(au_features(2))


@pytest.mark.parametrize(
    ("length", "limit", "rows"),
    [
        (10, 4, [0, 3, 6, 9]),
        (7, 3, [0, 3, 6]),
        (8, 3, [0, 3, 7]),
        (5, 1, [0]),
        (3, 5, [0, 1, 2]),
        (0, 2, []),
        (4, 0, []),
    ],
)
def test_rows_are_evenly_spaced_and_each_is_there_once(length, limit, rows):
    assert evenly_spaced(length, limit) == rows

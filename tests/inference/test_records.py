"""A record keeps what the pipeline found, and survives becoming a row."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from hiva_hf.inference.records import (
    FaceRecord,
    au_column,
    au_label,
    from_row,
    labels_of_table,
    records_of_frame,
    table_columns,
    to_row,
)
from hiva_hf.inference.tables import records_to_table

from .conftest import LABELS, make_record


FACE = {
    "box": {"xmin": 1, "ymin": 2, "xmax": 30, "ymax": 40},
    "score": 0.75,
    "landmarks": np.arange(10, dtype=np.float32).reshape(5, 2),
    "aus": [
        {"label": "AU1", "name": "Inner Brow Raiser", "score": 0.25, "active": False},
        {"label": "AU12", "name": "Lip Corner Puller", "score": 0.75, "active": True},
    ],
}


def test_a_face_of_the_pipeline_becomes_a_record():
    (record,) = records_of_frame([FACE], "a.mp4", 7, 0.28, face_ids=[3])
    assert (record.source, record.frame, record.timestamp, record.face_id) == ("a.mp4", 7, 0.28, 3)
    assert record.box == (1.0, 2.0, 30.0, 40.0)
    assert record.detector_score == 0.75
    assert record.landmarks == ((0, 1), (2, 3), (4, 5), (6, 7), (8, 9))
    assert record.probabilities == {"AU1": 0.25, "AU12": 0.75}
    assert record.active == {"AU1": False, "AU12": True}


def test_faces_of_a_photo_are_numbered():
    assert [record.face_id for record in records_of_frame([FACE, FACE], "a.jpg")] == [0, 1]


def test_a_face_without_detection_has_no_score():
    (record,) = records_of_frame([FACE | {"score": None, "landmarks": None}], "a.jpg")
    assert record.detector_score is None
    assert record.landmarks is None


def test_an_image_without_a_face_is_one_record_without_a_face():
    (record,) = records_of_frame([], "a.mp4", 2, 0.5)
    assert record == FaceRecord("a.mp4", 2, 0.5)
    assert not record.has_face


def test_an_error_is_kept():
    (record,) = records_of_frame({"error": "a.jpg is no image"}, "a.jpg")
    assert record.error == "a.jpg is no image"
    assert not record.has_face


def test_ids_that_do_not_match_the_faces_are_refused():
    with pytest.raises(ValueError, match="2 face ids for 1 faces in frame 4 of a.mp4"):
        records_of_frame([FACE], "a.mp4", 4, face_ids=[0, 1])


def test_columns_are_those_of_the_default_table():
    assert table_columns(["AU1", "AU12", "smile"]) == (
        "source frame timestamp face_id xmin ymin xmax ymax detector_score "
        "AU01 AU12 smile AU01_c AU12_c smile_c error".split()
    )


def test_labels_come_back_from_columns():
    assert labels_of_table(table_columns(["AU1", "AU12", "smile"])) == ["AU1", "AU12", "smile"]
    assert au_column("AU1") == "AU01"
    assert au_label("AU01") == "AU1"


def test_labels_that_clash_with_a_column_are_refused():
    with pytest.raises(ValueError, match="'frame'"):
        table_columns(["AU1", "frame"])
    with pytest.raises(ValueError, match="'AU01'"):
        table_columns(["AU1", "AU01"])


def test_records_survive_as_rows_and_as_rows_of_a_data_frame(frames):
    records = [record for frame in frames for record in frame]
    expected = [from_row(to_row(record, LABELS)) for record in records]
    for record, back in zip(records, expected, strict=True):
        rounded = {label: round(value, 6) for label, value in record.probabilities.items()}
        time = None if record.timestamp is None else round(record.timestamp, 6)
        error = record.error and record.error.replace("\n", " ")
        assert back == replace(record, probabilities=rounded, timestamp=time, error=error)
    table = records_to_table(records, LABELS)
    assert [from_row(row) for row in table.to_dict("records")] == expected


def test_a_record_of_another_model_is_refused():
    with pytest.raises(ValueError, match="Frame 0 of a.mp4 has the AUs"):
        to_row(make_record(), ["AU1"])


def test_types_do_not_depend_on_what_is_missing():
    nobody = records_to_table([FaceRecord("a.mp4", 0, 0.0)], LABELS)
    somebody = records_to_table([make_record()], LABELS)
    nothing = records_to_table([], LABELS)
    for table in (somebody, nothing):
        pd.testing.assert_series_equal(table.dtypes, nobody.dtypes)
    assert str(nobody.dtypes["face_id"]) == "Int64"
    assert str(nobody.dtypes["AU01_c"]) == "Int8"
    assert nobody["AU01_c"].isna().all()


def test_a_path_that_is_no_utf8_becomes_text():
    source = b"caf\xe9.jpg".decode("utf-8", "surrogateescape")
    assert to_row(FaceRecord(source), LABELS)["source"] == "caf\\xe9.jpg"

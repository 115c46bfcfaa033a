"""Columns and rows of each table format: this package's own, OpenFace's and Py-Feat's."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from .records import FaceRecord, au_column, decision_column, rounded, source_text, table_columns, to_row


# What a table can be written as: this package's own columns in three kinds of file, or those of another tool.
FORMATS = ("csv", "parquet", "jsonl", "openface", "pyfeat")
# Those of another tool, each a kind of CSV file.
TOOL_FORMATS = ("openface", "pyfeat")
# As the name of an output.
STDOUT = "-"

# OpenFace 2 decides on these 18 AUs (its wiki, "Output Format").
OPENFACE_AUS = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 28, 45)
# Py-Feat 0.4 to 0.7, the AUs of its models "svm" and "xgb" (`AU_LANDMARK_MAP["Feat"]`).
PYFEAT_AUS = (1, 2, 4, 5, 6, 7, 9, 10, 11, 12, 14, 15, 17, 20, 23, 24, 25, 26, 28, 43)

TOOL_AUS = {"openface": OPENFACE_AUS, "pyfeat": PYFEAT_AUS}

_NO_FACE_ID = -1


class Position(NamedTuple):
    """The source and frame of a row."""

    source: str
    frame: int


@dataclass(frozen=True)
class TableFormat:
    """The columns of a format and how a record fills them.

    Attributes:
        columns: Gives the columns for the AU labels of a model.
        row: Turns a record and the AU labels into a row, by column.
        position: Reads the position of a row; the values may be text, as in a CSV file. The second argument is the
            source, for formats that don't write it.
    """

    columns: Callable[[Sequence[str]], list[str]]
    row: Callable[[FaceRecord, Sequence[str]], dict[str, Any]]
    position: Callable[[Mapping[str, Any], str], Position]


def shared_labels(labels: Sequence[str], aus: Sequence[int]) -> list[str]:
    """The AUs of the model that a tool has as well, in the tool's order."""
    by_column = {au_column(label): label for label in labels}
    columns = [au_column(f"AU{number}") for number in aus]
    return [by_column[column] for column in columns if column in by_column]


def _default_position(row: Mapping[str, Any], source: str) -> Position:
    return Position(row["source"], int(row["frame"]))


def openface_columns(labels: Sequence[str]) -> list[str]:
    """The columns of OpenFace 2.2's FeatureExtraction and FaceLandmarkVidMulti that exist here, in its order.

    Its gaze, head pose, 68 landmarks and shape parameters are omitted, and so are the intensities `AU01_r`: they range
    from 0 to 5, and a probability in their place would be taken for a faint movement.
    """
    decisions = [decision_column(label) for label in shared_labels(labels, OPENFACE_AUS)]
    return ["frame", "face_id", "timestamp", "confidence", "success", *decisions]


def openface_row(record: FaceRecord, labels: Sequence[str]) -> dict[str, Any]:
    """A row as OpenFace writes it: frames count from 1, and a frame without a face has `success` 0.

    `confidence` is the face detector's score; a photo has the time 0.
    """
    decisions = {
        decision_column(label): int(record.active[label]) if record.has_face else None
        for label in shared_labels(labels, OPENFACE_AUS)
    }
    return {
        "frame": record.frame + 1,
        "face_id": record.face_id if record.has_face else _NO_FACE_ID,
        "timestamp": rounded(record.timestamp or 0.0),
        "confidence": rounded(record.detector_score) if record.has_face else 0.0,
        "success": int(record.has_face),
        **decisions,
    }


def _openface_position(row: Mapping[str, Any], source: str) -> Position:
    return Position(source, int(row["frame"]) - 1)


def pyfeat_columns(labels: Sequence[str]) -> list[str]:
    """The columns of a Fex table of Py-Feat 0.6 that exist here, in the order of its `output_columns`.

    `approx_time`, which Py-Feat adds for videos, comes last. Its 68 landmarks, head pose, emotions and identity
    embeddings are omitted.
    """
    probabilities = [au_column(label) for label in shared_labels(labels, PYFEAT_AUS)]
    boxes = ["FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight"]
    return ["frame", *boxes, "FaceScore", *probabilities, "Identity", "input", "approx_time"]


def pyfeat_row(record: FaceRecord, labels: Sequence[str]) -> dict[str, Any]:
    """A row as Py-Feat writes it: a frame without a face has only its number, input and time.

    `Identity` ("Person_0") is the face that was tracked through a video; faces in photos have none. `approx_time` is
    the presentation time in Py-Feat's coarse form, "01:23". All photos have the frame 0: `input` distinguishes them.
    """
    xmin, ymin, xmax, ymax = record.box or (None,) * 4
    is_tracked = record.has_face and record.timestamp is not None
    return {
        "frame": record.frame,
        "FaceRectX": rounded(xmin),
        "FaceRectY": rounded(ymin),
        "FaceRectWidth": None if record.box is None else rounded(xmax - xmin),
        "FaceRectHeight": None if record.box is None else rounded(ymax - ymin),
        "FaceScore": rounded(record.detector_score),
        **{au_column(label): rounded(record.probabilities.get(label)) for label in shared_labels(labels, PYFEAT_AUS)},
        "Identity": f"Person_{record.face_id}" if is_tracked else None,
        "input": source_text(record.source),
        "approx_time": None if record.timestamp is None else _minutes(record.timestamp),
    }


def _pyfeat_position(row: Mapping[str, Any], source: str) -> Position:
    return Position(row["input"], int(row["frame"]))


def _minutes(seconds: float) -> str:
    return f"{int(seconds // 60):02d}:{int(seconds % 60):02d}"


DEFAULT = TableFormat(table_columns, to_row, _default_position)
OPENFACE = TableFormat(openface_columns, openface_row, _openface_position)
PYFEAT = TableFormat(pyfeat_columns, pyfeat_row, _pyfeat_position)

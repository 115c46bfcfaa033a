"""One face in one frame, and how it becomes a row of a table."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any


FRAME_COLUMNS = ("source", "frame", "timestamp")
BOX_COLUMNS = ("xmin", "ymin", "xmax", "ymax")
FACE_COLUMNS = ("face_id", *BOX_COLUMNS, "detector_score")
DECISION_SUFFIX = "_c"

# The same for all formats, so that they hold the same numbers: microseconds, and finer than a network's noise.
_DECIMALS = 6


@dataclass(frozen=True)
class FaceRecord:
    """The results for one face in one frame: a row of every table.

    A frame without a face, or one that could not be read, is one record whose face fields are empty.

    Attributes:
        source: The photo or video, as the user gave it.
        frame: Index of the frame in presentation order, from 0; 0 for photos.
        timestamp: Presentation time of the frame in seconds; `None` for photos.
        face_id: In a video, the same number for the same face; in a photo, the index in the pipeline's result. `None`
            without a face.
        box: `(xmin, ymin, xmax, ymax)` in pixels of the upright image.
        landmarks: Five points `(x, y)` in pixels: eyes, nose tip, mouth corners. They are in no table.
        detector_score: The face detector's confidence; `None` without face detection.
        probabilities: The probability of each AU of the model, by label ("AU12"); empty without a face.
        active: Whether each AU counts as present, by label; empty without a face.
        error: Why the frame or the whole source could not be used.
        explanation: With `explain`: `summary`, `warnings` and `aus`, which maps each AU's label to the explanation
            that the pipeline gives. It is in no table.
        experimental: Labels of the AUs for which the model is known to be unreliable on real photos. They are in no
            table.
    """

    source: str
    frame: int = 0
    timestamp: float | None = None
    face_id: int | None = None
    box: tuple[float, float, float, float] | None = None
    landmarks: tuple[tuple[float, float], ...] | None = None
    detector_score: float | None = None
    probabilities: Mapping[str, float] = field(default_factory=dict)
    active: Mapping[str, bool] = field(default_factory=dict)
    error: str | None = None
    explanation: Mapping[str, Any] | None = None
    experimental: frozenset[str] = frozenset()

    @property
    def has_face(self) -> bool:
        """Whether the record is of a face, and not of a frame without one."""
        return self.face_id is not None


def records_of_frame(
    result: Sequence[Mapping[str, Any]] | Mapping[str, Any],
    source: str,
    frame: int = 0,
    timestamp: float | None = None,
    face_ids: Iterable[int] | None = None,
) -> list[FaceRecord]:
    """Converts the au-detection pipeline's result for one image to records.

    Args:
        result: The list of faces, or `{"error": message}`, which the pipeline gives with `on_error="return"`.
        source: The photo or video.
        frame: Index of the frame, from 0.
        timestamp: Seconds; `None` for photos.
        face_ids: One for each face of `result`; by default 0, 1, ... in its order.

    Returns:
        One record for each face, in the order of `result`, or a single record if there is no face.

    Raises:
        ValueError: The number of ids differs from the number of faces.
    """
    if isinstance(result, Mapping):
        return [FaceRecord(source, frame, timestamp, error=str(result["error"]))]
    if not result:
        return [FaceRecord(source, frame, timestamp)]
    ids = range(len(result)) if face_ids is None else list(face_ids)
    if len(ids) != len(result):
        raise ValueError(f"{len(ids)} face ids for {len(result)} faces in frame {frame} of {source}.")
    return [
        _face_record(face, source, frame, timestamp, int(number)) for face, number in zip(result, ids, strict=True)
    ]


def _face_record(
    face: Mapping[str, Any], source: str, frame: int, timestamp: float | None, face_id: int
) -> FaceRecord:
    landmarks = face.get("landmarks")
    return FaceRecord(
        source=source,
        frame=frame,
        timestamp=timestamp,
        face_id=face_id,
        box=tuple(float(face["box"][side]) for side in BOX_COLUMNS),
        landmarks=None if landmarks is None else tuple((float(x), float(y)) for x, y in landmarks),
        detector_score=None if face["score"] is None else float(face["score"]),
        probabilities={au["label"]: float(au["score"]) for au in face["aus"]},
        active={au["label"]: bool(au["active"]) for au in face["aus"]},
        explanation=_explanation(face),
        experimental=frozenset(au["label"] for au in face["aus"] if au.get("experimental")),
    )


def _explanation(face: Mapping[str, Any]) -> dict[str, Any] | None:
    if "summary" not in face:
        return None
    aus = {au["label"]: au["explanation"] for au in face["aus"]}
    return {"summary": face["summary"], "warnings": face["warnings"], "aus": aus}


def source_text(source: str) -> str:
    """A source as tables hold it: bytes of a path that are not UTF-8, which few readers accept, are escaped."""
    return source.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


@cache
def au_column(label: str) -> str:
    """The column of an AU's probability, padded to two digits so that columns sort ("AU1" -> "AU01"); others stay."""
    match = re.fullmatch(r"AU(\d+)", label)
    return f"AU{int(match[1]):02d}" if match else label


def au_label(column: str) -> str:
    """The label of the AU whose probability is in `column`: "AU01" -> "AU1"."""
    match = re.fullmatch(r"AU(\d+)", column)
    return f"AU{int(match[1])}" if match else column


@cache
def decision_column(label: str) -> str:
    """The column of an AU's decision, 0 or 1: "AU1" -> "AU01_c"."""
    return au_column(label) + DECISION_SUFFIX


def table_columns(labels: Sequence[str]) -> list[str]:
    """The columns of the default table for a model with these AU labels.

    They are source, frame, timestamp, face_id, xmin, ymin, xmax, ymax, detector_score, the probabilities (AU01, ...),
    the decisions (AU01_c, ...) and error.

    Raises:
        ValueError: Two of them would have the same name.
    """
    columns = [
        *FRAME_COLUMNS,
        *FACE_COLUMNS,
        *(au_column(label) for label in labels),
        *(decision_column(label) for label in labels),
        "error",
    ]
    if repeated := sorted({column for column in columns if columns.count(column) > 1}):
        raise ValueError(f"The AU labels {list(labels)} give the table two columns named {repeated[0]!r}.")
    return columns


def labels_of_table(columns: Iterable[str]) -> list[str]:
    """The AU labels of a default table: those of the columns that also have a column of decisions."""
    columns = list(columns)
    return [au_label(column) for column in columns if column + DECISION_SUFFIX in columns]


def to_row(record: FaceRecord, labels: Sequence[str]) -> dict[str, Any]:
    """Converts a record to a row of the default table: plain values by column, `None` for empty cells.

    Raises:
        ValueError: The record has a face, but its AUs are not `labels`.
    """
    if record.has_face and record.probabilities.keys() != set(labels):
        raise ValueError(
            f"Frame {record.frame} of {record.source} has the AUs {list(record.probabilities)}, but the table is for "
            f"{list(labels)}."
        )
    box = record.box or (None,) * 4
    row = {
        "source": source_text(record.source),
        "frame": record.frame,
        "timestamp": rounded(record.timestamp),
        "face_id": record.face_id,
        **{column: rounded(value) for column, value in zip(BOX_COLUMNS, box, strict=True)},
        "detector_score": rounded(record.detector_score),
    }
    row |= {au_column(label): rounded(record.probabilities.get(label)) for label in labels}
    for label in labels:
        row[decision_column(label)] = int(record.active[label]) if record.has_face else None
    return row | {"error": record.error and source_text(" ".join(record.error.split()))}


def from_row(row: Mapping[str, Any]) -> FaceRecord:
    """Converts a row of the default table (also of a `DataFrame`) back to a record, without landmarks."""
    values = {column: None if _is_missing(value) else value for column, value in row.items()}
    labels = labels_of_table(values) if values["face_id"] is not None else []
    box = tuple(values[column] for column in BOX_COLUMNS)
    return FaceRecord(
        source=str(values["source"]),
        frame=int(values["frame"]),
        timestamp=_optional(float, values["timestamp"]),
        face_id=_optional(int, values["face_id"]),
        box=None if box[0] is None else tuple(float(value) for value in box),
        detector_score=_optional(float, values["detector_score"]),
        probabilities={label: float(values[au_column(label)]) for label in labels},
        active={label: bool(values[decision_column(label)]) for label in labels},
        error=_optional(str, values["error"]),
    )


def rounded(value: float | None) -> float | None:
    """Rounds to the precision of the tables."""
    return None if value is None else round(float(value), _DECIMALS)


def _optional(kind: type, value: Any) -> Any:
    return None if value is None else kind(value)


def _is_missing(value: Any) -> bool:
    """Whether a cell is empty: `None`, NaN, or pandas' NA, which is recognised by type since it has no truth value."""
    return value is None or type(value).__name__ == "NAType" or value != value

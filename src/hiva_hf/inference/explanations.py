"""Explanations of faces as JSON lines beside a table, and as text to be read."""

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..atomic_files import write_file, write_text
from .records import FaceRecord, source_text
from .row_files import TableProgress


class ExplanationFile(contextlib.AbstractContextManager):
    """A file that gets one JSON object in a line for each face.

    Its fields are `source`, `frame`, `timestamp`, `face_id`, as in the table, `summary`, `warnings` and `aus`, which
    holds for each AU's label what the au-detection pipeline gives as its `explanation`.

    Args:
        path: Where to; its folder is made if need be. A file that is there is replaced.
        progress: What the table beside it holds already: the lines of those frames are kept.
    """

    def __init__(self, path: Path, progress: TableProgress | None = None):
        if progress is None or not path.is_file():
            write_text(path, "")
        else:
            # Whole or as it was: what is done already is not explained again.
            write_file(path, lambda unfinished: _copy_lines_done(path, unfinished, progress))
        self._file = path.open("a", encoding="utf-8")

    def write(self, records: Sequence[FaceRecord]) -> None:
        """Appends the faces of a frame."""
        lines = [json.dumps(_content(record), ensure_ascii=False) for record in records if record.explanation]
        self._file.writelines(f"{line}\n" for line in lines)
        self._file.flush()

    def __exit__(self, *_: object) -> None:
        self._file.close()


def explanation_text(record: FaceRecord) -> str:
    """What is said of one face, in lines: its summary, warnings, and the sentence of each active AU."""
    explanation = record.explanation
    moment = "" if record.timestamp is None else f", {record.timestamp:.2f} s"
    lines = [f"{source_text(record.source)}{moment}, face {record.face_id}: {explanation['summary']}"]
    lines += [f"  Warning: {warning}" for warning in explanation["warnings"]]
    lines += [f"  {content['sentence']}" for label, content in explanation["aus"].items() if record.active[label]]
    return "\n".join(lines)


def _content(record: FaceRecord) -> dict[str, Any]:
    place = {
        "source": source_text(record.source),
        "frame": record.frame,
        "timestamp": record.timestamp,
        "face_id": record.face_id,
    }
    return place | dict(record.explanation)


def _copy_lines_done(path: Path, unfinished: Path, progress: TableProgress) -> None:
    """The lines of frames that will not be read again; a line that is cut off was the last of one that will."""
    with path.open("rb") as lines, unfinished.open("wb") as kept:
        for line in lines:
            if not line.endswith(b"\n"):
                break
            try:
                content = json.loads(line)
            except ValueError as error:
                raise ValueError(f"{path} is damaged ({error}). Repair it, or pass another output.") from error
            source, frame = content["source"], content["frame"]
            if progress.is_finished(source) or frame < progress.next_frame(source):
                kept.write(line)

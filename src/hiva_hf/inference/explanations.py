"""Write explanations of faces as JSON lines beside a table, or as text."""

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..atomic_files import write_file, write_text
from ..file_locks import locked_output
from .records import FaceRecord, source_text
from .row_files import TableProgress


class ExplanationFile(contextlib.AbstractContextManager):
    """A file with one line of JSON for each face.

    The fields are `source`, `frame`, `timestamp` and `face_id`, as in the table, `summary`, `warnings` and `aus`,
    which maps the label of each AU to the `explanation` that the au-detection pipeline gives.

    Args:
        path: The file; its folder is created if needed. An existing file is replaced.
        progress: What the table already contained: the lines of these frames are kept.

    Raises:
        BlockingIOError: Another writer has the file.
    """

    def __init__(self, path: Path, progress: TableProgress | None = None):
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            stack.enter_context(locked_output(path))
            if progress in (None, TableProgress()) or not path.is_file():
                write_text(path, "")
            else:
                # Atomically: explanations of finished frames would not be written again.
                write_file(path, lambda unfinished: _copy_lines_done(path, unfinished, progress))
            self._file = stack.enter_context(path.open("a", encoding="utf-8"))
            self._stack = stack.pop_all()

    def write(self, records: Sequence[FaceRecord]) -> None:
        """Appends the faces of a frame."""
        lines = [json.dumps(_content(record), ensure_ascii=False) for record in records if record.explanation]
        self._file.writelines(f"{line}\n" for line in lines)
        self._file.flush()

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def explanation_text(record: FaceRecord) -> str:
    """The explanation of one face as lines of text: summary, warnings, and the sentence of each active AU."""
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
    """Copies the lines of frames that will not be read again; a truncated last line belongs to one that will."""
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

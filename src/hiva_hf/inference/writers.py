"""Tables that are written row by row, survive a kill, and go on where they stopped.

    with open_table("faces.csv", labels, resume=True) as table:
        for source in sources:
            if source in table.progress.finished: continue
            first = table.progress.next_frame(source)
            ...
            table.write(records_of_one_frame)
"""

import contextlib
import csv
import io
import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .records import FaceRecord


FORMATS = ("csv", "parquet", "jsonl", "openface", "pyfeat")


@dataclass(frozen=True)
class TableProgress:
    """What a table held already when it was opened to go on.

    Attributes:
        finished: The sources of which all rows are there.
        source: The source that was being worked on; `None` if the next one has to be begun.
        frame: Its last complete frame. Rows of a later frame, which may have been cut off, are gone from the file.
        timestamp: That frame's time in seconds, where the format holds it.
        next_face_id: One more than the greatest face id of this source, so that ids stay unique.
        num_rows: How many rows were kept.
    """

    finished: frozenset[str] = frozenset()
    source: str | None = None
    frame: int | None = None
    timestamp: float | None = None
    next_face_id: int = 0
    num_rows: int = 0

    def next_frame(self, source: str) -> int:
        """The first frame that `source` still lacks; 0 if it wasn't begun."""
        return self.frame + 1 if source == self.source else 0


class TableWriter(ABC, contextlib.AbstractContextManager):
    """A table under way.

    Attributes:
        progress: What was there before.
    """

    progress: TableProgress = TableProgress()

    @abstractmethod
    def write(self, records: Sequence[FaceRecord]) -> None:
        """Appends the rows of one frame, or of several: always all faces of a frame in one call.

        Sources come one after the other, frames in order. When it returns, the rows are with the operating system, so
        that nothing is lost when the process is killed.

        Raises:
            ValueError: A record's AUs are not those of the table.
            OSError: The disk is full, or the reader of stdout went away.
        """

    @abstractmethod
    def close(self) -> None:
        """Makes the table complete; without effect the second time. Also done when `with` ends by an error."""

    def __exit__(self, *_: object) -> None:
        self.close()


def open_table(
    output: str | Path,
    labels: Sequence[str],
    format: str | None = None,
    sources: Sequence[str] = (),
    resume: bool = False,
    overwrite: bool = False,
) -> TableWriter:
    """Begins a table, or goes on with one.

    Args:
        output: A file, whose folder is made if need be; "-" is stdout (csv, jsonl, pyfeat, and openface for one
            source). With openface it may be a folder, which then gets a file for each source, as OpenFace's `-out_dir`
            does: OpenFace's tables don't tell the source.
        labels: The AUs of the model, in its order ("AU1").
        format: One of `FORMATS`; by default what the file's ending says.
        sources: All photos and videos that will come, in order. Only openface needs them.
        resume: Go on with a table that is there, after dropping the last frame in it, which may be cut off. If there
            is none, a new one begins.
        overwrite: Replace a table that is there.

    Raises:
        ValueError: The arguments don't fit each other, or with `resume` the table that is there is of another format,
            has other AUs, or is damaged before its end.
        FileExistsError: There is a table, and neither `resume` nor `overwrite` is set.
    """
    raise NotImplementedError

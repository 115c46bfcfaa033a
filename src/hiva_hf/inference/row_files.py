"""CSV and JSON-lines files that grow by whole rows, and recovery of their contents after a killed process."""

import csv
import io
import json
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from .records import DECISION_SUFFIX, FaceRecord, source_text
from .table_formats import Position, TableFormat


_BEGINNING_OF_JSON_ROW = b'{"source": '


@dataclass(frozen=True)
class TableProgress:
    """What a table already contained when it was opened to be resumed.

    Attributes:
        finished: The sources whose rows are complete.
        source: The source that was in progress; `None` if the next one has to be begun.
        frame: Its last complete frame. Rows of a later frame, which may be incomplete, are removed from the file.
        last_source: Source of the last frame in the file, which has to be read again.
    """

    finished: frozenset[str] = frozenset()
    source: str | None = None
    frame: int | None = None
    last_source: str | None = None

    def next_frame(self, source: str) -> int:
        """The first missing frame of `source`; 0 if it wasn't begun."""
        return self.frame + 1 if source_text(source) == self.source else 0

    def is_finished(self, source: str) -> bool:
        """Whether the rows of `source` are complete."""
        return source_text(source) in self.finished


class RowEncoding(ABC):
    """Encodes rows as bytes, and decodes them."""

    @abstractmethod
    def header(self, columns: Sequence[str]) -> bytes:
        """The bytes before the first row."""

    @abstractmethod
    def encode(self, rows: Iterable[dict[str, Any]]) -> bytes:
        """Encodes rows as whole lines."""

    @abstractmethod
    def rows(self, file: BinaryIO, columns: Sequence[str]) -> Iterator[tuple[dict[str, Any], int]]:
        """Yields the complete rows of a file, each with the offset in bytes at which it ends.

        The header must have been read; an incomplete row at the end of the file is skipped.

        Raises:
            ValueError: A row before the last one is damaged.
        """


class CsvRows(RowEncoding):
    """Comma-separated values with a header; a missing value is an empty cell."""

    def header(self, columns: Sequence[str]) -> bytes:
        return _csv_bytes([columns])

    def encode(self, rows: Iterable[dict[str, Any]]) -> bytes:
        return _csv_bytes(row.values() for row in rows)

    def rows(self, file: BinaryIO, columns: Sequence[str]) -> Iterator[tuple[dict[str, Any], int]]:
        lines = _WholeLines(file)
        damaged = None
        for number, values in enumerate(csv.reader(lines), 1):
            if damaged is not None:
                raise ValueError(f"row {damaged} doesn't have {len(columns)} cells like the header")
            if len(values) != len(columns) or lines.is_cut_off:
                damaged = number
                continue
            yield dict(zip(columns, values, strict=True)), lines.end


class JsonRows(RowEncoding):
    """One JSON object per line; a missing value is `null`."""

    def header(self, columns: Sequence[str]) -> bytes:
        return b""

    def encode(self, rows: Iterable[dict[str, Any]]) -> bytes:
        return b"".join(json.dumps(row).encode() + b"\n" for row in rows)

    def rows(self, file: BinaryIO, columns: Sequence[str]) -> Iterator[tuple[dict[str, Any], int]]:
        lines = _WholeLines(file)
        for number, line in enumerate(lines, 1):
            row = json.loads(line)
            if list(row) != list(columns):
                raise ValueError(f"row {number} has other columns")
            yield row, lines.end


class RowFile:
    """A CSV or JSON-lines file that is being written.

    Args:
        path: The file; `None` is stdout.
        table_format: The columns of the table.
        encoding: How rows are encoded as bytes.
        labels: The AUs of the model.
        source: The source of all rows, for formats that don't write it.
        resume: Continue an existing file; otherwise a new one is written.
        sources: All sources that will be written, if known.

    Attributes:
        progress: What the file contained when it was opened.

    Raises:
        ValueError: With `resume`, the file has another format or other AUs, is damaged before its end, or ends within
            a source that is not among `sources`.
    """

    def __init__(
        self,
        path: Path | None,
        table_format: TableFormat,
        encoding: RowEncoding,
        labels: Sequence[str],
        source: str = "",
        resume: bool = False,
        sources: Sequence[str] = (),
    ):
        self._format = table_format
        self._encoding = encoding
        self._labels = list(labels)
        self.progress = TableProgress()
        self._size = 0
        if resume and path is not None and path.exists():
            self.progress, self._size = read_progress(path, table_format, encoding, labels, source)
            _check_sources(path, self.progress.last_source, sources)
        self._is_file = path is not None
        if self._is_file:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = io.FileIO(path, "r+" if path.exists() else "x+")
            self._file.truncate(self._size)
            self._file.seek(self._size)
        elif sys.stdout is None:
            raise ValueError("There is no standard output to write the table to: pass a file.")
        else:
            self._file = sys.stdout.buffer
        if self._size == 0:
            self._append(encoding.header(table_format.columns(labels)))

    def write(self, records: Sequence[FaceRecord]) -> None:
        """Appends rows; when this returns, they have been passed to the operating system."""
        self._append(self._encoding.encode(self._format.row(record, self._labels) for record in records))

    def close(self) -> None:
        """Flushes the file to disk and closes it."""
        if self._is_file and not self._file.closed:
            os.fsync(self._file.fileno())
            self._file.close()

    def _append(self, lines: bytes) -> None:
        if not self._is_file:
            self._file.write(lines)
            self._file.flush()
            return
        try:
            written = 0
            while written < len(lines):
                written += self._file.write(lines[written:])
        except BaseException:
            # On a full disk or Ctrl-C, drop the frame rather than keep half a row.
            self._file.truncate(self._size)
            self._file.seek(self._size)
            raise
        self._size += len(lines)


def read_progress(
    path: Path, table_format: TableFormat, encoding: RowEncoding, labels: Sequence[str], source: str = ""
) -> tuple[TableProgress, int]:
    """Reads how far a table got.

    The last frame doesn't count, since some of its faces may be missing.

    Returns:
        The progress, and the size of the file in bytes without that frame.

    Raises:
        ValueError: The file has another format or other AUs, or is damaged before its end.
    """
    columns = table_format.columns(labels)
    with path.open("rb") as file:
        if not _has_header(path, file, encoding.header(columns), columns):
            return TableProgress(), 0
        tally = _Tally(file.tell())
        try:
            for row, end in encoding.rows(file, columns):
                tally.add(table_format.position(row, source), end)
        except (ValueError, TypeError, csv.Error) as error:
            raise ValueError(
                f"{path} is damaged and cannot be resumed: {error}. Repair it, or pass another output."
            ) from None
    return tally.progress(), tally.kept


def _check_sources(path: Path, last_source: str | None, sources: Sequence[str]) -> None:
    """Checks, before the last frame is dropped, that its source will be read again."""
    if sources and last_source is not None and last_source not in map(source_text, sources):
        raise ValueError(
            f"{path} ends within {last_source}, and frames of it may be missing: add it to the inputs, spelled like "
            "this, or pass another output."
        )


def kind_of_table(first_line: bytes) -> tuple[str, list[str]]:
    """Recognises a table by the first line of its file: the name of its format, "" if unknown, and its columns."""
    if first_line.startswith(b"PAR1"):
        return "parquet", []
    if first_line.startswith(b"{"):
        try:
            return "jsonl", list(json.loads(first_line))
        except ValueError:
            return "jsonl", []
    columns = [column.strip() for column in first_line.decode("utf-8", "replace").split(",")]
    signs = {"csv": {"source", "face_id"}, "openface": {"confidence", "success"}, "pyfeat": {"FaceRectX", "input"}}
    return next((name for name, sign in signs.items() if sign <= set(columns)), ""), columns


def check_kind(path: Path, found: str, expected: str) -> None:
    """Raises a `ValueError` if a table doesn't have the expected format."""
    if found != expected:
        raise ValueError(
            f"{path} is {f'a table in the format {found}' if found else 'no table of this package'}, and cannot be "
            f"resumed as {expected}. Pass its format, or another output."
        )


def check_columns(path: Path, found: Sequence[str], expected: Sequence[str]) -> None:
    """Raises a `ValueError` with the AUs of both if a table doesn't have the expected columns."""
    if list(found) != list(expected):
        raise ValueError(
            f"{path} has columns for the AUs {_aus_of(found)}, but this model's table has {_aus_of(expected)}. Resume "
            "with the model that began it, or pass another output."
        )


class _Tally:
    """Goes through the rows of a table in order, and keeps track of where its last frame begins."""

    def __init__(self, start: int):
        self.kept = start
        self._end = start
        self._finished: set[str] = set()
        self._last: Position | None = None
        self._complete: Position | None = None

    def add(self, position: Position, end: int) -> None:
        if self._last is not None and position != self._last:
            self._keep_last_frame(position.source)
        self._last, self._end = position, end

    def _keep_last_frame(self, next_source: str) -> None:
        self.kept = self._end
        if next_source == self._last.source:
            self._complete = self._last
        else:
            self._finished.add(self._last.source)
            self._complete = None

    def progress(self) -> TableProgress:
        finished, last = frozenset(self._finished), self._last and self._last.source
        source, frame = (None, None) if self._complete is None else self._complete
        return TableProgress(finished, source, frame, last)


class _WholeLines:
    """The complete lines of a file as text; `end` is the offset at which the last one ended."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self.end = file.tell()
        self.is_cut_off = False

    def __iter__(self) -> Iterator[str]:
        for line in self._file:
            if not line.endswith(b"\n"):
                # After a power failure, the file may end in a long run of zero bytes.
                self.is_cut_off = True
                return
            self.end += len(line)
            yield line.decode("utf-8", "replace")


def _has_header(path: Path, file: BinaryIO, header: bytes, columns: Sequence[str]) -> bool:
    """Reads past the header; returns whether it is complete. If it is only partly there, there are no rows either."""
    first_line = file.readline()
    beginning = header or _BEGINNING_OF_JSON_ROW
    if not first_line.endswith(b"\n") and (beginning.startswith(first_line) or first_line.startswith(beginning)):
        return False
    kind, found = kind_of_table(first_line)
    check_kind(path, kind, kind_of_table(beginning)[0])
    check_columns(path, found, columns)
    if not header:
        file.seek(0)
    return True


def _csv_bytes(rows: Iterable[Iterable[Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    # Before Python 3.13, carriage returns are otherwise not quoted, which no reader accepts.
    quoting = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    for row in map(list, rows):
        has_return = any(isinstance(cell, str) and "\r" in cell for cell in row)
        (quoting if has_return else writer).writerow(row)
    return text.getvalue().encode()


def _aus_of(columns: Sequence[str]) -> list[str]:
    """The AUs among the columns of any format."""
    return sorted({column.removesuffix(DECISION_SUFFIX) for column in columns if column.startswith("AU")})

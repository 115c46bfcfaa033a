"""Tables that are written row by row, survive a killed process, and can be resumed.

```python
with open_table("faces.csv", labels, resume=True) as table:
    for source in sources:
        if not table.progress.is_finished(source):
            for frame in frames_of(source, begin=table.progress.next_frame(source)):
                table.write(records_of_frame(...))
```
"""

import contextlib
import json
import logging
from abc import abstractmethod
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..atomic_files import write_file
from ..file_locks import locked_output
from .output_paths import identity_of, openface_paths
from .records import DECISION_SUFFIX, FaceRecord, au_column, source_text, table_columns
from .row_files import CsvRows, JsonRows, RowFile, TableProgress, check_columns, check_kind, kind_of_table
from .table_formats import DEFAULT, FORMATS, OPENFACE, PYFEAT, STDOUT, TOOL_AUS, TOOL_FORMATS, shared_labels


if TYPE_CHECKING:
    import pyarrow as pa

logger = logging.getLogger(__name__)

JOURNAL_SUFFIX = ".unfinished.jsonl"
# In bytes; converting a larger file takes long enough for a message.
_LARGE_FILE = 50_000_000

_FORMAT_OF_SUFFIX = {".csv": "csv", ".parquet": "parquet", ".jsonl": "jsonl"}
_TEXT_FORMATS = {
    "csv": (DEFAULT, CsvRows()),
    "jsonl": (DEFAULT, JsonRows()),
    "openface": (OPENFACE, CsvRows()),
    "pyfeat": (PYFEAT, CsvRows()),
}
_ROWS_PER_GROUP = 50_000


class TableWriter(contextlib.AbstractContextManager):
    """A table that is being written.

    Attributes:
        progress: What the table contained when it was opened.
    """

    progress: TableProgress
    # Keep other processes from writing the table until it is closed.
    _locks: contextlib.ExitStack | None = None

    @abstractmethod
    def write(self, records: Sequence[FaceRecord]) -> None:
        """Appends the rows of one or more frames, with all faces of a frame in the same call.

        Sources must come one after the other, and their frames in order. When this returns, the rows have been passed
        to the operating system, so that they survive a killed process.

        Raises:
            ValueError: A record's AUs are not those of the table.
            OSError: The disk is full, or the reader of stdout has closed it.
        """

    def close(self) -> None:
        """Completes the table and lets others write it. Also called when a `with` block ends with an error."""
        try:
            self.complete()
        finally:
            if self._locks is not None:
                self._locks.close()

    @abstractmethod
    def complete(self) -> None:
        """Completes the table, which can then be read; does nothing the second time."""

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
    """Opens a new table, or an existing one to continue it.

    Args:
        output: A file, whose folder is created if needed; "-" is stdout (not with parquet). With openface it may be a
            folder (a path without the extension .csv), which gets a file for each source, like OpenFace's `-out_dir`:
            OpenFace's tables don't name their source, so that a single file can hold one source only.
        labels: The AUs of the model, in its order ("AU1").
        format: One of `FORMATS`; by default given by the file's extension, and csv for stdout.
        sources: All photos and videos that will be written, in order; none may be the output. openface needs them.
        resume: Continue an existing table, after dropping its last frame, which may be incomplete. If there is no
            table, a new one is created.
        overwrite: Replace an existing table.

    Raises:
        ValueError: The arguments contradict each other, or with `resume` the existing table has another format or
            other AUs, is damaged before its end, or ends within a source that is not among `sources`.
        FileExistsError: The table exists, and neither `resume` nor `overwrite` is set.
        IsADirectoryError: The output is a folder, and the format isn't openface.
        BlockingIOError: The table is being written by another process, or by another writer of this one.
    """
    if resume and overwrite:
        raise ValueError("`resume` continues a table and `overwrite` replaces it: set only one of them.")
    format = _format_of(str(output), format)
    _warn_of_lost_labels(format, labels)
    if str(output) == STDOUT:
        _check_stdout(format, resume)
        _check_openface_file(format, output, sources)
        return TextTable(None, format, labels)
    path = Path(output)
    if path.is_symlink():
        # What it leads to is continued or replaced, not the link.
        path = path.resolve()
    is_folder = format == "openface" and path.suffix.lower() != ".csv"
    if path.is_dir() and not is_folder:
        raise IsADirectoryError(f"{path} is a folder, but the format {format} writes a file: pass a file in it.")
    if not is_folder:
        _check_openface_file(format, output, sources)
    (path if is_folder else path.parent).mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as locks:
        locks.enter_context(locked_output(path))
        if is_folder:
            check_new(openface_paths(path, sources).values(), resume, overwrite, sources)
            table = OpenFaceFolder(path, labels, sources, resume)
        elif format == "openface":
            check_new([path], resume, overwrite, sources)
            table = TextTable(path, format, labels, next(iter(sources), ""), resume)
        elif format == "parquet":
            check_new([path, journal_of(path)], resume, overwrite, sources)
            table = ParquetTable(path, labels, resume, sources)
        else:
            check_new([path], resume, overwrite, sources)
            table = TextTable(path, format, labels, resume=resume, sources=sources)
        table._locks = locks.pop_all()
    return table


class TextTable(TableWriter):
    """A table in one CSV or JSON-lines file."""

    def __init__(
        self,
        path: Path | None,
        format: str,
        labels: Sequence[str],
        source: str = "",
        resume: bool = False,
        sources: Sequence[str] = (),
    ):
        table_format, encoding = _TEXT_FORMATS[format]
        self._file = RowFile(path, table_format, encoding, labels, source_text(source), resume, sources)
        self.progress = self._file.progress

    def write(self, records: Sequence[FaceRecord]) -> None:
        self._file.write(records)

    def complete(self) -> None:
        self._file.close()


class ParquetTable(TableWriter):
    """A table in one Parquet file.

    A Parquet file can be read only once its footer is written. Until `close`, the rows are therefore kept in a journal
    of JSON lines beside it (see `journal_of`). If the process is killed, `resume` continues from the journal, and any
    reader of JSON lines can read it.
    """

    def __init__(self, path: Path, labels: Sequence[str], resume: bool = False, sources: Sequence[str] = ()):
        self._path = path
        self._columns = table_columns(labels)
        self._journal_path = journal_of(path)
        if resume and path.exists() and not self._journal_path.exists():
            self._restore_journal()
        self._journal = RowFile(self._journal_path, DEFAULT, JsonRows(), labels, resume=resume, sources=sources)
        self.progress = self._journal.progress
        self._is_open = True

    def write(self, records: Sequence[FaceRecord]) -> None:
        self._journal.write(records)

    def complete(self) -> None:
        if not self._is_open:
            return
        self._is_open = False
        self._journal.close()
        _tell_of_long_work(self._journal_path, self._path)
        write_parquet(self._path, _json_rows(self._journal_path), self._columns)
        self._journal_path.unlink()

    def _restore_journal(self) -> None:
        """Recreates the journal of a finished table, to continue it."""
        import pyarrow.parquet as pq

        with self._path.open("rb") as file:
            check_kind(self._path, kind_of_table(file.readline())[0], "parquet")
        _tell_of_long_work(self._path, self._journal_path)
        unfinished = self._journal_path.with_name(self._journal_path.name + ".new")
        with pq.ParquetFile(self._path) as table, unfinished.open("wb") as journal:
            check_columns(self._path, table.schema_arrow.names, self._columns)
            for batch in table.iter_batches():
                journal.write(JsonRows().encode(batch.to_pylist()))
        unfinished.replace(self._journal_path)


class OpenFaceFolder(TableWriter):
    """A folder with a table in OpenFace's format for each source.

    Args:
        folder: The folder; created if needed.
        labels: The AUs of the model.
        sources: All sources that will be written, in order.
        resume: Continue in the folder: sources with a file are finished, except for the one that was written last.
    """

    def __init__(self, folder: Path, labels: Sequence[str], sources: Sequence[str], resume: bool = False):
        self._labels = labels
        self._paths = openface_paths(folder, sources)
        self._table: TextTable | None = None
        self._source: str | None = None
        self.progress = TableProgress()
        begun = [source for source in sources if self._paths[source].exists()]
        if resume and begun:
            self._resume(begun)

    def write(self, records: Sequence[FaceRecord]) -> None:
        for record in records:
            if record.source not in self._paths:
                raise ValueError(f"{record.source} is not among the sources that the table was opened for.")
        for source in dict.fromkeys(record.source for record in records):
            if source != self._source:
                self._begin(source)
            self._table.write([record for record in records if record.source == source])

    def complete(self) -> None:
        if self._table is not None:
            self._table.close()

    def _begin(self, source: str, resume: bool = False) -> None:
        self.complete()
        self._table = TextTable(self._paths[source], "openface", self._labels, source, resume)
        self._source = source

    def _resume(self, begun: list[str]) -> None:
        # Not the last in order: sources may have been added since, and the unfinished one was then resumed first.
        last = max(reversed(begun), key=lambda source: self._paths[source].stat().st_mtime_ns)
        self._begin(last, resume=True)
        finished = frozenset(source_text(source) for source in begun if source != last)
        self.progress = replace(self._table.progress, finished=finished)


def journal_of(path: Path) -> Path:
    """The file that holds the rows of a Parquet table until it is finished."""
    return path.with_name(path.name + JOURNAL_SUFFIX)


def _tell_of_long_work(source: Path, target: Path) -> None:
    if source.stat().st_size > _LARGE_FILE:
        logger.info("Making %s from %s: takes minutes for millions of rows ...", target.name, source.name)


def parquet_schema(columns: Sequence[str]) -> "pa.Schema":
    """The types of the default table's columns."""
    import pyarrow as pa

    types = {"source": pa.string(), "error": pa.string(), "frame": pa.int64(), "face_id": pa.int64()}
    types |= {f"{column}{DECISION_SUFFIX}": pa.int8() for column in columns}
    return pa.schema([(column, types.get(column, pa.float64())) for column in columns])


def write_parquet(path: Path, rows: Iterator[dict[str, Any]], columns: Sequence[str]) -> None:
    """Writes rows of the default table to a Parquet file, atomically."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = parquet_schema(columns)

    def write(unfinished: Path) -> None:
        with pq.ParquetWriter(unfinished, schema) as writer:
            while group := list(islice(rows, _ROWS_PER_GROUP)):
                writer.write_table(pa.Table.from_pylist(group, schema))

    write_file(path, write)


def _json_rows(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as file:
        yield from map(json.loads, file)


def _format_of(output: str, format: str | None) -> str:
    told = None if output == STDOUT else _FORMAT_OF_SUFFIX.get(Path(output).suffix.lower())
    if format is None:
        format = "csv" if output == STDOUT else told
    if format is None:
        raise ValueError(
            f"No format can be inferred from the extension of {output}: pass `format`, one of {', '.join(FORMATS)}."
        )
    if format not in FORMATS:
        raise ValueError(f"There is no table format {format!r}. Known: {', '.join(FORMATS)}.")
    # Nobody could read such a file by its name.
    if told not in (None, "csv" if format in TOOL_FORMATS else format):
        raise ValueError(f"The ending of {output} says {told}, but the format is {format}: pass another name.")
    return format


def _check_openface_file(format: str, output: str | Path, sources: Sequence[str]) -> None:
    if format == "openface" and len(sources) > 1:
        raise ValueError(
            f"OpenFace's format doesn't name the source of a row, so {output} can hold only one, but there are "
            f"{len(sources)}. Pass a folder as output, which gets a file for each, or use the format csv."
        )


def _check_stdout(format: str, resume: bool) -> None:
    if format == "parquet":
        raise ValueError("A parquet table cannot be written to stdout: pass a file, or use csv or jsonl.")
    if resume:
        raise ValueError("A table on stdout cannot be resumed: pass a file.")


def check_new(paths: Collection[Path], resume: bool, overwrite: bool, sources: Sequence[str] = ()) -> None:
    """Raises an error for files that are sources, or that exist; `resume` keeps these, `overwrite` deletes them."""
    read = {identity_of(source) for source in sources}
    for path in paths:
        if identity_of(path) in read:
            raise ValueError(f"{path} is one of the photos and videos to read: pass another output.")
    for path in paths:
        if not path.exists() or resume:
            continue
        # Such as /dev/null.
        if not path.is_file():
            raise ValueError(f"{path} is not a regular file: pass a file, or - for stdout.")
        if not overwrite:
            raise FileExistsError(f"{path} exists: pass --resume to continue it, or --overwrite to replace it.")
        path.unlink()


def _warn_of_lost_labels(format: str, labels: Sequence[str]) -> None:
    """Warns of the AUs for which another tool has no column."""
    if format not in TOOL_AUS:
        return
    written = shared_labels(labels, TOOL_AUS[format])
    lost = [au_column(label) for label in labels if label not in written]
    if lost:
        logger.warning("The format %s has no column for %s: left out.", format, ", ".join(lost))

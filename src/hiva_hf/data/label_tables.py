"""Read text tables of labels: tolerant of their format, strict about their content."""

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .raw import RawDataError


_DELIMITERS = ",;\t"
# Appended after the last line of every table.
_END = "end of the table"
_NUM_LISTED = 20
# A table of all frames of BP4D has 10 MB.
_MAX_BYTES = 256 * 2**20
# AU1, AU01, au 1, 1, AU1_occ, AU01_c; but not AU1_int or AU01_r, which are intensities.
_AU_HEADER = re.compile(r"(?:AU)?[ _-]?0*([1-9]\d?)(?:[ _-]?(?:occ|occurrence|c|presence|present))?", re.IGNORECASE)
# AU1_int, AU01_r and the like too.
_LIKE_AU_HEADER = re.compile(r"(?:AU)?[ _-]?0*[1-9]\d?(?!\d)", re.IGNORECASE)
# In order of preference. pandas writes an index with an empty header, and reads that as "Unnamed: 0".
_FRAME_HEADERS = (
    *("frame", "frames", "framenumber", "frameno", "framenum", "frameid", "frameindex"),
    *("image", "images", "imagenumber", "imageno", "imagenum", "imageid", "imageindex"),
    *("index", "unnamed0", "0", ""),
)


@dataclass(frozen=True, eq=False)
class Table:
    """A text table.

    Attributes:
        path: Its file.
        header: Stripped header cells, empty if the file has no header.
        lines: Line of the file in which each of `rows` begins, from 1.
        rows: Stripped cells; all rows have the same number of cells.
    """

    path: Path
    header: tuple[str, ...]
    lines: tuple[int, ...]
    rows: tuple[tuple[str, ...], ...]


def read_table(path: Path, has_header: bool = True) -> Table:
    """Reads a table separated by commas, semicolons or tabs, with or without blanks or a byte order mark.

    Any line endings are accepted. Blank lines and the empty cells of trailing separators are dropped.

    Raises:
        RawDataError: naming the line, if a row has fewer or more cells than the first; or if the file is not text.
    """
    text = _read_text(path)
    first_line = text.lstrip(" \r\n").partition("\n")[0]
    delimiter = max(_DELIMITERS, key=first_line.count)
    lines = chain(io.StringIO(text, newline=None), [_END])
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
    numbered: list[tuple[int, tuple[str, ...]]] = []
    line = 1
    try:
        for cells in reader:
            stripped = tuple(map(str.strip, cells))
            if any(stripped):
                numbered.append((line, stripped))
            # A quoted cell can contain line breaks: the first line of a row identifies it.
            line = reader.line_num + 1
    except csv.Error as error:
        raise RawDataError(f"{path}, line {line}: {_explain(error)}.") from error
    # The cell of an unclosed quote swallows the rest of the file, `_END` included.
    last_line, last = numbered.pop()
    if last != (_END,):
        raise RawDataError(f"{path}, line {last_line}: a quote is not closed.")
    if not numbered:
        return Table(path, (), (), ())
    first = _drop_empty_end(numbered[0][1])
    if has_header:
        del numbered[0]
    rows = tuple(_fit(path, line, cells, len(first)) for line, cells in numbered)
    return Table(path, first if has_header else (), tuple(line for line, _ in numbered), rows)


def read_json_lines(path: Path) -> Table:
    """Reads one JSON object per line as a table: all keys are columns, absent and null values are empty cells.

    Raises:
        RawDataError: naming the line, if it is not a JSON object, or a value is a list or an object.
    """
    numbered = []
    # Not `splitlines`, which also splits at characters that JSON strings may contain.
    for line, text in enumerate(_read_text(path).split("\n"), start=1):
        if text.strip():
            numbered.append((line, _parse_json_object(path, line, text)))
    header = tuple(dict.fromkeys(key for _, record in numbered for key in record))
    rows = tuple(tuple(record.get(key, "") for key in header) for _, record in numbered)
    return Table(path, header, tuple(line for line, _ in numbered), rows)


def _parse_json_object(path: Path, line: int, text: str) -> dict[str, str]:
    try:
        record = json.loads(text)
    except json.JSONDecodeError as error:
        raise RawDataError(f"{path}, line {line}: this is not JSON ({error.msg}).") from error
    if not isinstance(record, dict) or any(isinstance(value, (list, dict)) for value in record.values()):
        raise RawDataError(f"{path}, line {line}: expected a JSON object of texts and numbers.")
    return {key.strip(): "" if value is None else str(value).strip() for key, value in record.items()}


def _read_text(path: Path) -> str:
    with path.open("rb") as file:
        data = file.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        raise RawDataError(
            f"{path} is larger than {_MAX_BYTES // 2**20} MiB, too large for a table of labels. Split it."
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise RawDataError(
            f"{path}, line {line}: expected text in UTF-8 ({error.reason}). Convert the file."
        ) from error


def _explain(error: csv.Error) -> str:
    """What is wrong with a row."""
    if "field larger than" in str(error):
        return f"a quote is not closed, or a cell is longer than {csv.field_size_limit()} characters"
    return f"this is not a table ({error})"


def _drop_empty_end(cells: tuple[str, ...]) -> tuple[str, ...]:
    return cells[: max(index for index, cell in enumerate(cells) if cell) + 1]


def _fit(path: Path, line: int, cells: tuple[str, ...], width: int) -> tuple[str, ...]:
    if len(cells) < width or any(cells[width:]):
        raise RawDataError(f"{path}, line {line}: expected {width} cells as in the first line, found {len(cells)}.")
    return cells[:width]


@cache
def parse_integer(text: str) -> int | None:
    """The integer that `text` represents (`7`, `7.0`), or None."""
    match = re.fullmatch(r"([+-]?\d{1,9})(\.0*)?", text)
    return int(match[1]) if match else None


def parse_au_header(text: str) -> int | None:
    """The AU whose presence a column with this header holds (`AU1`, `AU01`, `au1`, `1`, `AU1_occ`), or None."""
    match = _AU_HEADER.fullmatch(text)
    return int(match[1]) if match else None


def find_au_columns(table: Table, aus: Sequence[int]) -> list[int]:
    """Column of each of `aus`, found by the number in the header.

    Raises:
        RawDataError: if an AU has no column or several; the message names the columns found.
    """
    columns: dict[int, list[int]] = {}
    for column, cell in enumerate(table.header):
        au = parse_au_header(cell)
        if au is not None:
            columns.setdefault(au, []).append(column)
    absent = [au for au in aus if au not in columns]
    if absent:
        raise RawDataError(
            f"{table.path}: there is no column for {_name_aus(absent)}. The columns are: {_name_columns(table)}."
        )
    for au in aus:
        if len(columns[au]) > 1:
            found = ", ".join(repr(table.header[column]) for column in columns[au])
            raise RawDataError(f"{table.path}: AU{au} has {len(columns[au])} columns: {found}. Keep one of them.")
    return [columns[au][0] for au in aus]


def find_frame_column(table: Table) -> int | None:
    """The column of frame numbers, found by its header (`frame`, `Frame Number`, `0`, empty ...), or None."""
    names = [re.sub(r"[^a-z0-9]", "", cell.lower()) for cell in table.header]
    return next((names.index(name) for name in _FRAME_HEADERS if name in names), None)


def find_other_columns(table: Table) -> list[str]:
    """Headers of the columns that don't belong to an AU."""
    return [cell for cell in table.header if not _LIKE_AU_HEADER.match(cell)]


def parse_frames(table: Table, column: int, first: int = 0) -> NDArray[np.int32]:
    """Frame numbers of the rows `[n]`, in the file's order.

    Raises:
        RawDataError: naming the line, if a number is not an integer of at least `first`, or occurs twice.
    """
    lines: dict[int, int] = {}
    for line, row in zip(table.lines, table.rows, strict=True):
        frame = parse_integer(row[column])
        if frame is None or frame < first:
            raise RawDataError(
                f"{table.path}, line {line}: expected a frame number, {first} or higher, found {row[column]!r}."
            )
        if frame in lines:
            raise RawDataError(f"{table.path}, line {line}: frame {frame} already occurs in line {lines[frame]}.")
        lines[frame] = line
    return np.array(list(lines), dtype=np.int32)


def parse_codes(
    table: Table, columns: Mapping[str, int], meanings: Mapping[str, int], default: int | None = None
) -> NDArray[np.int8]:
    """Translates cells to labels.

    Args:
        table: The table.
        columns: Column of each label, by its name in error messages.
        meanings: Label of each code; numbers are written as integers, words in lower case.
        default: Label of all other codes. By default they are errors.

    Returns:
        `[n, number of columns]`, in the file's order.

    Raises:
        RawDataError: naming the line, if a cell has none of the codes.
    """
    labels = np.empty((len(table.rows), len(columns)), dtype=np.int8)
    for index, row in enumerate(table.rows):
        for position, (name, column) in enumerate(columns.items()):
            label = meanings.get(_normalize_code(row[column]), default)
            if label is None:
                *others, last = (code or "nothing" for code in meanings)
                raise RawDataError(
                    f"{table.path}, line {table.lines[index]}: {name} is {row[column]!r}, expected "
                    f"{', '.join(others)} or {last}."
                )
            labels[index, position] = label
    return labels


def count_other_codes(table: Table, columns: Iterable[int], meanings: Mapping[str, int]) -> Counter[str]:
    """Counts the codes in these columns that are not in `meanings`."""
    codes = Counter(_normalize_code(row[column]) for row in table.rows for column in columns)
    return Counter({code: count for code, count in codes.items() if code not in meanings})


@cache
def _normalize_code(text: str) -> str:
    number = parse_integer(text)
    return text.lower() if number is None else str(number)


def au_names(aus: Sequence[int], columns: Sequence[int]) -> dict[str, int]:
    """`columns` by AU name, as [`parse_codes`] expects them."""
    return {f"AU{au}": column for au, column in zip(aus, columns, strict=True)}


def _name_aus(aus: Sequence[int]) -> str:
    return ", ".join(f"AU{au}" for au in aus)


def _name_columns(table: Table) -> str:
    return ", ".join(map(repr, table.header))


class Complaints:
    """Collects the errors of many label files, so that users see all of them at once.

    Args:
        title: Display name of the data set.
    """

    def __init__(self, title: str):
        self.title = title
        self.messages: list[str] = []

    @contextmanager
    def collect(self) -> Iterator[None]:
        """Keeps a RawDataError that the block raises."""
        try:
            yield
        except RawDataError as error:
            self.messages.append(str(error))

    def raise_any(self) -> None:
        """Raises one RawDataError with all collected errors, if there are any."""
        if not self.messages:
            return
        listed = "\n".join(f"- {message}" for message in self.messages[:_NUM_LISTED])
        more = len(self.messages) - _NUM_LISTED
        end = f"\n- and {more} more" if more > 0 else ""
        raise RawDataError(
            f"The labels of {self.title} can't be used as they are; download the files again or fix them:\n"
            f"{listed}{end}"
        )

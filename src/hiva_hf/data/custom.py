"""Read a user's own pictures: a table `path, subject, AU1, AU2, ...`, or an ImageFolder with metadata."""

import os
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..facs import ACTION_UNITS, MISSING_LABEL
from ..listings import first_of
from .frames import ImageFiles
from .label_tables import Table, parse_au_header, parse_codes, parse_integer, read_json_lines, read_table
from .layout import VIDEO_SUFFIXES, check_data_dir, describe_contents, scan_folders
from .raw import RawDataError, RawDataset, RawSequence


_TABLES = ("labels.csv", "metadata.csv", "metadata.jsonl")
_MISSING = dict.fromkeys(("9", "-100", "nan", ""), MISSING_LABEL)
_LABEL_CODES = {"0": 0, "1": 1, **_MISSING}
_INTENSITY_CODES = {**{str(level): level for level in range(6)}, **_MISSING}
_KNOWN_COLUMNS = ("path", "file_name", "subject", "task", "frame", "fold")
_LIKE_AU_HEADER = re.compile(r"AU[ _-]?\d", re.IGNORECASE)
_INTENSITY_HEADER = re.compile(r"AU[ _-]?0*([1-9]\d?)[ _-](?:int|intensity)", re.IGNORECASE)
_NUM_DEALT_PARTS = 3
_MAX_PART = 100
_MAX_NAME_BYTES = 200
_MAX_NAMES = 20
# Slashes and colons separate paths; `datasets` reads brackets, asterisks and question marks as a pattern; Windows
# forbids the others.
_NOT_IN_NAMES = r"""\/:[]*?"<>|"""

_Key = tuple[str, str]  # subject, task


@dataclass(frozen=True)
class _Columns:
    """Column indices in the table; None for a column that it lacks."""

    path: int
    subject: int
    task: int | None
    frame: int | None
    fold: int | None
    labels: Mapping[int, int]
    intensities: Mapping[int, int]


def read_custom(data_dir: str | Path, labels_file: str | Path | None = None) -> RawDataset:
    """Reads a user's own pictures and labels.

    The table has one row for each picture and these columns, in any order:

    - `path`: the picture, relative to `data_dir`; or `file_name`, relative to the table, as in an ImageFolder;
    - `subject`: the person it shows. Folds and validation subjects are split by it;
    - `AU1`, `AU2`, ...: 1 (present) or 0 (absent); 9, -100, nan or an empty cell if unknown;
    - optional `AU1_intensity`, ...: 0 to 5, with the same codes if unknown;
    - optional `task`: the recording of the subject; optional `frame`: the picture's number in it, by default counted
      in the order of the table;
    - optional `fold`: the fold in which the subject is tested, 0 for never. Without this column the sorted subjects
      are assigned to three folds in turn; with it, every row needs a value.

    Args:
        data_dir: Folder with the pictures.
        labels_file: The table, absolute or relative to `data_dir`. By default `labels.csv`, `metadata.csv` or
            `metadata.jsonl` there, or else the only CSV file.

    Returns:
        The sequences. Pictures that don't exist are reported when they are read.

    Raises:
        RawDataError: if there is no table or it is invalid; the message names the line.
    """
    root = check_data_dir(data_dir)
    path = _find_table(root, labels_file)
    table = read_json_lines(path) if path.suffix.lower() == ".jsonl" else read_table(path)
    if not table.rows:
        raise RawDataError(f"{path} has no rows. Expected a header `path,subject,AU1,...` and a row for each picture.")
    # Notes are published with the data set and must not contain paths of this machine.
    name = (_path_within(path, root) or Path(path.name)).as_posix()
    notes: list[str] = [f"Labels come from {name}."]
    columns = _find_columns(table, notes)
    aus = tuple(sorted(columns.labels))
    labels = parse_codes(table, {f"AU{au}": columns.labels[au] for au in aus}, _LABEL_CODES)
    intensities = _read_intensities(table, columns, aus)
    rows_of = _group_rows(table, columns)
    parts = _find_parts(table, columns, notes)
    pictures = _find_pictures(root, table, columns)
    sequences = []
    for key, of_sequence in rows_of.items():
        frames, rows = _order_frames(table, columns, of_sequence)
        sequences.append(
            RawSequence(
                *key,
                part=parts[key[0]],
                frames=frames,
                labels=labels[rows],
                intensities=intensities[rows],
                source=ImageFiles({frame: pictures[row] for frame, row in zip(frames.tolist(), rows, strict=True)}),
            )
        )
    if columns.frame is None:
        notes.append("There is no column `frame`: pictures are numbered from 0 in the order of the table.")
    settings = {"labels_file": name}
    sequences.sort(key=lambda sequence: sequence.name)
    return RawDataset("custom", aus, root, sequences, settings=settings, notes=notes)


def _find_table(root: Path, labels_file: str | Path | None) -> Path:
    if labels_file is not None:
        labels_file = Path(labels_file).expanduser()
        found = [path for path in (root / labels_file, labels_file) if path.is_file()]
        if not found:
            raise RawDataError(f"`labels_file` is {str(labels_file)!r}, but there is no such file, nor one in {root}.")
        return found[0]
    (folder,) = scan_folders(root, depth=0)
    candidates = [root / name for name in folder.files if name.lower() in _TABLES] or folder.files_with((".csv",))
    if len(candidates) > 1:
        names = ", ".join(path.name for path in candidates)
        raise RawDataError(
            f"{root} has several tables ({names}). Pass one of them as `labels_file` (`--labels_file`)."
        )
    if not candidates:
        raise RawDataError(
            "There is no labels.csv, metadata.csv or metadata.jsonl with columns `path,subject,AU1,...`. "
            f"{describe_contents(scan_folders(root, depth=1))} Pass `--labels_file` if it is elsewhere."
        )
    return candidates[0]


def _find_columns(table: Table, notes: list[str]) -> _Columns:
    names = [cell.lower() for cell in table.header]
    for name in _KNOWN_COLUMNS:
        if names.count(name) > 1:
            raise RawDataError(f"{table.path} has {names.count(name)} columns {name!r}. Keep one of them.")
    known = {name: names.index(name) for name in _KNOWN_COLUMNS if name in names}
    labels: dict[int, int] = {}
    intensities: dict[int, int] = {}
    ignored = []
    for column, cell in enumerate(table.header):
        match = _INTENSITY_HEADER.fullmatch(cell)
        au = int(match[1]) if match else parse_au_header(cell)
        if au is not None:
            _add_au(table, intensities if match else labels, au, column)
        elif _LIKE_AU_HEADER.match(cell):
            raise RawDataError(f"{table.path}: column {cell!r} is not recognised. Rename it to AU1 or AU1_intensity.")
        elif cell and column not in known.values():
            ignored.append(cell)
    _check_columns(table, known, labels, intensities)
    if ignored:
        notes.append(f"Columns that were not used: {first_of(ignored, _MAX_NAMES)}.")
    path = known.get("path", known.get("file_name"))
    optional = (known.get(name) for name in ("task", "frame", "fold"))
    return _Columns(path, known["subject"], *optional, labels, intensities)


def _add_au(table: Table, columns: dict[int, int], au: int, column: int) -> None:
    if au not in ACTION_UNITS:
        raise RawDataError(
            f"{table.path}: AU{au} of column {table.header[column]!r} is not a known Action Unit. Known are "
            f"{', '.join(map(str, ACTION_UNITS))}."
        )
    if au in columns:
        first = table.header[columns[au]]
        raise RawDataError(f"{table.path}: {first!r} and {table.header[column]!r} are the same AU. Keep one of them.")
    columns[au] = column


def _check_columns(
    table: Table, known: Mapping[str, int], labels: Mapping[int, int], intensities: Mapping[int, int]
) -> None:
    lacking = [] if "path" in known or "file_name" in known else ["path"]
    lacking += [] if "subject" in known else ["subject"]
    lacking += [] if labels else ["AU1"]
    if lacking:
        found = first_of([repr(name) for name in table.header], _MAX_NAMES)
        raise RawDataError(f"{table.path} has no column {' and no '.join(lacking)}. Its columns are {found}.")
    if orphans := sorted(intensities.keys() - labels.keys()):
        au = orphans[0]
        raise RawDataError(f"{table.path} has AU{au}'s intensity, but no column AU{au} with 0 and 1. Add it.")


def _read_intensities(table: Table, columns: _Columns, aus: Sequence[int]) -> NDArray[np.int8]:
    """Intensities `[n, N]` of all rows; missing for AUs without a column."""
    intensities = np.full((len(table.rows), len(aus)), MISSING_LABEL, dtype=np.int8)
    for au, column in columns.intensities.items():
        codes = parse_codes(table, {f"the intensity of AU{au}": column}, _INTENSITY_CODES)
        intensities[:, aus.index(au)] = codes[:, 0]
    return intensities


def _group_rows(table: Table, columns: _Columns) -> dict[_Key, list[int]]:
    """Rows of each sequence, in the order of the table."""
    rows_of: dict[_Key, list[int]] = {}
    key_of_name: dict[str, _Key] = {}
    first_rows: dict[str, int] = {}
    for row, cells in enumerate(table.rows):
        key = _subject_of(columns, cells), "" if columns.task is None else _normalize(cells[columns.task])
        if key not in rows_of:
            _check_key(table, row, key)
            _check_spelling(table, columns, row, first_rows.setdefault(key[0].casefold(), row))
            # Some file systems don't distinguish Anna from anna.
            other = key_of_name.setdefault("_".join(filter(None, key)).casefold(), key)
            if other != key:
                raise RawDataError(
                    f"{_locate(table, row)}: subject and task {key} would be stored under the same name as {other}. "
                    "Rename one of them."
                )
        rows_of.setdefault(key, []).append(row)
    return rows_of


def _subject_of(columns: _Columns, cells: Sequence[str]) -> str:
    return _normalize(cells[columns.subject])


def _normalize(name: str) -> str:
    """The composed form of accented letters, which Unicode can encode in two ways."""
    return unicodedata.normalize("NFC", name)


def _check_spelling(table: Table, columns: _Columns, row: int, first_row: int) -> None:
    """A person with two spellings could be in both training and test."""
    subject, first = (_subject_of(columns, table.rows[index]) for index in (row, first_row))
    if subject != first:
        raise RawDataError(
            f"{_locate(table, row)}: subject {subject!r} is spelled {first!r} in line {table.lines[first_row]}. Spell "
            "each person's name the same way, and give two people names that differ in more than case."
        )


def _check_key(table: Table, row: int, key: _Key) -> None:
    """Sequences are stored in files that are named after subject and task."""
    if not key[0]:
        raise RawDataError(f"{_locate(table, row)}: the subject is missing. Folds are split by subject.")
    for name, text in zip(("subject", "task"), key, strict=True):
        if text.startswith(".") or any(sign in _NOT_IN_NAMES or unicodedata.category(sign)[0] == "C" for sign in text):
            raise RawDataError(
                f"{_locate(table, row)}: {name} is {text!r}, but files are named after it: it can't begin with a dot "
                f"or contain any of {' '.join(_NOT_IN_NAMES)} or control characters."
            )
    if len("_".join(key).encode()) > _MAX_NAME_BYTES:
        raise RawDataError(f"{_locate(table, row)}: subject and task are longer than {_MAX_NAME_BYTES} bytes.")


def _find_parts(table: Table, columns: _Columns, notes: list[str]) -> dict[str, int]:
    """Part of each subject."""
    subjects = [_subject_of(columns, cells) for cells in table.rows]
    if columns.fold is None:
        notes.append("There is no column `fold`: the sorted subjects were assigned to folds 1, 2, 3, 1, 2, 3 ...")
        return {subject: index % _NUM_DEALT_PARTS + 1 for index, subject in enumerate(sorted(set(subjects)))}
    parts: dict[str, int] = {}
    for row, subject in enumerate(subjects):
        text = table.rows[row][columns.fold]
        fold = parse_integer(text)
        if fold is None or not 0 <= fold <= _MAX_PART:
            raise RawDataError(f"{_locate(table, row)}: fold is {text!r}, expected a number from 0 to {_MAX_PART}.")
        if parts.setdefault(subject, fold) != fold:
            raise RawDataError(
                f"{_locate(table, row)}: {subject} is in fold {fold}, but in fold {parts[subject]} before. Give each "
                "subject one fold; otherwise a detector would be tested on people it was trained on."
            )
    return parts


def _find_pictures(root: Path, table: Table, columns: _Columns) -> list[Path]:
    """Picture of each row."""
    is_image_folder = table.header[columns.path].lower() == "file_name"
    base = table.path.parent if is_image_folder else root
    pictures: dict[Path, int] = {}
    listings: dict[Path, dict[str, list[str]]] = {}
    for row, cells in enumerate(table.rows):
        text = cells[columns.path]
        path = _locate_picture(root, base, text, listings)
        if path is None:
            raise RawDataError(f"{_locate(table, row)}: {text!r} is not a picture in {root}. Move the pictures there.")
        if path.suffix.lower() in VIDEO_SUFFIXES:
            raise RawDataError(
                f"{_locate(table, row)}: {text!r} is a video. Videos are not supported: extract the labelled frames, "
                "and give each a row."
            )
        if path in pictures:
            raise RawDataError(
                f"{_locate(table, row)}: {text!r} already occurs in line {table.lines[pictures[path]]}."
            )
        pictures[path] = row
    return list(pictures)


def _locate_picture(root: Path, base: Path, text: str, listings: dict[Path, dict[str, list[str]]]) -> Path | None:
    """The path that `text` refers to, None if it is outside `root`; links inside `root` are not followed."""
    # Tables written on Windows have backslashes.
    path = _path_within(base / text.replace("\\", "/"), root)
    return None if path is None else _as_on_disk(root, path, listings)


def _as_on_disk(root: Path, path: Path, listings: dict[Path, dict[str, list[str]]]) -> Path:
    """The file at `path` in `root`, even if its name encodes accents in another way, as on Macs."""
    if str(path).isascii() or (root / path).exists():
        return root / path
    folder = root
    for name in path.parts:
        if not (folder / name).exists():
            if folder not in listings:
                listings[folder] = _names_by_form(folder)
            spellings = listings[folder].get(_normalize(name), [])
            name = spellings[0] if len(spellings) == 1 else name
        folder = folder / name
    return folder


def _names_by_form(folder: Path) -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    for name in os.listdir(folder) if folder.is_dir() else ():
        names.setdefault(_normalize(name), []).append(name)
    return names


def _path_within(path: Path, root: Path) -> Path | None:
    """`path` relative to `root`, either of which may contain symbolic links; None if it is outside."""
    path, top = (Path(os.path.abspath(name)) for name in (path, root))
    # Links are resolved only if needed: that accesses the disk for each folder of the path.
    spellings = (
        lambda: (path, top),
        lambda: (path, top.resolve()),
        lambda: (path.parent.resolve() / path.name, top.resolve()),
    )
    for candidate, folder in (spelling() for spelling in spellings):
        if candidate != folder and candidate.is_relative_to(folder):
            return candidate.relative_to(folder)
    return None


def _order_frames(table: Table, columns: _Columns, rows: Sequence[int]) -> tuple[NDArray[np.int32], list[int]]:
    """Frames of one sequence, ascending, and their rows."""
    if columns.frame is None:
        return np.arange(len(rows), dtype=np.int32), list(rows)
    row_of: dict[int, int] = {}
    for row in rows:
        text = table.rows[row][columns.frame]
        frame = parse_integer(text)
        if frame is None or frame < 0:
            raise RawDataError(f"{_locate(table, row)}: frame is {text!r}, expected a number, 0 or higher.")
        if frame in row_of:
            raise RawDataError(
                f"{_locate(table, row)}: frame {frame} of this subject and task already occurs in line "
                f"{table.lines[row_of[frame]]}."
            )
        row_of[frame] = row
    frames = sorted(row_of)
    return np.array(frames, dtype=np.int32), [row_of[frame] for frame in frames]


def _locate(table: Table, row: int) -> str:
    return f"{table.path}, line {table.lines[row]}"

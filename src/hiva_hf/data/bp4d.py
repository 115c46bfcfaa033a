"""Read BP4D as it is released: `AUCoding/AU_OCC/F001_T1.csv` and `Sequences(2D+3D)/F001/T1/2440.jpg`."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..facs import MISSING_LABEL
from .frames import ImageFiles
from .label_tables import Complaints, au_names, find_au_columns, parse_codes, parse_frames, read_table
from .layout import (
    IMAGE_SUFFIXES,
    WHOLE_STEM,
    Folder,
    check_data_dir,
    describe_contents,
    name_within,
    number_pictures,
    scan_folders,
)
from .raw import Problem, RawDataError, RawDataset, RawSequence
from .sets import BP4D


_Key = tuple[str, str]  # subject, task

# data_dir/BP4D/Sequences(2D+3D)/F001/T1 is four levels down.
_DEPTH = 4
_SUBJECT = re.compile(r"[FM]\d{3}", re.IGNORECASE)
_TASK = re.compile(r"T[1-8]", re.IGNORECASE)
_TABLE = re.compile(r"([FM]\d{3})_(T[1-8])", re.IGNORECASE)
_INTENSITY_TABLE = re.compile(r"([FM]\d{3})_(T[1-8])_AU0*(\d+)", re.IGNORECASE)
_OCCURRENCE_CODES = {"0": 0, "1": 1, "9": MISSING_LABEL}
_INTENSITY_CODES = {**{str(level): level for level in range(6)}, "9": MISSING_LABEL}
# Largest shift of frame numbers that is tried as an explanation of missing pictures.
_MAX_SHIFT = 10


@dataclass(frozen=True, eq=False)
class _Labels:
    frames: NDArray[np.int32]
    labels: NDArray[np.int8]
    intensities: NDArray[np.int8]
    num_unmatched: int = 0


def read_bp4d(data_dir: str | Path, frame_offset: int = 0) -> RawDataset:
    """Reads the labels of BP4D and finds its pictures.

    Labels lie in `AUCoding/AU_OCC` or `AU_OCC`, intensities (optional) in `AU_INT` beside it, pictures in
    `Sequences(2D+3D)`, `2D+3D` or folders of subjects; all in `data_dir` or one folder deeper, in any case.

    Args:
        data_dir: Folder of the unpacked release.
        frame_offset: Number of a frame's picture minus the frame's number in the label file.

    Returns:
        The sequences with labels and pictures, and the problems found.

    Raises:
        RawDataError: if labels or pictures can't be found or are invalid.
    """
    folders = scan_folders(check_data_dir(data_dir), _DEPTH)
    root = folders[0].path
    occurrence = _find_occurrence(folders)
    intensity_tables = _find_intensity_tables(folders)
    labels = _read_labels(occurrence, intensity_tables)
    pictures = _find_pictures(folders, frame_offset)
    sequences, problems = [], []
    for key in sorted(labels.keys() | pictures.keys()):
        if problem := _find_problem(root, key, labels, pictures, occurrence):
            problems.append(problem)
            continue
        folder, numbered = pictures[key]
        frames = labels[key].frames
        paths = {frame: numbered[frame] for frame in frames.tolist() if frame in numbered}
        sequences.append(
            RawSequence(
                *key,
                part=BP4D.parts[key[0]],
                frames=frames,
                labels=labels[key].labels,
                intensities=labels[key].intensities,
                source=ImageFiles(paths, folder),
            )
        )
    if not sequences:
        raise RawDataError(
            f"{occurrence.path} has tables of {len(labels)} sequences, but none of them has both labels and pictures "
            f"in a folder like Sequences(2D+3D)/F001/T1. {describe_contents(folders)}"
        )
    notes = [
        *_describe_intensities(intensity_tables, labels),
        *_explain_missing_pictures(labels, pictures, frame_offset),
    ]
    settings = {"frame_offset": frame_offset}
    return RawDataset("bp4d", BP4D.aus, root, sequences, problems, settings, notes)


def _find_occurrence(folders: Sequence[Folder]) -> Folder:
    found = [folder for folder in folders if folder.path.name.upper() == "AU_OCC"]
    if len(found) > 1:
        raise RawDataError(
            f"There are two folders of labels, {found[0].path} and {found[1].path}. Remove one, or pass a `data_dir` "
            "that holds only one."
        )
    if not found:
        raise RawDataError(
            f"There is no folder AU_OCC with BP4D's labels, such as AUCoding/AU_OCC. {describe_contents(folders)}"
        )
    return found[0]


def _find_tables(folder: Folder, pattern: re.Pattern, example: str) -> dict[tuple[str, ...], Path]:
    """CSV files of a folder by the subject, task and AU in their names."""
    tables: dict[tuple[str, ...], Path] = {}
    for path in folder.files_with((".csv",)):
        match = pattern.fullmatch(path.stem.strip())
        if match is None or match[1].upper() not in BP4D.parts:
            raise RawDataError(
                f"{path} is not named after a subject of BP4D and one of the tasks T1 to T8, like {example}. Move it "
                "elsewhere; prepare your own recordings as a `custom` data set."
            )
        key = tuple(group.upper() for group in match.groups())
        if key in tables:
            raise RawDataError(f"{tables[key]} and {path} are about the same sequence. Remove one of them.")
        tables[key] = path
    return tables


def _find_intensity_tables(folders: Iterable[Folder]) -> dict[_Key, dict[int, Path]]:
    """Paths of the intensity tables, by sequence and AU."""
    tables: dict[_Key, dict[int, Path]] = {}
    for folder in folders:
        if "AU_INT" not in (part.upper() for part in folder.parts[-2:]):
            continue
        for (subject, task, au), path in _find_tables(folder, _INTENSITY_TABLE, "F001_T1_AU06.csv").items():
            of_sequence = tables.setdefault((subject, task), {})
            if int(au) in of_sequence:
                raise RawDataError(f"{of_sequence[int(au)]} and {path} are about the same AU. Remove one of them.")
            of_sequence[int(au)] = path
    return tables


def _read_labels(occurrence: Folder, intensity_tables: Mapping[_Key, Mapping[int, Path]]) -> dict[_Key, _Labels]:
    labels, complaints = {}, Complaints("BP4D")
    for key, path in _find_tables(occurrence, _TABLE, "F001_T1.csv").items():
        with complaints.collect():
            labels[key] = _read_sequence(path, intensity_tables.get(key, {}))
    complaints.raise_any()
    if not labels:
        raise RawDataError(f"{occurrence.path} holds no table like F001_T1.csv. {describe_contents([occurrence])}")
    return labels


def _read_sequence(path: Path, intensity_tables: Mapping[int, Path]) -> _Labels:
    table = read_table(path)
    if not table.rows:
        nothing = np.empty((0, len(BP4D.aus)), dtype=np.int8)
        return _Labels(np.empty(0, dtype=np.int32), nothing, nothing)
    columns = find_au_columns(table, BP4D.aus)
    if 0 in columns:
        raise RawDataError(f"{path}: the first column is {table.header[0]!r}, expected the frame number.")
    frames = parse_frames(table, 0)
    labels = parse_codes(table, au_names(BP4D.aus, columns), _OCCURRENCE_CODES)
    order = np.argsort(frames)
    frames = frames[order]
    return _Labels(frames, labels[order], *_read_intensities(path, frames, intensity_tables))


def _read_intensities(
    occurrence: Path, frames: NDArray[np.int32], tables: Mapping[int, Path]
) -> tuple[NDArray[np.int8], int]:
    """Intensities `[n, 12]` of `frames` (ascending), missing where no table has them; and the number of unused rows
    of the tables."""
    intensities = np.full((len(frames), len(BP4D.aus)), MISSING_LABEL, dtype=np.int8)
    num_unmatched = 0
    for au, path in tables.items():
        if au not in BP4D.aus:
            continue
        table = read_table(path, has_header=False)
        if not table.rows:
            continue
        if len(table.rows[0]) != 2:
            raise RawDataError(f"{path}, line 1: expected `frame,intensity`, found {len(table.rows[0])} cells.")
        coded_frames = parse_frames(table, 0)
        codes = parse_codes(table, {f"the intensity of AU{au}": 1}, _INTENSITY_CODES)[:, 0]
        _, rows, coded_rows = np.intersect1d(frames, coded_frames, assume_unique=True, return_indices=True)
        if not len(rows):
            raise RawDataError(
                f"{path} has none of the frames of {occurrence}: it begins with frame {coded_frames.min()}, the other "
                f"with {frames[0]}. Renumber one of them, or remove AU_INT to prepare the set without intensities."
            )
        intensities[rows, BP4D.aus.index(au)] = codes[coded_rows]
        num_unmatched += len(coded_frames) - len(rows)
    return intensities, num_unmatched


def _find_pictures(folders: Iterable[Folder], frame_offset: int) -> dict[_Key, tuple[Path, dict[int, Path]]]:
    """Folder and pictures of each sequence, by the frame numbers of its labels."""
    pictures: dict[_Key, tuple[Path, dict[int, Path]]] = {}
    for folder in folders:
        subject, task = ("", "", *folder.parts)[-2:]
        if not (_SUBJECT.fullmatch(subject) and _TASK.fullmatch(task) and folder.has_files_with(IMAGE_SUFFIXES)):
            continue
        key = subject.upper(), task.upper()
        if key in pictures:
            raise RawDataError(f"{' '.join(key)} has pictures in {pictures[key][0]} and in {folder.path}. Remove one.")
        numbered = number_pictures(folder, WHOLE_STEM)
        pictures[key] = folder.path, {number - frame_offset: path for number, path in numbered.items()}
    return pictures


def _find_problem(
    root: Path,
    key: _Key,
    labels: Mapping[_Key, _Labels],
    pictures: Mapping[_Key, tuple[Path, Mapping[int, Path]]],
    occurrence: Folder,
) -> Problem | None:
    """Why a whole sequence can't be used; None if it can."""
    table = name_within(occurrence.path / f"{'_'.join(key)}.csv", root)
    if key not in labels:
        return Problem("no labelled frame", name_within(pictures[key][0], root), *key, detail=f"there is no {table}")
    if not len(labels[key].frames):
        return Problem("no labels", table, *key)
    if key not in pictures:
        return Problem("no pictures", table, *key, detail=f"there is no folder {'/'.join(key)} with pictures")
    folder, numbered = pictures[key]
    if not numbered:
        detail = "the pictures there are not named by numbers like 2440.jpg"
        return Problem("no pictures", name_within(folder, root), *key, detail=detail)
    return None


def _describe_intensities(tables: Mapping[_Key, Mapping[int, Path]], labels: Mapping[_Key, _Labels]) -> list[str]:
    aus = {au for of_sequence in tables.values() for au in of_sequence} & set(BP4D.aus)
    if not aus:
        return ["There is no AU_INT: intensities are missing."]
    notes = [f"Intensities of {', '.join(f'AU{au}' for au in sorted(aus))} come from AU_INT."]
    lacking = ["_".join(key) for key in sorted(labels) if aus - tables.get(key, {}).keys()]
    if lacking:
        notes.append(
            f"{len(lacking)} of {len(labels)} sequences lack tables in AU_INT, such as {lacking[0]}: "
            "those intensities are missing."
        )
    num_unmatched = sum(of_sequence.num_unmatched for of_sequence in labels.values())
    if num_unmatched:
        notes.append(f"Rows of AU_INT that were not used, because AU_OCC lacks their frames: {num_unmatched}.")
    return notes


def _explain_missing_pictures(
    labels: Mapping[_Key, _Labels],
    pictures: Mapping[_Key, tuple[Path, Mapping[int, Path]]],
    frame_offset: int,
) -> list[str]:
    """Suggests another frame offset if it would give (nearly) every labelled frame a picture."""
    numbers = {
        key: (set(labels[key].frames.tolist()), set(pictures[key][1])) for key in labels.keys() & pictures.keys()
    }

    def count_missing(shift: int) -> int:
        return sum(len({frame + shift for frame in frames} - found) for frames, found in numbers.values())

    missing = count_missing(0)
    if not missing:
        return []
    shift = min(range(-_MAX_SHIFT, _MAX_SHIFT + 1), key=lambda shift: (count_missing(shift), abs(shift)))
    # A few lost pictures are no reason to doubt the offset.
    if count_missing(shift) > missing // 10:
        return []
    num_frames = sum(len(frames) for frames, _ in numbers.values())
    return [
        f"{missing} of {num_frames} labelled frames have no picture; with `--frame_offset {frame_offset + shift}` "
        f"{count_missing(shift)} would have none. Compare the faces of a sequence with its labels before you use it."
    ]

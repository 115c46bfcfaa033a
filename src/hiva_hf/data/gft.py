"""Read GFT: for each subject a table of occurrence, `001A_occ.csv`, and a video `001A.mp4` or frames `001A/1.jpg`."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..facs import MISSING_LABEL
from ..listings import first_of
from .label_tables import (
    Complaints,
    Table,
    au_names,
    count_other_codes,
    find_au_columns,
    find_frame_column,
    find_other_columns,
    parse_codes,
    parse_frames,
    read_table,
)
from .layout import Folder, check_data_dir, describe_contents, name_within, scan_folders
from .raw import Problem, RawDataError, RawDataset, RawSequence
from .recordings import (
    Recording,
    choose_recordings,
    find_frame_base,
    find_frame_folders,
    find_videos,
    make_source,
    prefer_videos,
)
from .sets import GFT


# data_dir/GFT/frames/001A is three levels down.
_DEPTH = 3
_TABLE_SUFFIXES = (".csv", ".tsv", ".txt")
_TABLE = re.compile(r"(\d{3}[A-Z])(?![A-Z0-9])", re.IGNORECASE)
_SUBJECT = re.compile(r"(?<![A-Z0-9])\d{3}[A-C](?![A-Z0-9])", re.IGNORECASE)
_OCCURRENCE = re.compile(r"(?<![a-z])occ", re.IGNORECASE)
_CODES = {"0": 0, "1": 1}
_MAX_CODES = 10


@dataclass(frozen=True, eq=False)
class _Labels:
    path: Path
    frames: NDArray[np.int32]
    labels: NDArray[np.int8]
    other_codes: Counter[str] = field(default_factory=Counter)
    are_frames_counted: bool = False


def read_gft(data_dir: str | Path) -> RawDataset:
    """Reads the labels of GFT and finds its videos, or the frames that were extracted from them.

    Tables are found by the subject at the beginning of their names; videos, and folders of frames, by the subject in
    their names; all of them up to three folders deep. Columns are found by their AU number. Every code but 0 and 1
    counts as a missing label. If a table has AU columns only, its rows are numbered from 1.

    Args:
        data_dir: Folder of the unpacked release.

    Returns:
        The sequences with labels and pictures, and the problems found.

    Raises:
        RawDataError: if labels or pictures can't be found or are invalid.
    """
    folders = scan_folders(check_data_dir(data_dir), _DEPTH)
    root = folders[0].path
    notes: list[str] = []
    labels = _read_labels(folders, notes)
    recordings = _find_recordings(folders, notes)
    frame_base = _find_base(recordings, labels, notes)
    sequences, problems = [], []
    for subject in sorted(labels.keys() | recordings.keys()):
        if problem := _find_problem(root, subject, labels, recordings):
            problems.append(problem)
            continue
        coded = labels[subject]
        sequences.append(
            RawSequence(
                subject,
                task="",
                part=GFT.parts[subject],
                frames=coded.frames,
                labels=coded.labels,
                intensities=np.full_like(coded.labels, MISSING_LABEL),
                source=make_source(recordings[subject], coded.frames.tolist(), frame_base),
            )
        )
    if not sequences:
        raise RawDataError(f"No subject of GFT has both labels and pictures. {describe_contents(folders)}")
    return RawDataset("gft", GFT.aus, root, sequences, problems, {"frame_base": frame_base}, notes)


def _read_labels(folders: Sequence[Folder], notes: list[str]) -> dict[str, _Labels]:
    root = folders[0].path
    labels, complaints = {}, Complaints("GFT")
    for subject, path in _find_tables(folders).items():
        with complaints.collect():
            labels[subject] = _read_subject(path)
    complaints.raise_any()
    _judge_codes(root, labels, notes)
    if counted := [coded.path for coded in labels.values() if coded.are_frames_counted]:
        notes.append(f"{name_within(counted[0], root)} and the like have no frame column: rows were counted from 1.")
    return _count_from_one(root, labels, notes)


def _find_tables(folders: Sequence[Folder]) -> dict[str, Path]:
    found: dict[str, list[Path]] = {}
    for folder in folders:
        for path in folder.files_with(_TABLE_SUFFIXES):
            match = _TABLE.match(path.stem)
            if match is None:
                continue
            if match[1].upper() not in GFT.parts:
                raise RawDataError(f"{path}: {match[1]} is not a subject of GFT (001A to 032C). Move it elsewhere.")
            found.setdefault(match[1].upper(), []).append(path)
    if not found:
        raise RawDataError(
            f"There are no tables named after GFT's subjects, such as 001A_occ.csv. {describe_contents(folders)}"
        )
    return {subject: _choose_table(subject, paths) for subject, paths in sorted(found.items())}


def _choose_table(subject: str, paths: Sequence[Path]) -> Path:
    """The only table, or the only one with "occ" in its name."""
    chosen = [path for path in paths if _OCCURRENCE.search(path.stem)] if len(paths) > 1 else paths
    if len(chosen) != 1:
        first, second = (chosen or paths)[:2]
        raise RawDataError(
            f"{subject} has several tables, {first} and {second}. Keep the occurrence table, or rename it to "
            f"{subject}_occ{first.suffix}."
        )
    return chosen[0]


def _read_subject(path: Path) -> _Labels:
    table = read_table(path)
    if not table.rows:
        return _Labels(path, np.empty(0, dtype=np.int32), np.empty((0, len(GFT.aus)), dtype=np.int8))
    columns = find_au_columns(table, GFT.aus)
    labels = parse_codes(table, au_names(GFT.aus, columns), _CODES, default=MISSING_LABEL)
    other_codes = count_other_codes(table, columns, _CODES)
    frame_column = find_frame_column(table)
    if frame_column is None:
        _check_all_are_aus(table)
        frames = np.arange(1, len(labels) + 1, dtype=np.int32)
        return _Labels(path, frames, labels, other_codes, are_frames_counted=True)
    frames = parse_frames(table, frame_column)
    order = np.argsort(frames)
    return _Labels(path, frames[order], labels[order], other_codes)


def _check_all_are_aus(table: Table) -> None:
    """Rows are numbered only if no column can hold frame numbers: wrong numbers would not be noticed later."""
    if others := find_other_columns(table):
        raise RawDataError(
            f"{table.path}: no column of frame numbers was recognised. Rename it to `frame`; the columns that are not "
            f"AUs are {', '.join(map(repr, others))}. Remove them if rows are to be numbered from 1."
        )


def _judge_codes(root: Path, labels: Mapping[str, _Labels], notes: list[str]) -> None:
    """Notes the codes that became missing labels, and raises an error if an AU has no labels left."""
    codes = sum((coded.other_codes for coded in labels.values()), Counter())
    if not codes:
        return
    listed = first_of([f"{code or 'nothing'!r} in {count} cells" for code, count in codes.most_common()], _MAX_CODES)
    is_coded = np.concatenate([coded.labels for coded in labels.values()]) != MISSING_LABEL
    uncoded = [f"AU{au}" for au, is_found in zip(GFT.aus, is_coded.any(axis=0), strict=True) if not is_found]
    if uncoded:
        raise RawDataError(
            f"No table of GFT in {root} has 0 or 1 for {', '.join(uncoded)}. The codes found are {listed}. "
            "Write 1 where an AU is present and 0 where it is absent; all else counts as missing."
        )
    notes.append(f"Codes of GFT's tables that count as missing labels: {listed}.")


def _count_from_one(root: Path, labels: Mapping[str, _Labels], notes: list[str]) -> dict[str, _Labels]:
    """Adds 1 to the frames of all tables if they count from 0."""
    from_zero = [coded.path for coded in labels.values() if len(coded.frames) and coded.frames[0] == 0]
    from_one = [coded.path for coded in labels.values() if len(coded.frames) and coded.frames[0] == 1]
    if not from_zero:
        return dict(labels)
    if from_one:
        raise RawDataError(
            f"Frames count from 0 in {from_zero[0]}, but from 1 in {from_one[0]}. Renumber all tables from 1."
        )
    example = name_within(from_zero[0], root)
    notes.append(
        f"Frames of the tables count from 0, as in {example}: 1 was added, because GFT's videos count from 1."
    )
    return {subject: replace(coded, frames=coded.frames + 1) for subject, coded in labels.items()}


def _find_recordings(folders: Sequence[Folder], notes: list[str]) -> dict[str, Recording]:
    """Video, or else folder of frames, of each subject."""
    videos = choose_recordings(find_videos(folders, _SUBJECT))
    recordings = prefer_videos(videos, choose_recordings(find_frame_folders(folders, _SUBJECT)), notes)
    if not recordings:
        raise RawDataError(
            "There are neither videos named after GFT's subjects, such as 001A.mp4, nor frames in folders like 001A. "
            f"{describe_contents(folders)}"
        )
    return recordings


def _find_base(recordings: Mapping[str, Recording], labels: Mapping[str, _Labels], notes: list[str]) -> int | None:
    """Number of the first extracted frame; None where there are only videos."""
    last_frames = {subject: int(coded.frames[-1]) for subject, coded in labels.items() if len(coded.frames)}
    told = find_frame_base(recordings, last_frames)
    if told is None:
        return None
    bases, evidence = told
    if len(bases) == 2:
        raise RawDataError(
            f"Some extracted frames count from 0, others from 1: {evidence}. Number all of them from 1."
        )
    if not bases:
        notes.append(f"It can't be inferred whether extracted frames count from 0 or 1: {evidence}. 1 was assumed.")
        return 1
    notes.append(f"Extracted frames count from {min(bases)}: {evidence}.")
    return bases.pop()


def _find_problem(
    root: Path, subject: str, labels: Mapping[str, _Labels], recordings: Mapping[str, Recording]
) -> Problem | None:
    """Why a whole subject can't be used; None if it can."""
    if subject not in labels:
        return Problem("no labelled frame", name_within(recordings[subject].path, root), subject, detail="no table")
    where = name_within(labels[subject].path, root)
    if not len(labels[subject].frames):
        return Problem("no labels", where, subject)
    if subject not in recordings:
        return Problem("no pictures", where, subject, detail="neither a video nor frames were found")
    return None

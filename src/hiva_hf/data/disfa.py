"""Read DISFA: `ActionUnit_Labels/SN001/SN001_au1.txt` and `Videos_LeftCamera/LeftVideoSN001_comp.avi`."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ..facs import MISSING_LABEL
from .label_tables import Complaints, parse_codes, parse_frames, read_table
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
from .sets import DISFA, DISFA_BAD_FRAMES


Camera = Literal["left", "right"]

# data_dir/DISFA/Videos_LeftCamera/frames/SN001 is four levels down.
_DEPTH = 4
_LABEL_FILE = re.compile(r"(SN\d{3})_au(\d+)\.txt", re.IGNORECASE)
_SUBJECT = re.compile(r"SN\d{3}(?!\d)", re.IGNORECASE)
# Not the end of "bright".
_CAMERA = re.compile(r"(?<![A-Za-z])(?:left|right)|Left|Right|LEFT|RIGHT")
_INTENSITY_CODES = {str(level): level for level in range(6)}


@dataclass(frozen=True, eq=False)
class _Labels:
    folder: Path
    frames: NDArray[np.int32]
    intensities: NDArray[np.int8]


def read_disfa(
    data_dir: str | Path,
    camera: Camera = "left",
    threshold: int = 2,
    frame_base: Literal[0, 1] | None = None,
    drop_bad_frames: bool = False,
) -> RawDataset:
    """Reads the labels of DISFA and finds its videos, or the frames that were extracted from them.

    Label files are found by their names, videos by the subject in their names, and extracted frames by the subject in
    the path of their folder; the last number in a picture's name is its frame number. The camera is inferred from the
    word left or right in a path. Folders are searched up to four levels deep.

    Args:
        data_dir: Folder of the unpacked release.
        camera: Which camera's pictures are used.
        threshold: Lowest intensity that counts as present.
        frame_base: Number of the first extracted frame; by default inferred from the files.
        drop_bad_frames: Leave out the stretches in which face tracking was lost.

    Returns:
        The sequences with labels and pictures, and the problems found.

    Raises:
        ValueError: if an option has an invalid value.
        RawDataError: if labels or pictures can't be found or are invalid; or if it can't be inferred whether extracted
            frames count from 0 or from 1, or some count from 0 and others from 1.
    """
    _check_options(camera, threshold, frame_base)
    folders = scan_folders(check_data_dir(data_dir), _DEPTH)
    root = folders[0].path
    labels, problems, notes = _read_labels(folders)
    recordings = _find_recordings(folders, camera, notes)
    frame_base = _find_base(recordings, labels, frame_base, notes)
    sequences = []
    for subject in sorted(labels.keys() | recordings.keys()):
        if problem := _find_problem(root, subject, labels, recordings):
            problems.append(problem)
            continue
        is_kept = _find_good_frames(subject, labels[subject].frames, drop_bad_frames, notes)
        frames, intensities = labels[subject].frames[is_kept], labels[subject].intensities[is_kept]
        is_present = np.where(intensities == MISSING_LABEL, MISSING_LABEL, intensities >= threshold)
        sequences.append(
            RawSequence(
                subject,
                task="",
                part=DISFA.parts[subject],
                frames=frames,
                labels=is_present.astype(np.int8),
                intensities=intensities,
                source=make_source(recordings[subject], frames.tolist(), frame_base),
            )
        )
    if not sequences:
        raise RawDataError(f"No subject of DISFA has both labels and pictures. {describe_contents(folders)}")
    settings = {
        "camera": camera,
        "threshold": threshold,
        "frame_base": frame_base,
        "drop_bad_frames": drop_bad_frames,
    }
    return RawDataset("disfa", DISFA.aus, root, sequences, problems, settings, notes)


def _check_options(camera: str, threshold: int, frame_base: int | None) -> None:
    if camera not in get_args(Camera):
        raise ValueError(f"`camera` is {camera!r}, but it must be {' or '.join(get_args(Camera))}.")
    if not 1 <= threshold <= 5:
        raise ValueError(f"`threshold` is {threshold!r}, but it must be an intensity from 1 to 5.")
    if frame_base not in (None, 0, 1):
        raise ValueError(f"`frame_base` is {frame_base!r}, expected 0, 1 or None (to infer it).")


def _read_labels(folders: Sequence[Folder]) -> tuple[dict[str, _Labels], list[Problem], list[str]]:
    """Labels of each subject, problems of empty label files, and notes."""
    files = _find_label_files(folders)
    labels, problems, notes, complaints = {}, [], [], Complaints("DISFA")
    for subject, of_subject in sorted(files.items()):
        with complaints.collect():
            coded, empty = _read_subject(subject, of_subject)
            labels[subject] = coded
            # If all files are empty, a single problem is reported for the subject instead.
            if len(coded.frames):
                problems += [Problem("no labels", name_within(path, folders[0].path), subject) for path in empty]
            num_incomplete = int((coded.intensities == MISSING_LABEL).any(axis=1).sum())
            if num_incomplete:
                notes.append(f"Frames of {subject} that only some of its AU files contain: {num_incomplete}.")
    complaints.raise_any()
    return labels, problems, notes


def _find_label_files(folders: Sequence[Folder]) -> dict[str, dict[int, Path]]:
    """Label file of each AU, for each subject."""
    files: dict[str, dict[int, Path]] = {}
    for folder in folders:
        for name in folder.files:
            match = _LABEL_FILE.fullmatch(name)
            if match is None:
                continue
            subject, au, path = match[1].upper(), int(match[2]), folder.path / name
            if subject not in DISFA.parts:
                raise RawDataError(f"{path}: {subject} is not a subject of DISFA. Move the file elsewhere.")
            if au in files.setdefault(subject, {}):
                raise RawDataError(
                    f"{subject} has two label files of AU{au}: {files[subject][au]} and {path}. Remove one of them."
                )
            files[subject][au] = path
    if not files:
        raise RawDataError(
            "There are no label files of DISFA, such as ActionUnit_Labels/SN001/SN001_au1.txt. "
            f"{describe_contents(folders)}"
        )
    return files


def _read_subject(subject: str, files: Mapping[int, Path]) -> tuple[_Labels, list[Path]]:
    """Intensities of one subject, missing where a file lacks a frame that another one has; and the empty files."""
    folder = next(iter(files.values())).parent
    absent = [f"{subject}_au{au}.txt" for au in DISFA.aus if au not in files]
    if absent:
        raise RawDataError(f"{folder} lacks {', '.join(absent)}.")
    coded, empty = {}, []
    for au in DISFA.aus:
        table = read_table(files[au], has_header=False)
        if not table.rows:
            empty.append(files[au])
            continue
        if len(table.rows[0]) != 2:
            raise RawDataError(f"{files[au]}, line 1: expected `frame,intensity`, found {len(table.rows[0])} cells.")
        codes = parse_codes(table, {f"the intensity of AU{au}": 1}, _INTENSITY_CODES)
        coded[au] = parse_frames(table, 0, first=1), codes[:, 0]
    all_frames = [frames for frames, _ in coded.values()]
    frames = np.unique(np.concatenate(all_frames)) if coded else np.empty(0, dtype=np.int32)
    intensities = np.full((len(frames), len(DISFA.aus)), MISSING_LABEL, dtype=np.int8)
    for au, (of_au, codes) in coded.items():
        intensities[np.searchsorted(frames, of_au), DISFA.aus.index(au)] = codes
    return _Labels(folder, frames, intensities), empty


def _find_recordings(folders: Sequence[Folder], camera: Camera, notes: list[str]) -> dict[str, Recording]:
    """Video, or else folder of frames, of each subject."""

    def is_wanted(recording: Recording) -> bool:
        return _tell_camera(recording) in (camera, None)

    # Pictures beside label files are plots, not frames.
    others = [folder for folder in folders if not any(map(_LABEL_FILE.fullmatch, folder.files))]
    found = find_videos(others, _SUBJECT), find_frame_folders(others, _SUBJECT)
    videos, frame_folders = (choose_recordings(of_kind, is_wanted) for of_kind in found)
    chosen = prefer_videos(videos, frame_folders, notes)
    if not chosen and any(found):
        other = "right" if camera == "left" else "left"
        example = next(iter((found[0] or found[1]).values()))[0].path
        raise RawDataError(
            f"There are pictures of the {other} camera only, such as {example}, but camera is {camera!r}. "
            f'Pass camera="{other}" (`--camera {other}`) to use them.'
        )
    if not chosen:
        raise RawDataError(
            "There are neither videos of DISFA, such as Videos_LeftCamera/LeftVideoSN001_comp.avi, nor frames in "
            f"folders like SN001. {describe_contents(folders)}"
        )
    unnamed = [recording.name for recording in chosen.values() if _tell_camera(recording) is None]
    if unnamed:
        notes.append(f"Names such as {unnamed[0]} don't name the camera: assumed to be {camera}.")
    return chosen


def _tell_camera(recording: Recording) -> Camera | None:
    """The camera in the innermost name that contains one."""
    told = [match.lower() for name in recording.names for match in _CAMERA.findall(name)]
    return told[-1] if told else None


def _find_base(
    recordings: Mapping[str, Recording], labels: Mapping[str, _Labels], frame_base: int | None, notes: list[str]
) -> int | None:
    """Number of the first extracted frame; None where there are only videos."""
    last_frames = {subject: int(coded.frames[-1]) for subject, coded in labels.items() if len(coded.frames)}
    told = find_frame_base(recordings, last_frames)
    if told is None:
        if frame_base is not None:
            notes.append(f"Frame base {frame_base} was not used: there are no extracted frames, only videos.")
        return None
    bases, evidence = told
    if len(bases) == 2:
        raise RawDataError(
            f"Some extracted frames count from 0, others from 1: {evidence}. Renumber all of them from 1; one "
            "frame base would put the labels of some subjects on the wrong frames."
        )
    if frame_base is None and not bases:
        raise RawDataError(
            f"It can't be inferred whether the extracted frames count from 0 or from 1: {evidence}. Pass "
            "`--frame_base 0` or `--frame_base 1`; labels that are one frame off are not noticed later."
        )
    if frame_base is None:
        frame_base = bases.pop()
        notes.append(f"Extracted frames count from {frame_base}: {evidence}.")
    elif bases - {frame_base}:
        notes.append(f"Frame base {frame_base} was used as requested, but the pictures suggest otherwise: {evidence}.")
    return frame_base


def _find_problem(
    root: Path, subject: str, labels: Mapping[str, _Labels], recordings: Mapping[str, Recording]
) -> Problem | None:
    """Why a whole subject can't be used; None if it can."""
    if subject not in labels:
        return Problem(
            "no labelled frame", name_within(recordings[subject].path, root), subject, detail="no label files"
        )
    where = name_within(labels[subject].folder, root)
    if not len(labels[subject].frames):
        return Problem("no labels", where, subject)
    if subject not in recordings:
        return Problem("no pictures", where, subject, detail="neither a video nor frames of this camera were found")
    return None


def _find_good_frames(
    subject: str, frames: NDArray[np.int32], drop_bad_frames: bool, notes: list[str]
) -> NDArray[np.bool_]:
    """Which of `frames` to keep."""
    is_bad = np.zeros(len(frames), dtype=bool)
    for first, last in DISFA_BAD_FRAMES.get(subject, ()) if drop_bad_frames else ():
        is_bad |= (frames >= first) & (frames <= last)
    if is_bad.any():
        notes.append(f"Frames of {subject} left out because face tracking was lost there: {int(is_bad.sum())}.")
    return ~is_bad

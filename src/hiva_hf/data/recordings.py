"""Find the one recording of each subject, a video or the frames extracted from it, for DISFA and GFT."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .frames import ImageFiles, VideoFile
from .layout import IMAGE_SUFFIXES, LAST_NUMBER, VIDEO_SUFFIXES, Folder, number_pictures
from .raw import FrameSource, RawDataError


@dataclass(frozen=True)
class Recording:
    """Pictures of one subject.

    Attributes:
        path: A video, or a folder of frames.
        names: Names of the folders from the release down to it, and its own name (without suffix for a video).
        numbered: Its frames by the numbers in their names, None for a video.
    """

    path: Path
    names: tuple[str, ...]
    numbered: Mapping[int, Path] | None = None

    @property
    def name(self) -> str:
        """Where it is within the release."""
        return "/".join(self.names)


def find_videos(folders: Iterable[Folder], subject: re.Pattern) -> dict[str, list[Recording]]:
    """Videos by subject (upper case), which the pattern finds in their names."""
    videos: dict[str, list[Recording]] = {}
    for folder in folders:
        for path in folder.files_with(VIDEO_SUFFIXES):
            if match := subject.search(path.stem):
                videos.setdefault(match[0].upper(), []).append(Recording(path, (*folder.parts, path.stem)))
    return videos


def find_frame_folders(folders: Iterable[Folder], subject: re.Pattern) -> dict[str, list[Recording]]:
    """Folders of numbered pictures by subject (upper case), which the pattern finds in a name on their path.

    The innermost name that matches counts.

    Raises:
        RawDataError: if two pictures in a folder have the same number.
    """
    found: dict[str, list[Recording]] = {}
    for folder in folders:
        subjects = [match[0].upper() for part in folder.parts if (match := subject.search(part))]
        if subjects and folder.has_files_with(IMAGE_SUFFIXES) and (numbered := number_pictures(folder, LAST_NUMBER)):
            found.setdefault(subjects[-1], []).append(Recording(folder.path, folder.parts, numbered))
    return found


def choose_recordings(
    found: Mapping[str, Sequence[Recording]], is_wanted: Callable[[Recording], bool] = lambda recording: True
) -> dict[str, Recording]:
    """The one wanted recording of each subject that has one.

    Raises:
        RawDataError: if a subject has several.
    """
    chosen = {}
    for subject, recordings in found.items():
        wanted = [recording for recording in recordings if is_wanted(recording)]
        if len(wanted) > 1:
            raise RawDataError(
                f"{subject} has pictures in {wanted[0].path} and in {wanted[1].path}. Remove one, or pass a "
                "`data_dir` that holds only one."
            )
        if wanted:
            chosen[subject] = wanted[0]
    return chosen


def prefer_videos(
    videos: Mapping[str, Recording], frame_folders: Mapping[str, Recording], notes: list[str]
) -> dict[str, Recording]:
    """The video of each subject, or else its frames; adds a note if some subject has both."""
    if both := sorted(videos.keys() & frame_folders.keys()):
        notes.append(
            f"Where there are both, videos are used, not extracted frames as in {frame_folders[both[0]].name}."
        )
    return {**frame_folders, **videos}


def find_frame_base(
    recordings: Mapping[str, Recording], last_frames: Mapping[str, int]
) -> tuple[set[int], str] | None:
    """Infers whether extracted frames count from 0 or from 1. Labels count from 1.

    A recording with a picture 0 counts from 0. One without, whose last picture has the number of its last label,
    counts from 1, provided that more recordings end this way than one picture earlier: that is where recordings end
    that count from 0 and lack their first picture. All others are inconclusive: they may lack pictures, or have more
    pictures than labels.

    Args:
        recordings: Recording of each subject.
        last_frames: Last label frame of each subject that has labels.

    Returns:
        The inferred frame bases (0, 1, both or none), and the evidence in words. None if there are no extracted frames
        with labels.
    """
    spans = {
        subject: (min(recordings[subject].numbered), max(recordings[subject].numbered), last)
        for subject, last in last_frames.items()
        if subject in recordings and recordings[subject].numbered
    }
    if not spans:
        return None
    ends = Counter(last_number - last_frame for first, last_number, last_frame in spans.values() if first)
    witnesses: dict[int, str] = {}
    for subject, (first_number, last_number, last_frame) in spans.items():
        if first_number == 0:
            witnesses.setdefault(0, subject)
        elif last_number == last_frame and ends[0] > ends[-1]:
            witnesses.setdefault(1, subject)
    evidence = "; ".join(
        f"{subject} has pictures {spans[subject][0]} to {spans[subject][1]} and labels up to frame {spans[subject][2]}"
        for subject in [witnesses[base] for base in sorted(witnesses)] or list(spans)[:3]
    )
    return set(witnesses), evidence


def make_source(recording: Recording, frames: Sequence[int], frame_base: int) -> FrameSource:
    """The pictures of `frames`, which count from 1; extracted frames count from `frame_base`."""
    if recording.numbered is None:
        return VideoFile(recording.path)
    numbers = {frame: frame - 1 + frame_base for frame in frames}
    paths = {frame: recording.numbered[number] for frame, number in numbers.items() if number in recording.numbered}
    return ImageFiles(paths, recording.path)

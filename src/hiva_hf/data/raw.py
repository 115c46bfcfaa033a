"""What the readers of the original releases return: labels in memory, pictures still on disk."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray


ProblemKind = Literal[
    "no labels",  # a label file without a row
    "no pictures",  # a labelled sequence whose video or folder is absent
    "missing frame",  # a labelled frame that the folder or the video lacks
    "unreadable frame",  # a picture or a part of a video that can't be decoded
    "no face",  # a frame in which the detector finds nothing
    "no labelled frame",  # pictures of a sequence that has no labels
]


class RawDataError(ValueError):
    """A release can't be used as it is. The message names the file and the line, and says what to do."""


@dataclass(frozen=True)
class Problem:
    """Something that leads to missing rows; the report lists all of them.

    Attributes:
        kind: Kind of problem.
        where: The file or folder, relative to the release where possible.
        subject: The subject concerned.
        task: The recording of the subject, empty for sets with one each.
        frame: Number of the frame in the label file, None if a whole sequence is concerned.
        detail: Message of the reader or decoder, if there is one.
    """

    kind: ProblemKind
    where: str
    subject: str = ""
    task: str = ""
    frame: int | None = None
    detail: str = ""


class FrameReadError(Exception):
    """A frame can't be read: `kind` and `detail` of the reported [`Problem`], and the file concerned."""

    def __init__(self, kind: ProblemKind, where: Path, detail: str = ""):
        super().__init__(f"{kind}: {where}: {detail}")
        self.kind = kind
        self.where = where
        self.detail = detail

    def __reduce__(self):
        # By default, exceptions with several arguments can't be sent from a worker process.
        return type(self), (self.kind, self.where, self.detail)


class FrameSource(Protocol):
    """The pictures of one sequence, by the frame numbers of its label file.

    It can be pickled, and opens files only in `read`.
    """

    @property
    def files(self) -> Sequence[Path]:
        """All files that are read: preparation detects changed raw data by their sizes and modification times."""
        ...

    def read(self, frames: Sequence[int]) -> Iterator[NDArray[np.uint8] | FrameReadError]:
        """Yields the picture of each of `frames` (ascending): RGB `uint8` `[height, width, 3]`, or the error."""
        ...


@dataclass(frozen=True, eq=False)
class RawSequence:
    """One recording with its labels.

    Attributes:
        subject: Name of the subject, as the set spells it (F001, SN001, 001A).
        task: The recording of the subject (T1), empty for sets with one each.
        part: Part that the subject belongs to; fold k tests part k.
        frames: `[n]` int32, numbers as in the label file, strictly ascending.
        labels: `[n, N]` int8: 0, 1 or -100 for missing.
        intensities: `[n, N]` int8: 0 to 5 or -100 for missing.
        source: Its pictures.
    """

    subject: str
    task: str
    part: int
    frames: NDArray[np.int32]
    labels: NDArray[np.int8]
    intensities: NDArray[np.int8]
    source: FrameSource

    @property
    def name(self) -> str:
        """Unique in its set and valid as a file name: `F001_T1`, `SN001`."""
        return f"{self.subject}_{self.task}" if self.task else self.subject


@dataclass(frozen=True, eq=False)
class RawDataset:
    """A release as it was found on disk.

    Attributes:
        name: Name of the set: "bp4d", "disfa", "gft" or "custom".
        aus: AUs of the label columns.
        root: The release's folder.
        sequences: Sorted by name.
        problems: Problems found while reading the labels; pictures are not opened before the preparation.
        settings: The options that were used, such as `{"camera": "left", "frame_base": 1}`; JSON-serialisable.
        notes: Findings and decisions for the report, one sentence each ("Frames of SN001 ... count from 0.").
    """

    name: str
    aus: tuple[int, ...]
    root: Path
    sequences: Sequence[RawSequence]
    problems: Sequence[Problem] = ()
    settings: Mapping[str, object] = field(default_factory=dict)
    notes: Sequence[str] = ()

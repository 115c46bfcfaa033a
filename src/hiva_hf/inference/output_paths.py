"""What the files are called that are written for each source, and whether two names mean one file."""

import contextlib
import hashlib
import os
import re
from collections import Counter
from collections.abc import Hashable, Sequence
from pathlib import Path, PurePath

from ..image_loading import URL_SCHEMES


def openface_paths(folder: Path, sources: Sequence[str]) -> dict[str, Path]:
    """The table of each source: its name with the ending .csv, in sub-folders if the sources lie in several folders.

    Where two sources differ by their ending only, or by case, it stays in the name ("smile.jpg.csv"), as it does where
    the shorter name would be that of another source.
    """
    places = dict(zip(sources, below_common_folder([_place(source) for source in sources]), strict=True))
    # Those of whole names as well: that of "a.jpg" is the stem of "a.jpg.webp".
    stems = {source: _without_ending(place) for source, place in places.items()}
    # Without case, as most disks of Windows and macOS are.
    counts = Counter(
        name for source, place in places.items() for name in {_without_case(place), _without_case(stems[source])}
    )
    return {
        source: folder / f"{stems[source] if counts[_without_case(stems[source])] == 1 else place}.csv"
        for source, place in places.items()
    }


def paths_below(folder: Path, sources: Sequence[str]) -> dict[str, Path]:
    """For each source a path without an ending, unlike all others."""
    return {source: path.with_suffix("") for source, path in openface_paths(folder, sources).items()}


def below_common_folder(paths: Sequence[PurePath]) -> list[PurePath]:
    """Paths as they are within the folder that all of them share.

    Args:
        paths: Absolute ones of files. On Windows those on several drives share no folder; there the drive becomes one.
    """
    num_shared = len(os.path.commonprefix([path.parent.parts for path in paths]))
    if num_shared:
        return [type(path)(*path.parts[num_shared:]) for path in paths]
    return [type(path)(re.sub(r"\W+", "_", path.drive).strip("_"), *path.parts[1:]) for path in paths]


def identity_of(path: str | os.PathLike) -> Hashable:
    """The same for all spellings of a file or folder that is there.

    On disks without case, names differ in case or in how their accents are written; folders can be mounted twice.
    """
    place = os.path.realpath(path)
    with contextlib.suppress(OSError):
        status = os.stat(place)
        if status.st_ino:
            return status.st_dev, status.st_ino
    return place


def _place(source: str) -> Path:
    if source.startswith("data:"):
        # The photo itself.
        source = f"data-{hashlib.sha256(source.encode()).hexdigest()[:16]}"
    elif source.startswith(URL_SCHEMES):
        # Not all that may be in an address may be in names on Windows.
        source = re.sub(r'[%<>:"|?*\\]', lambda character: f"%{ord(character[0]):02X}", source)
    return Path(os.path.abspath(source))


def _without_ending(place: PurePath) -> PurePath:
    # Of "..jpg" a dot would stay, which names no file.
    return place.with_suffix("") if place.stem.strip(".") else place


def _without_case(place: PurePath) -> str:
    return str(place).casefold()

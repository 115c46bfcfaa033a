"""Names of the files that are written for each source, and whether two paths are the same file."""

import contextlib
import hashlib
import os
import re
from collections import Counter
from collections.abc import Hashable, Sequence
from pathlib import Path, PurePath

from ..image_loading import URL_SCHEMES


# Most file systems allow 255 bytes, endings included.
_MAX_PART_BYTES = 200
# Of longer parts. In UTF-8 a character has up to four bytes.
_KEPT_CHARACTERS = 40


def openface_paths(folder: Path, sources: Sequence[str]) -> dict[str, Path]:
    """The table of each source: its name with the extension .csv, in sub-folders if there are several folders.

    The extension of the source is kept ("smile.jpg.csv") where two sources differ only by extension or case, or where
    the name without it is that of another source.
    """
    places = dict(zip(sources, below_common_folder([_place(source) for source in sources]), strict=True))
    # Whole names count as well: "a.jpg" is the stem of "a.jpg.webp".
    stems = {source: _without_ending(place) for source, place in places.items()}
    # Most file systems of Windows and macOS ignore case.
    counts = Counter(
        name for source, place in places.items() for name in {_without_case(place), _without_case(stems[source])}
    )
    return {
        source: folder / f"{stems[source] if counts[_without_case(stems[source])] == 1 else place}.csv"
        for source, place in places.items()
    }


def paths_below(folder: Path, sources: Sequence[str]) -> dict[str, Path]:
    """A unique path without extension for each source."""
    return {source: path.with_suffix("") for source, path in openface_paths(folder, sources).items()}


def below_common_folder(paths: Sequence[PurePath]) -> list[PurePath]:
    """The paths relative to the deepest folder that contains all of them.

    Args:
        paths: Absolute paths of files. On Windows, paths on several drives share no folder: the drive becomes one.
    """
    num_shared = len(os.path.commonprefix([path.parent.parts for path in paths]))
    if num_shared:
        return [type(path)(*path.parts[num_shared:]) for path in paths]
    return [type(path)(re.sub(r"\W+", "_", path.drive).strip("_"), *path.parts[1:]) for path in paths]


def identity_of(path: str | os.PathLike) -> Hashable:
    """An identity that is the same for all spellings of the path of an existing file or folder.

    File systems may ignore case or the normalisation of accents, and folders can be mounted twice.
    """
    place = os.path.realpath(path)
    with contextlib.suppress(OSError):
        status = os.stat(place)
        if status.st_ino:
            return status.st_dev, status.st_ino
    return place


def _place(source: str) -> Path:
    if source.startswith("data:"):
        # The source is the whole photo.
        source = f"data-{_digest(source)}"
    elif source.startswith(URL_SCHEMES):
        # Some characters of URLs are not allowed in file names on Windows.
        source = re.sub(r'[%<>:"|?*\\]', lambda character: f"%{ord(character[0]):02X}", source)
        source = "/".join(map(_shortened, source.split("/")))
    return Path(os.path.abspath(source))


def _shortened(part: str) -> str:
    """A part of an address as a file name: a signed one may be longer than names can be."""
    if len(os.fsencode(part)) <= _MAX_PART_BYTES:
        return part
    return f"{part[:_KEPT_CHARACTERS]}-{_digest(part)}"


def _digest(text: str) -> str:
    # Of all that a command line can hold, even what is no valid text.
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:16]


def _without_ending(place: PurePath) -> PurePath:
    # "..jpg" would leave a dot, which is no file name.
    return place.with_suffix("") if place.stem.strip(".") else place


def _without_case(place: PurePath) -> str:
    return str(place).casefold()

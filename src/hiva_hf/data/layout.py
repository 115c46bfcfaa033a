"""List the files in the folder of a release, without clutter, and pictures by their numbers."""

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..listings import first_of
from .raw import RawDataError


IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png")
VIDEO_SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv")
_ARCHIVE_SUFFIXES = (".7z", ".gz", ".rar", ".tar", ".tgz", ".zip")
# Left behind by macOS's archiver, next to each real file.
_CLUTTER = "__MACOSX"
_NUM_LISTED = 12


@dataclass(frozen=True)
class Folder:
    """One folder of a release.

    Attributes:
        path: Where it is.
        parts: Names of the folders from the release down to this one, empty for the release itself.
        files: Names of its files, sorted.
    """

    path: Path
    parts: tuple[str, ...]
    files: tuple[str, ...]

    def files_with(self, suffixes: Sequence[str]) -> list[Path]:
        """Its files with one of `suffixes` (lower case), ignoring case."""
        return [self.path / name for name in self.files if _suffix(name) in suffixes]

    def has_files_with(self, suffixes: Sequence[str]) -> bool:
        """Whether one of its files has one of `suffixes` (lower case), ignoring case."""
        return any(_suffix(name) in suffixes for name in self.files)


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def check_data_dir(data_dir: str | Path) -> Path:
    """Returns the folder, or raises a RawDataError that says what is there instead."""
    path = Path(data_dir).expanduser()
    if path.is_dir():
        return path
    found = "a file; pass the folder into which the release was unpacked" if path.exists() else "not there"
    raise RawDataError(f"`data_dir` must be the folder of a release, but {path} is {found}.")


def scan_folders(root: Path, depth: int) -> list[Folder]:
    """Lists `root` and the folders up to `depth` levels below it, sorted by path, without hidden files and folders.

    Raises:
        OSError: if a folder can't be listed.
    """
    folders = []
    for path, names, files in os.walk(root, followlinks=True, onerror=_raise):
        parts = Path(path).relative_to(root).parts
        folders.append(Folder(Path(path), parts, tuple(sorted(name for name in files if _is_visible(name)))))
        names[:] = sorted(name for name in names if _is_visible(name)) if len(parts) < depth else []
    return sorted(folders, key=lambda folder: folder.parts)


def _is_visible(name: str) -> bool:
    return not name.startswith(".") and name != _CLUTTER


def _raise(error: OSError) -> None:
    raise error


def describe_contents(folders: Iterable[Folder]) -> str:
    """Describes the contents of the release's folder, with its archives, for messages about what is missing."""
    folders = list(folders)
    root = folders[0]
    names = sorted({f"{folder.parts[0]}/" for folder in folders if folder.parts}) + list(root.files)
    listed = first_of(names, _NUM_LISTED) or "nothing"
    archives = [path.name for folder in folders for path in folder.files_with(_ARCHIVE_SUFFIXES)]
    remedy = f" Unpack the archives first ({', '.join(archives[:3])} ...)." if archives else ""
    return f"{root.path} holds {listed}.{remedy}"


def number_pictures(folder: Folder, pattern: str) -> dict[int, Path]:
    """The pictures of a folder by number, ascending.

    Args:
        folder: The folder.
        pattern: Regular expression that finds the number in a file name without suffix, as its first group. Pictures
            whose names don't match are left out.

    Raises:
        RawDataError: if two pictures have the same number.
    """
    numbered: dict[int, Path] = {}
    for path in folder.files_with(IMAGE_SUFFIXES):
        match = re.search(pattern, path.stem)
        if match is None:
            continue
        number = int(match[1])
        if number in numbered:
            raise RawDataError(
                f"{folder.path} has two pictures with number {number}: {numbered[number].name} and {path.name}. "
                "Remove one of them."
            )
        numbered[number] = path
    return dict(sorted(numbered.items()))


# The number may be padded with zeros; in `LAST_NUMBER`, other text may precede it.
WHOLE_STEM = r"^\s*(\d+)\s*$"
LAST_NUMBER = r"(\d+)\D*$"


def name_within(path: Path, root: Path) -> str:
    """Name of a file in reports and stored data: relative to the release, which may be moved, with forward slashes.

    Undecodable bytes, as in names from old archives, become `\\xe9`.
    """
    try:
        path = Path(os.path.relpath(path, root))
    except ValueError:
        # Another drive of Windows. Reports may be published: they must not tell where files are on this machine.
        path = Path(path.name)
    return os.fsencode(path.as_posix()).decode("utf-8", "backslashreplace")

"""Files and folders that are written completely or not at all, even after a crash or a power cut."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4


UNFINISHED_SUFFIX = ".unfinished"
_IS_WINDOWS = os.name == "nt"


def write_text(path: Path, text: str):
    """Writes a UTF-8 file in one step, replacing an existing one; creates missing parent folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, lambda unfinished: unfinished.write_text(text, encoding="utf-8", newline="\n"))


def write_bytes(path: Path, data: bytes):
    """Writes a file in one step, replacing an existing one. Its folder must exist."""
    write_file(path, lambda unfinished: unfinished.write_bytes(data))


def write_file(path: Path, write: Callable[[Path], object]):
    """Writes a file under a temporary name, flushes it to disk, then renames it, replacing an existing one.

    If it can't be written, as on a full disk, nothing of it is left.

    Args:
        path: Its final name; its folder must exist.
        write: Writes a file of the name that it is given; what it returns is ignored.
    """
    unfinished = path.with_name(path.name + UNFINISHED_SUFFIX)
    try:
        write(unfinished)
        _flush(unfinished)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    _flush(path.parent)


def write_folder(folder: Path, write: Callable[[Path], None]):
    """Fills a folder under a temporary name, flushes it to disk, then renames it, replacing an existing one.

    Args:
        folder: Its final name.
        write: Writes the content into the folder that it is given.
    """
    unfinished = folder.with_name(folder.name + UNFINISHED_SUFFIX)
    replaced = folder.with_name(folder.name + ".replaced")
    shutil.rmtree(replaced, ignore_errors=True)
    _write_unfinished(unfinished, write)
    if folder.exists():
        folder.rename(replaced)
    unfinished.rename(folder)
    _flush(folder.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def fill_folder(folder: Path, write: Callable[[Path], None], last: str):
    """As [`write_folder`], but replaces nothing, and keeps an existing empty folder: a mount point, or a link.

    Args:
        folder: Empty, or not existing.
        write: Writes the files into the folder that it is given.
        last: Name of the file without which the others are useless: it is moved last.

    Raises:
        FileExistsError: if something else was written to it in the meantime.
    """
    if not folder.exists():
        # Another process may be filling a folder of the same name. In containers, all may have the same id.
        unfinished = folder.with_name(f"{folder.name}.{uuid4().hex}{UNFINISHED_SUFFIX}")
        _write_unfinished(unfinished, write)
        _rename_if_free(unfinished, folder)
        _flush(folder.parent)
        return
    with TemporaryDirectory(dir=folder, prefix=".") as scratch:
        write(Path(scratch))
        if [path for path in folder.iterdir() if path != Path(scratch)]:
            raise _came_meanwhile(folder)
        files = sorted(Path(scratch).iterdir(), key=lambda file: file.name == last)
        for file in files:
            _flush(file)
            file.rename(folder / file.name)
    _flush(folder)


def _write_unfinished(unfinished: Path, write: Callable[[Path], None]):
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        write(unfinished)
        for path in unfinished.rglob("*"):
            _flush(path)
        _flush(unfinished)
    except BaseException:
        # On a full disk, it would take up the space of what comes next.
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def _rename_if_free(unfinished: Path, folder: Path):
    try:
        unfinished.rename(folder)
    except OSError as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        # An empty folder is replaced, except on Windows.
        if folder.exists():
            raise _came_meanwhile(folder) from error
        raise


def _came_meanwhile(folder: Path) -> FileExistsError:
    return FileExistsError(f"{folder} was filled by another process meanwhile, and stays as it is. Name a new folder.")


def remove_unfinished(parent: Path):
    """Deletes unfinished files and folders that a killed process left behind."""
    for leftover in parent.glob(f"*{UNFINISHED_SUFFIX}"):
        if leftover.is_dir():
            shutil.rmtree(leftover)
        else:
            leftover.unlink()


def _flush(path: Path):
    """Waits until a file, or the names in a folder, are on disk."""
    if _IS_WINDOWS and path.is_dir():
        # Windows can't open folders, and writes their names through.
        return
    # Windows flushes only files that are opened for writing.
    descriptor = os.open(path, os.O_RDWR if _IS_WINDOWS else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network disks flush files, but not folders.
        if error.errno not in (errno.EINVAL, errno.EBADF, errno.ENOTSUP) or not path.is_dir():
            raise
    finally:
        os.close(descriptor)

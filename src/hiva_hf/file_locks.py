"""Locks for folders and files that only one process may write at a time."""

import errno
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout


logger = logging.getLogger(__name__)

LOCK_FILE = ".lock"
# Errors of disks without file locks, such as some network disks.
_NO_LOCKS = frozenset((errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS))
# A file may be writable in a folder that is not, such as one that is mounted into a container.
_NO_LOCK_FILES = frozenset((errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG))


def lock_folder(folder: Path, timeout: float = 0.0) -> FileLock:
    """Keeps other processes out of a folder until the lock is released or this process ends, even by a crash.

    Args:
        folder: An existing folder.
        timeout: Seconds to wait for another process to release it.

    Raises:
        BlockingIOError: If another process holds it.
    """
    lock = FileLock(folder / LOCK_FILE, is_singleton=True)
    try:
        has_locks = _acquire(lock, _NO_LOCKS, timeout)
    except Timeout:
        raise BlockingIOError(
            f"Another process works in {folder} at this moment: wait for it, or use another folder."
        ) from None
    if not has_locks:
        logger.warning("%s is on a disk without file locks: see to it that nothing else works there.", folder)
    return lock


@contextmanager
def locked_output(path: Path) -> Iterator[None]:
    """Keeps other writers away from a file or folder, in this process or another one, while the context is open.

    Args:
        path: A folder, or a file, which need not exist, but whose folder must.

    Raises:
        BlockingIOError: If another writer holds it.
    """
    # One file has one lock, whatever links lead to it.
    target = Path(os.path.realpath(path))
    lock_path = target / LOCK_FILE if target.is_dir() else target.with_name(f".{target.name}{LOCK_FILE}")
    # Tables may be closed by another thread than the one that opened them.
    lock = FileLock(lock_path, thread_local=False)
    try:
        has_lock = _acquire(lock, _NO_LOCKS | _NO_LOCK_FILES)
    except Timeout:
        raise BlockingIOError(
            f"{path} is being written by another process: wait for it, or pass another output."
        ) from None
    if not has_lock:
        logger.warning("%s can't be locked: see to it that nothing else writes it.", path)
        yield
        return
    owner = os.getpid()
    try:
        yield
    finally:
        # A forked process that ends must not release its parent's lock.
        if os.getpid() == owner:
            # Before its release, so that nobody else has it yet. Windows can't delete open files; filelock does later.
            with suppress(OSError):
                lock_path.unlink()
            lock.release()


def _acquire(lock: FileLock, tolerated: frozenset[int], timeout: float = 0.0) -> bool:
    """Acquires a lock; returns False if none can be had because of a tolerated error."""
    try:
        lock.acquire(timeout=timeout)
    except Timeout:
        raise
    except OSError as error:
        if error.errno not in tolerated:
            raise
        return False
    return True

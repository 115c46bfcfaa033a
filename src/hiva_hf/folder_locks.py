"""Folders that one process writes at a time."""

import errno
import logging
from pathlib import Path

from filelock import FileLock, Timeout


logger = logging.getLogger(__name__)

LOCK_FILE = ".lock"
# What disks say that know no locks, such as some network disks.
_NO_LOCKS = frozenset((errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS))


def lock_folder(folder: Path, timeout: float = 0.0) -> FileLock:
    """Keeps other processes out of a folder until the lock is released, or this process ends, however it ends.

    Args:
        folder: It must be there.
        timeout: Seconds to wait for another process to end.

    Raises:
        BlockingIOError: If another process holds it.
    """
    lock = FileLock(folder / LOCK_FILE, is_singleton=True)
    try:
        lock.acquire(timeout=timeout)
    except Timeout:
        raise BlockingIOError(f"Another process works in {folder} at this moment.") from None
    # filelock's word for ENOSYS, in its older versions.
    except (OSError, NotImplementedError) as error:
        if getattr(error, "errno", errno.ENOSYS) not in _NO_LOCKS:
            raise
        logger.warning("%s is on a disk without file locks: see to it that nothing else works there.", folder)
    return lock

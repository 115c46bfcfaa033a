"""Prepare chunks, in this process or in several; however that ends, only complete shards are left."""

import errno
import itertools
import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.sharedctypes import Synchronized

from tqdm.auto import tqdm

from ..face_detection import import_cv2
from ..worker_processes import end_with_parent
from .crops import ChunkPreparer, Pictures, read_pictures
from .shards import Chunk, ShardState


# Reaching a quota or a limit on file sizes is treated like a full disk.
_DISK_FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
_REFRESH_SECONDS = 0.5
# Windows can't wait for more processes than this.
_MAX_PROCESSES = 61 if sys.platform == "win32" else None
# With fewer, processes would be idle at the end, while one works on the last video.
_MIN_GROUPS_PER_PROCESS = 4


class ChunkError(RuntimeError):
    """A shard could not be made.

    Args:
        name: Name of the shard.
        reason: Why it could not be made.
        is_disk_full: Whether freeing disk space would help.
    """

    def __init__(self, name: str, reason: str, is_disk_full: bool = False):
        super().__init__(name, reason, is_disk_full)
        self.name = name
        self.reason = reason
        self.is_disk_full = is_disk_full


class WorkerDiedError(RuntimeError):
    """A worker process died without raising an error."""


def is_disk_full(error: OSError) -> bool:
    """Whether the disk is full, or a limit on file sizes or the user's quota is reached."""
    return error.errno in _DISK_FULL


def prepare_chunks(
    chunks: Sequence[Chunk], preparer: ChunkPreparer, num_proc: int, progress: tqdm
) -> dict[str, ShardState]:
    """Makes a shard of each chunk.

    Args:
        chunks: Chunks to prepare.
        preparer: Makes the shards.
        num_proc: Number of processes; 1 uses this one. The shards don't depend on it.
        progress: Is advanced by one for each frame.

    Returns:
        States of the shards by name.

    Raises:
        ChunkError: if a shard can't be made. Others may have been finished.
        WorkerDiedError: if a process was killed, as happens when memory runs out.
    """
    num_proc = min(num_proc, len(chunks), _MAX_PROCESSES or num_proc)
    if num_proc > 1:
        return _prepare_in_pool(chunks, preparer, num_proc, progress)
    return _prepare_here(chunks, preparer, progress)


def _prepare_here(chunks: Sequence[Chunk], preparer: ChunkPreparer, progress: tqdm) -> dict[str, ShardState]:
    cv2 = import_cv2()
    num_threads = cv2.getNumThreads()
    # As in a worker: one process, one core.
    cv2.setNumThreads(1)
    try:
        states = {}
        for group in group_chunks(chunks, num_proc=1):
            states |= _prepare_group(group, preparer, progress.update)
        return states
    finally:
        cv2.setNumThreads(num_threads)


def group_chunks(chunks: Sequence[Chunk], num_proc: int) -> list[tuple[Chunk, ...]]:
    """Groups the chunks; each group goes to one process.

    A video is decoded from its start, whichever frames are wanted. If there are enough videos to keep all processes
    busy, all chunks of a video form a group, so that it is decoded once. Otherwise each chunk is its own group.
    """
    # Each chunk of picture files has its own source.
    by_video = itertools.groupby(chunks, key=lambda chunk: (chunk.sequence.name, chunk.sequence.source))
    videos = [tuple(group) for _, group in by_video]
    if num_proc == 1 or len(videos) >= _MIN_GROUPS_PER_PROCESS * num_proc:
        return videos
    return [(chunk,) for chunk in chunks]


def _prepare_group(
    group: Sequence[Chunk], preparer: ChunkPreparer, after_frame: Callable[[], object]
) -> dict[str, ShardState]:
    pictures = read_pictures(group)
    return {chunk.name: _prepare_one(chunk, pictures, preparer, after_frame) for chunk in group}


def _prepare_one(
    chunk: Chunk, pictures: Pictures, preparer: ChunkPreparer, after_frame: Callable[[], object]
) -> ShardState:
    try:
        return preparer(chunk, pictures, after_frame)
    except OSError as error:
        raise ChunkError(chunk.name, f"{type(error).__name__}: {error}", is_disk_full(error)) from error
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        reason = f"{type(error).__name__}: {error} ({os.path.basename(place.filename)}, line {place.lineno})"
        raise ChunkError(chunk.name, reason) from error


def _prepare_in_pool(
    chunks: Sequence[Chunk], preparer: ChunkPreparer, num_proc: int, progress: tqdm
) -> dict[str, ShardState]:
    # Workers are spawned, so that none inherits the threads of OpenCV or a partly loaded network.
    context = multiprocessing.get_context("spawn")
    counter = context.Value("q", 0)
    strangers = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(num_proc, context, _start_worker, (preparer, counter))
    states = {}
    try:
        with _interrupts_held_back():
            waiting = {pool.submit(_prepare_in_worker, group) for group in group_chunks(chunks, num_proc)}
        shown = 0
        while waiting:
            done, waiting = wait(waiting, _REFRESH_SECONDS, FIRST_COMPLETED)
            for job in done:
                states |= job.result()
            # Read without the lock, which a killed worker may still hold.
            counted = counter.get_obj().value
            progress.update(counted - shown)
            shown = counted
    except BaseException as error:
        # After an error or Ctrl-C, unfinished chunks are discarded: workers can be terminated at any moment.
        for worker in set(multiprocessing.active_children()) - strangers:
            worker.terminate()
        if isinstance(error, BrokenProcessPool):
            raise WorkerDiedError from error
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return states


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Processes started inside inherit a blocked SIGINT: Ctrl-C does not reach them, the parent ends them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_preparer: ChunkPreparer | None = None
_counter: Synchronized | None = None


def _start_worker(preparer: ChunkPreparer, counter: Synchronized) -> None:
    global _preparer, _counter
    _preparer, _counter = preparer, counter
    import_cv2().setNumThreads(1)
    end_with_parent()


def _prepare_in_worker(group: Sequence[Chunk]) -> dict[str, ShardState]:
    return _prepare_group(group, _preparer, _count_frame)


def _count_frame() -> None:
    with _counter.get_lock():
        _counter.value += 1

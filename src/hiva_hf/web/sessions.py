"""State of the page's visitors during their visit: files, and videos being processed."""

import shutil
import tempfile
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Sessions:
    """Files and running videos of each visitor, by Gradio's session hash.

    Args:
        folder: Folder for results, which are kept until their visitor leaves.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._files: dict[str, set[Path]] = defaultdict(set)
        self._running: dict[str, threading.Event] = {}
        self._lock = threading.Lock()
        self._is_closed = False

    def keep_until_left(self, session: str, path: str | Path) -> None:
        """Registers a file or folder to delete when the visitor leaves."""
        with self._lock:
            self._files[session].add(Path(path))

    def new_folder(self, session: str) -> Path:
        """Creates a folder for results, which is deleted when the visitor leaves."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = Path(tempfile.mkdtemp(prefix="hiva-", dir=self._folder))
        self.keep_until_left(session, path)
        return path

    @contextmanager
    def running_video(self, session: str) -> Iterator[threading.Event]:
        """Stops the visitor's previous video and registers a new one, which must end when the event is set."""
        stop = threading.Event()
        with self._lock:
            if session in self._running:
                self._running[session].set()
            self._running[session] = stop
            if self._is_closed:
                stop.set()
        try:
            yield stop
        finally:
            with self._lock:
                if self._running.get(session) is stop:
                    del self._running[session]

    def stop_video(self, session: str) -> None:
        """Stops the visitor's video, if there is one; its results so far are kept."""
        with self._lock:
            if session in self._running:
                self._running[session].set()

    def leave(self, session: str) -> None:
        """Stops a visitor's video and deletes all files."""
        self.stop_video(session)
        with self._lock:
            files = self._files.pop(session, set())
            # Gradio stores the same upload of two visitors as one file.
            files -= set().union(*self._files.values())
        for path in files:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    def close(self) -> None:
        """Stops all videos and deletes all files when the server stops."""
        with self._lock:
            self._is_closed = True
            sessions = {*self._running, *self._files}
        for session in sessions:
            self.leave(session)

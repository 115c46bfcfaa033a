"""What worker processes have in common."""

import multiprocessing
import os
import threading


def end_with_parent() -> None:
    """Ends this worker when its parent is killed: an orphan would continue to write, or wait for work forever."""
    threading.Thread(target=_wait_for_end_of_parent, daemon=True).start()


def _wait_for_end_of_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)

"""Ctrl-C, SIGTERM and the end of the terminal during training.

The step is finished, a checkpoint saved, and the run says how to resume.
"""

import logging
import signal
import threading


logger = logging.getLogger(__name__)

# Closing a terminal, or losing the connection to it, sends SIGHUP, which Windows does not have.
_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class TrainingInterrupted(RuntimeError):
    """Training was asked to stop and has saved a checkpoint.

    Attributes:
        signal_number: The signal that asked for it, such as SIGINT.
    """

    def __init__(self, message: str, signal_number: int):
        super().__init__(message)
        self.signal_number = signal_number

    @property
    def exit_code(self) -> int:
        """The exit code that shells expect of a process ended by this signal, such as 130."""
        return 128 + self.signal_number


class StopRequest:
    """Within its context, Ctrl-C, SIGTERM and SIGHUP do not end the process, but are remembered.

    Repeated signals have no effect: launchers forward signals that the terminal has already sent to their processes.
    To stop at once, kill the process, which loses no more than the steps since the last checkpoint.
    """

    def __init__(self):
        self.signal_number: int | None = None
        self._previous = {}
        self._depth = 0

    @property
    def is_set(self) -> bool:
        return self.signal_number is not None

    @property
    def reported_signal(self) -> int:
        """The signal that ends the run; it may have reached another process of it."""
        return self.signal_number or signal.SIGTERM

    def __enter__(self) -> "StopRequest":
        self._depth += 1
        # Python handles signals in the main thread only; in other threads, the caller decides when training ends.
        if self._depth == 1 and threading.current_thread() is threading.main_thread():
            handled = [number for number in _SIGNALS if not _outlives_terminal(number)]
            self._previous = {number: signal.signal(number, self._remember) for number in handled}
        return self

    def __exit__(self, *exception):
        self._depth -= 1
        if self._depth == 0:
            for number, handler in self._previous.items():
                signal.signal(number, handler)

    def _remember(self, number: int, frame):
        if not self.is_set:
            logger.warning("%s: finishing this step and saving.", signal.Signals(number).name)
        self.signal_number = number


def _outlives_terminal(number: int) -> bool:
    """Whether it is the end of a terminal that must not end training, as with nohup."""
    return number not in (signal.SIGINT, signal.SIGTERM) and signal.getsignal(number) is signal.SIG_IGN


def ignore_in_worker(worker_id: int):
    """Makes data loading workers ignore signals: Ctrl-C reaches them too, but the step still needs their faces."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)

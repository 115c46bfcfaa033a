"""Ctrl-C and SIGTERM during training: the step is finished, the state saved, and the run says how to go on."""

import logging
import signal
import threading


logger = logging.getLogger(__name__)

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class TrainingInterrupted(RuntimeError):
    """Training was asked to stop and has saved its state.

    Attributes:
        signal_number: What asked for it, SIGINT or SIGTERM.
    """

    def __init__(self, message: str, signal_number: int):
        super().__init__(message)
        self.signal_number = signal_number

    @property
    def exit_code(self) -> int:
        """What a shell expects of a process that ends because of this signal: 130 or 143."""
        return 128 + self.signal_number


class StopRequest:
    """Within its context a Ctrl-C or SIGTERM ends nothing by itself, but is remembered.

    A signal that comes again changes nothing either: launchers pass on to their processes what the terminal has sent
    them already. Whoever can't wait kills the process, which loses no more than the steps since the last state.
    """

    def __init__(self):
        self.signal_number: int | None = None
        self._previous = {}
        self._depth = 0

    @property
    def is_set(self) -> bool:
        return self.signal_number is not None

    def __enter__(self) -> "StopRequest":
        self._depth += 1
        # Python lets the main thread alone handle signals; in another one its caller decides when training ends.
        if self._depth == 1 and threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._remember) for number in _SIGNALS}
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


def ignore_in_worker(worker_id: int):
    """For processes that load data: a Ctrl-C in a terminal reaches them too, but the step still needs their faces."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)

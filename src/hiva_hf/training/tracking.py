"""TensorBoard and trackio, through Accelerate."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.util import find_spec

from accelerate import Accelerator

from ..extras import install_command
from .arguments import AUTrainingArguments


TRACKERS = ("tensorboard", "trackio")
_PROJECT = "hiva-hf"


def check_trackers(report_to: Sequence[str]) -> list[str]:
    """The trackers that a run reports to.

    Raises:
        ValueError: if one is not known.
        ImportError: if one is not installed; the message says how to install it.
    """
    wanted = [name for name in report_to if name != "none"]
    for name in wanted:
        if name not in TRACKERS:
            raise ValueError(f"`report_to` names {name!r}, but it must be one of {', '.join(TRACKERS)} or none.")
        if find_spec(name) is None:
            raise ImportError(f"`report_to` names {name}, which is not installed: {install_command('tracking')}.")
    return wanted


def start_trackers(accelerator: Accelerator, arguments: AUTrainingArguments):
    """Opens the run in each tracker, with its settings."""
    if accelerator.log_with:
        # TensorBoard only accepts numbers, text and booleans.
        settings = {
            name: value if isinstance(value, (bool, int, float, str)) else str(value)
            for name, value in asdict(arguments).items()
        }
        accelerator.init_trackers(_PROJECT, config=settings)


def log(accelerator: Accelerator, prefix: str, values: Mapping[str, object], step: int):
    """Reports numbers under `prefix/name`; undefined and other values are left out."""
    numbers = {
        f"{prefix}/{name}": value
        for name, value in values.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    }
    accelerator.log(numbers, step=step)


def finish_trackers(accelerator: Accelerator):
    """Closes the run in each tracker; the processes continue."""
    for tracker in accelerator.trackers:
        tracker.finish()
    accelerator.trackers.clear()

"""The run of each model."""

from .arguments import AUTrainingArguments
from .hiva_runs import HiVATrainingRun
from .runs import TrainingRun
from .vl_fau_runs import VLFAUTrainingRun


_RUNS = {"hiva": HiVATrainingRun, "vl_fau": VLFAUTrainingRun}


def make_run(arguments: AUTrainingArguments) -> TrainingRun:
    """Creates the run of the model that the settings name."""
    return _RUNS[arguments.model](arguments)

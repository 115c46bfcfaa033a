"""The folder of a finished training run, as far as publishing needs it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from transformers import AutoConfig, PreTrainedConfig
from transformers.utils import CONFIG_NAME, IMAGE_PROCESSOR_NAME

from ..data.visibility import needs_confirmation
from ..training.run_folder import ENVIRONMENT_FILE, RESULTS_FILE, SETTINGS_FILE, read_json


WEIGHTS = "model*.safetensors"
# The stage-2 network with its text encoder, from which training can be continued.
TRAINING_CHECKPOINT = "stage2"


@dataclass(frozen=True)
class FinishedRun:
    """The folder of a run that has been trained and tested.

    Attributes:
        path: Path of the folder.
        results: Its `all_results.json`.
        config: The configuration of its detector.
        settings: Its `settings.yaml`, empty if there is none.
        environment: Its `environment.json`, empty if there is none.
    """

    path: Path
    results: Mapping[str, Any]
    config: PreTrainedConfig
    settings: Mapping[str, Any]
    environment: Mapping[str, Any]

    @property
    def reads_descriptions(self) -> bool:
        """Whether a text encoder reads descriptions of the AUs: a VL-FAU has none, nor have two of HiVA's variants."""
        return self.config.model_type == "hiva" and self.config.reads_descriptions

    @property
    def dataset(self) -> str:
        """The data set on which it was tested."""
        return self.results["dataset"]

    @property
    def training_datasets(self) -> list[str]:
        """All data sets on which it was trained."""
        return list(self.results.get("training_datasets", [self.dataset]))

    @property
    def is_restricted(self) -> bool:
        """Whether it used licensed faces, or faces whose licence only the user knows."""
        return any(needs_confirmation(name) for name in {self.dataset, *self.training_datasets})


def read_finished_run(run_dir: str | Path) -> FinishedRun:
    """Reads the folder of a run, without its weights.

    Args:
        run_dir: The folder that `examples/train.py` wrote.

    Raises:
        FileNotFoundError: if the run does not exist or is not finished.
        ValueError, OSError, StrictDataclassError: if one of its files is invalid.
    """
    path = Path(run_dir).expanduser()
    if not path.is_dir():
        raise FileNotFoundError(f"There is no folder {path}. Pass the folder of a training run.")
    for name in (RESULTS_FILE, CONFIG_NAME, IMAGE_PROCESSOR_NAME):
        if not (path / name).is_file():
            raise FileNotFoundError(
                f"{path} has no {name}, so it is not the folder of a finished run. Finish it with its own command and "
                "`--resume_from_checkpoint true`."
            )
    if not list(path.glob(WEIGHTS)):
        raise FileNotFoundError(f"{path} has no weights ({WEIGHTS}). Only safetensors are published.")
    results = read_json(path / RESULTS_FILE)
    if "dataset" not in results:
        raise ValueError(f"{path / RESULTS_FILE} does not say which `dataset` the run was tested on.")
    settings = path / SETTINGS_FILE
    return FinishedRun(
        path=path,
        results=results,
        config=AutoConfig.from_pretrained(path),
        settings=yaml.safe_load(settings.read_text(encoding="utf-8")) if settings.is_file() else {},
        environment=read_json(path / ENVIRONMENT_FILE) if (path / ENVIRONMENT_FILE).is_file() else {},
    )

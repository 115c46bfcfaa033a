"""What a run's folder holds besides the weights, and who may go on in it."""

import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock

from ..atomic_files import write_text
from ..folder_locks import lock_folder
from .arguments import AUTrainingArguments
from .checkpoints import has_checkpoints, remove_checkpoints
from .settings import read_settings, save_settings


logger = logging.getLogger(__name__)

SETTINGS_FILE = "settings.yaml"
ENVIRONMENT_FILE = "environment.json"
METRICS_FILE = "metrics.jsonl"
RESOURCES_FILE = "resources.json"
RESULTS_FILE = "all_results.json"
TEST_PREDICTIONS_FILE = "predictions_test.parquet"
# Sentences that a VL-FAU wrote about the test subjects.
TEST_SENTENCES_FILE = "sentences_test.jsonl"
VALIDATION_PREDICTIONS_FILE = "predictions_validation.parquet"
# Pictures of the scores, and of a photo with its AUs.
RESULTS_PICTURE, PHOTO_PICTURE = "results.png", "photo.png"

# `H`, one file for each epoch of stage 2.
EMBEDDINGS_FOLDER = "description_embeddings"

VL_FAU_STAGE = "training"
# HiVA's two stages, and the only one of VL-FAU.
STAGES = ("stage1", "stage2", VL_FAU_STAGE)
_FILES_OF_A_RUN = (
    RESULTS_FILE,
    METRICS_FILE,
    RESOURCES_FILE,
    TEST_PREDICTIONS_FILE,
    TEST_SENTENCES_FILE,
    VALIDATION_PREDICTIONS_FILE,
    RESULTS_PICTURE,
    PHOTO_PICTURE,
)


# Seconds to wait for the lock: data loader processes of a killed run take some time to end.
_PATIENCE = 10.0


class RunFolder:
    """The folder of a run.

    Args:
        path: Where it is.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._lock: FileLock | None = None

    def results(self) -> dict | None:
        """What the run reported, None if it is not finished."""
        return _read_if_there(self.path / RESULTS_FILE)

    def check(self, arguments: AUTrainingArguments, num_processes: int):
        """Makes sure that a run with these settings may write here; changes nothing.

        Raises:
            ValueError: if it would resume a run with other settings or another number of processes, or lose the states
                of an unfinished run or the results of a finished one with other settings.
        """
        if arguments.resume_from_checkpoint:
            self._check_settings(arguments)
            before = (_read_if_there(self.path / ENVIRONMENT_FILE) or {}).get("num_processes", num_processes)
            if before != num_processes and self.results() is None:
                raise ValueError(
                    f"The run in {self.path} was started with {before} process(es), but this one has {num_processes}: "
                    "resume it with as many as before."
                )
        elif arguments.overwrite_output_dir:
            return
        elif self.results() is not None:
            self._check_same_run(arguments)
        elif self._is_begun():
            raise ValueError(
                f"{self.path} holds an unfinished run. Pass `--resume_from_checkpoint true` to go on with it, "
                "`--overwrite_output_dir true` to start anew and lose it, or another `--output_dir`."
            )

    def check_inputs(self, arguments: AUTrainingArguments, digests: Mapping[str, str]):
        """Makes sure that a run which goes on reads what it began with.

        Args:
            arguments: Its settings.
            digests: Of each of its inputs, by name; [`open`] is to write them down as `inputs` of the environment.

        Raises:
            ValueError: if one was another.
        """
        if not arguments.resume_from_checkpoint or self.results() is not None:
            return
        before = (_read_if_there(self.path / ENVIRONMENT_FILE) or {}).get("inputs", {})
        changed = [name for name, digest in digests.items() if before.get(name, digest) != digest]
        if changed:
            raise ValueError(
                f"The run in {self.path} was started with other {' and '.join(changed)} than are there now under the "
                "same name. Bring them back, or start another one elsewhere (`--output_dir`)."
            )

    def lock(self):
        """Keeps other processes from training here, until [`unlock`] or the end of this one.

        Raises:
            ValueError: if one does.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            self._lock = lock_folder(self.path, _PATIENCE)
        except BlockingIOError as error:
            raise ValueError(
                f"Another process is training in {self.path} at this moment. Wait for it, stop it, or pass another "
                "`--output_dir`."
            ) from error

    def unlock(self):
        """Lets others train here; nothing happens where it isn't locked."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def open(self, arguments: AUTrainingArguments, environment: dict):
        """Writes down settings and environment; a run that does not resume clears what an earlier one left."""
        if not arguments.resume_from_checkpoint:
            if self.results() is not None:
                logger.warning("%s holds a finished run, which this one replaces.", self.path)
            remove_checkpoints(self.path)
            for name in (*STAGES, EMBEDDINGS_FOLDER):
                shutil.rmtree(self.path / name, ignore_errors=True)
            for name in _FILES_OF_A_RUN:
                (self.path / name).unlink(missing_ok=True)
        self._warn_of_other_versions(environment)
        # Not saved: whoever starts again from this file decides anew whether to resume or to overwrite.
        lasting = replace(arguments, resume_from_checkpoint=False, overwrite_output_dir=False)
        save_settings(lasting, self.path / SETTINGS_FILE)
        write_json(self.path / ENVIRONMENT_FILE, environment)

    def add_resources(self, name: str, seconds: float, peak_memory: int | None = None):
        """Adds up time and keeps the highest memory of a part of the run, also over interruptions."""
        resources = self.resources()
        part = resources.setdefault(name, {"seconds": 0.0})
        part["seconds"] += seconds
        if peak_memory is not None:
            part["peak_memory_bytes"] = max(peak_memory, part.get("peak_memory_bytes", 0))
        write_json(self.path / RESOURCES_FILE, resources)

    def resources(self) -> dict:
        """Seconds and peak memory of each part of the run so far."""
        return _read_if_there(self.path / RESOURCES_FILE) or {}

    def write_results(self, results: dict):
        """Finishes the run: its states are not needed any more."""
        write_json(self.path / RESULTS_FILE, results)
        remove_checkpoints(self.path)

    def picture_of(self, photo: str | None) -> Path:
        """Where the picture of a photo goes; whose photo it is, is noted before, since that decides who may see it.

        Args:
            photo: The user's photo, or None for the public one.
        """
        picture, settings = self.path / PHOTO_PICTURE, self.path / SETTINGS_FILE
        picture.unlink(missing_ok=True)
        noted = read_settings(settings.read_text(encoding="utf-8"), str(settings))
        write_text(settings, yaml.safe_dump(noted | {"photo": photo}, sort_keys=False))
        return picture

    def _is_begun(self) -> bool:
        return has_checkpoints(self.path) or any((self.path / stage).exists() for stage in STAGES)

    def _warn_of_other_versions(self, environment: dict):
        before = (_read_if_there(self.path / ENVIRONMENT_FILE) or {}).get("packages", {})
        now = environment.get("packages", {})
        differing = [
            f"{name} {before[name]}, now {now[name]}" for name in now if before.get(name, now[name]) != now[name]
        ]
        if differing and self._is_begun():
            logger.warning(
                "The run in %s was started with other versions (%s): without the interruption it might have ended at "
                "slightly other weights.",
                self.path,
                "; ".join(differing),
            )

    def _check_same_run(self, arguments: AUTrainingArguments):
        differing = self._differing_settings(arguments)
        if differing:
            raise ValueError(
                f"{self.path} holds a finished run with other settings: {'; '.join(differing)}. Pass another "
                "`--output_dir`, or `--overwrite_output_dir true` to replace it."
            )

    def _check_settings(self, arguments: AUTrainingArguments):
        differing = self._differing_settings(arguments)
        if differing:
            raise ValueError(
                f"The run in {self.path} was started with other settings: {'; '.join(differing)}. Resume it with its "
                f"own ({self.path / SETTINGS_FILE}), or start another one elsewhere (`--output_dir`)."
            )

    def _differing_settings(self, arguments: AUTrainingArguments) -> list[str]:
        path = self.path / SETTINGS_FILE
        before = read_settings(path.read_text(encoding="utf-8"), str(path)) if path.exists() else {}
        return [
            f"{name} was {before[name]!r}, is {value!r}"
            for name, value in arguments.binding_settings().items()
            if name in before and before[name] != value
        ]


def write_json(path: Path, content: dict):
    write_text(path, json.dumps(content, indent=2))


def write_metrics(path: Path, stage: str, history: list[dict]):
    """Replaces the lines of a stage, one for each epoch; those of the other stage stay."""
    others = [epoch for epoch in read_metrics(path) if epoch["stage"] != stage]
    epochs = [*others, *({"stage": stage, **epoch} for epoch in history)]
    epochs.sort(key=lambda epoch: (epoch["stage"], epoch["epoch"]))
    write_text(path, "".join(f"{json.dumps(epoch)}\n" for epoch in epochs))


def read_metrics(path: Path) -> list[dict]:
    """Metrics of every epoch of both stages, in the order of training; none if there is no such file."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def read_json(path: Path) -> dict[str, Any]:
    """What [`write_json`] wrote.

    Raises:
        FileNotFoundError: if the file is missing.
        ValueError: if it is damaged; the message names it.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    # UnicodeDecodeError is a ValueError too.
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}). Copy it anew from the run.") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} is damaged: it holds no JSON object. Copy it anew from the run.")
    return content


def _read_if_there(path: Path) -> dict[str, Any] | None:
    return read_json(path) if path.exists() else None

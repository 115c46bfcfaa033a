"""The files of a run's folder besides the weights, and which runs may use the folder."""

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
from ..file_locks import lock_folder
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
        """The results of the run, None if it is not finished."""
        return _read_if_there(self.path / RESULTS_FILE)

    def environment(self) -> dict:
        """Software and hardware of the run, and digests of its inputs; empty if they are not known."""
        return _read_if_there(self.path / ENVIRONMENT_FILE) or {}

    def check(self, arguments: AUTrainingArguments, num_processes: int):
        """Checks that a run with these settings may write here; changes nothing.

        Raises:
            ValueError: if it would resume a run with other settings or another number of processes, or delete the
                checkpoints of an unfinished run or the results of a finished one with other settings.
        """
        if arguments.resume_from_checkpoint:
            self._check_settings(arguments)
            before = self.environment().get("num_processes", num_processes)
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
                f"{self.path} holds an unfinished run. Pass `--resume_from_checkpoint true` to resume it, "
                "`--overwrite_output_dir true` to overwrite it, or another `--output_dir`."
            )

    def check_inputs(self, arguments: AUTrainingArguments, digests: Mapping[str, str]):
        """Checks that a resumed run has the same inputs as before.

        Args:
            arguments: Its settings.
            digests: Digest of each of its inputs, by name; pass them to [`open`] as `inputs` of the environment.

        Raises:
            ValueError: if one has changed.
        """
        if not arguments.resume_from_checkpoint or self.results() is not None:
            return
        before = self.environment().get("inputs", {})
        changed = [name for name, digest in digests.items() if before.get(name, digest) != digest]
        if changed:
            raise ValueError(
                f"The run in {self.path} was started with other {' and '.join(changed)} than there are now under the "
                "same name. Restore them, or start another run elsewhere (`--output_dir`)."
            )

    def lock(self):
        """Keeps other processes from training here, until [`unlock`] or the end of this process.

        Raises:
            ValueError: if another process is training here.
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
        """Releases the lock, if it is held."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def open(self, arguments: AUTrainingArguments, environment: dict):
        """Saves settings and environment; unless the run is resumed, deletes the files of an earlier one."""
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
        """Accumulates the time and the peak memory of a part of the run, also across interruptions."""
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
        """Finishes the run, and deletes its checkpoints, which are not needed any more."""
        write_json(self.path / RESULTS_FILE, results)
        remove_checkpoints(self.path)

    def picture_of(self, photo: str | None) -> Path:
        """Path for the picture of a photo. Records first whose photo it is, since that decides who may see it.

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
        before = self.environment().get("packages", {})
        now = environment.get("packages", {})
        differing = [
            f"{name} {before[name]}, now {now[name]}" for name in now if before.get(name, now[name]) != now[name]
        ]
        if differing and self._is_begun():
            logger.warning(
                "The run in %s was started with other versions (%s): its weights may differ slightly from those of an "
                "uninterrupted run.",
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
                f"own ({self.path / SETTINGS_FILE}), or start another run elsewhere (`--output_dir`)."
            )

    def _differing_settings(self, arguments: AUTrainingArguments) -> list[str]:
        path = self.path / SETTINGS_FILE
        before = read_settings(path.read_text(encoding="utf-8"), str(path)) if path.exists() else {}
        return changed_settings(before, arguments.binding_settings())


def changed_settings(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Settings that differ, each with both values. Those that an earlier version didn't record don't count."""
    return [
        f"{name} was {before[name]!r}, but is {value!r}"
        for name, value in now.items()
        if name in before and before[name] != value
    ]


def write_json(path: Path, content: dict):
    write_text(path, json.dumps(content, indent=2))


def write_metrics(path: Path, stage: str, history: list[dict]):
    """Replaces the lines of a stage, one for each epoch; those of the other stage are kept."""
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
    """Reads what [`write_json`] wrote.

    Raises:
        FileNotFoundError: if the file is missing.
        ValueError: if it is damaged; the message names it.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    # UnicodeDecodeError is a ValueError too.
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}). Copy it again from the run.") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} is damaged: it holds no JSON object. Copy it again from the run.")
    return content


def _read_if_there(path: Path) -> dict[str, Any] | None:
    return read_json(path) if path.exists() else None

"""Training checkpoints, from which an interrupted stage is resumed: complete, with checksums, old ones deleted.

A run's folder holds `checkpoints/STAGE/step-000130/` with tensors as safetensors (no pickles), `progress.json`, and
`manifest.json`, which lists every other file with its size and SHA-256. A checkpoint gets its name once all of it is
on disk; anything else that a killed process leaves is recognised and ignored.
"""

import hashlib
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

from .. import atomic_files


logger = logging.getLogger(__name__)

_FOLDER = "checkpoints"
_STATE_PREFIX = "step-"
_BEST_PREFIX = "best-epoch-"
_MANIFEST_FILE = "manifest.json"
_PROGRESS_FILE = "progress.json"


class StageCheckpoints:
    """The checkpoints of one stage, and the weights of its best epoch so far. Only the main process may write them.

    Args:
        output_dir: The run's folder.
        stage: Name of the stage.
        limit: Number of checkpoints to keep.
    """

    def __init__(self, output_dir: Path, stage: str, limit: int):
        self.folder = checkpoint_folder(output_dir, stage)
        self.limit = limit

    def save(self, step: int, progress: dict, write_tensors: Callable[[Path], None]) -> Path:
        """Writes a checkpoint, then deletes those that are too old.

        Args:
            step: Optimizer steps of the stage so far.
            progress: JSON-serialisable progress; `best_epoch` tells which weights the checkpoint refers to.
            write_tensors: Writes everything else into the given folder.
        """

        def write(folder: Path):
            write_tensors(folder)
            (folder / _PROGRESS_FILE).write_text(json.dumps(progress))
            _write_manifest(folder)

        path = self.folder / f"{_STATE_PREFIX}{step:09d}"
        atomic_files.write_folder(path, write)
        self._prune(path)
        return path

    def newest_valid(self) -> Path | None:
        """The newest checkpoint whose files are all as they were written; warns of damaged ones."""
        for path in reversed(self._states()):
            damage = find_damage(path)
            if damage is None:
                return path
            logger.warning("The checkpoint %s is damaged and skipped: %s.", path, damage)
        return None

    def best_folder(self, epoch: int) -> Path:
        """Folder of the weights of an epoch while it is the best."""
        return self.folder / f"{_BEST_PREFIX}{epoch:03d}"

    def remove(self):
        shutil.rmtree(self.folder, ignore_errors=True)

    def _states(self) -> list[Path]:
        names = self.folder.glob(f"{_STATE_PREFIX}*")
        return sorted(path for path in names if path.name.removeprefix(_STATE_PREFIX).isdecimal())

    def _prune(self, newest: Path):
        # A checkpoint of a later step was damaged, so that the stage was resumed from an earlier one.
        older = [path for path in self._states() if path < newest]
        kept = [*older[max(0, len(older) - self.limit + 1) :], newest] if self.limit > 1 else [newest]
        for path in set(self._states()) - set(kept):
            shutil.rmtree(path)
        needed = {self._best_folder_of(path) for path in kept}
        for path in self.folder.glob(f"{_BEST_PREFIX}*"):
            if path not in needed:
                shutil.rmtree(path)
        atomic_files.remove_unfinished(self.folder)

    def _best_folder_of(self, state: Path) -> Path | None:
        try:
            return self.best_folder(read_progress(state)["best_epoch"])
        except (OSError, ValueError, KeyError):
            # Damaged in the meantime: it will be skipped, so that nothing it refers to is needed.
            return None


def checkpoint_folder(output_dir: Path, stage: str) -> Path:
    return output_dir / _FOLDER / stage


def has_checkpoints(output_dir: Path) -> bool:
    """Whether a run in that folder was started and not finished."""
    return any((output_dir / _FOLDER).glob(f"*/{_STATE_PREFIX}*"))


def remove_checkpoints(output_dir: Path):
    """Deletes all training checkpoints of a run; its models are kept."""
    shutil.rmtree(output_dir / _FOLDER, ignore_errors=True)


def read_progress(path: Path) -> dict:
    """The progress stored in a valid checkpoint."""
    return json.loads((path / _PROGRESS_FILE).read_text(encoding="utf-8"))


def find_damage(path: Path) -> str | None:
    """What is wrong with a checkpoint, or None if every file is as it was written."""
    manifest = path / _MANIFEST_FILE
    try:
        files = json.loads(manifest.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return f"{_MANIFEST_FILE} is missing"
    except ValueError:
        return f"{_MANIFEST_FILE} is not readable as JSON"
    for name, (size, checksum) in files.items():
        file = path / name
        if not file.is_file():
            return f"{name} is missing"
        if file.stat().st_size != size:
            return f"{name} has {file.stat().st_size} bytes, but {size} were written"
        if _sha256(file) != checksum:
            return f"the content of {name} has changed (its SHA-256 differs)"
    return None


def _write_manifest(folder: Path):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    manifest = {path.relative_to(folder).as_posix(): (path.stat().st_size, _sha256(path)) for path in files}
    (folder / _MANIFEST_FILE).write_text(json.dumps(manifest, indent=2))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

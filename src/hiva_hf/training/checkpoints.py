"""Where an interrupted stage goes on: complete states with checksums, the newest valid one found, old ones pruned.

A run's folder holds `checkpoints/STAGE/step-000130/` with tensors as safetensors (no pickles), `progress.json`, and
`manifest.json`, which lists every other file with its size and SHA-256. A state gets its name when all of it is on the
disk; whatever else a killed process leaves is recognized and passed over.
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
    """The states of one stage, and the weights of its best epoch so far. For the main process alone to write.

    Args:
        output_dir: The run's folder.
        stage: Name of the stage.
        limit: States that are kept.
    """

    def __init__(self, output_dir: Path, stage: str, limit: int):
        self.folder = checkpoint_folder(output_dir, stage)
        self.limit = limit

    def save(self, step: int, progress: dict, write_tensors: Callable[[Path], None]) -> Path:
        """Writes a state, then deletes those that are too old.

        Args:
            step: Optimizer steps of the stage so far.
            progress: JSON-able facts; `best_epoch` tells which weights the state refers to.
            write_tensors: Writes all else into the folder that it is given.
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
        """The newest state whose files are all as they were written; damaged ones are named in a warning."""
        for path in reversed(self._states()):
            damage = find_damage(path)
            if damage is None:
                return path
            logger.warning("The state %s is damaged and passed over: %s.", path, damage)
        return None

    def best_folder(self, epoch: int) -> Path:
        """Where the weights of an epoch are while it is the best."""
        return self.folder / f"{_BEST_PREFIX}{epoch:03d}"

    def remove(self):
        shutil.rmtree(self.folder, ignore_errors=True)

    def _states(self) -> list[Path]:
        names = self.folder.glob(f"{_STATE_PREFIX}*")
        return sorted(path for path in names if path.name.removeprefix(_STATE_PREFIX).isdecimal())

    def _prune(self, newest: Path):
        # A name after the newest state's is one that was damaged, so that the stage went back behind it.
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
            # Damaged meanwhile: it will be passed over, so that nothing it refers to is needed.
            return None


def checkpoint_folder(output_dir: Path, stage: str) -> Path:
    return output_dir / _FOLDER / stage


def has_checkpoints(output_dir: Path) -> bool:
    """Whether a run in that folder was begun and not finished."""
    return any((output_dir / _FOLDER).glob(f"*/{_STATE_PREFIX}*"))


def remove_checkpoints(output_dir: Path):
    """Deletes all states of a run; its models stay."""
    shutil.rmtree(output_dir / _FOLDER, ignore_errors=True)


def read_progress(path: Path) -> dict:
    """The facts about progress in a valid state."""
    return json.loads((path / _PROGRESS_FILE).read_text(encoding="utf-8"))


def find_damage(path: Path) -> str | None:
    """What is wrong with a state, or None if every file is as it was written."""
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
            return f"{name} has {file.stat().st_size} bytes, {size} were written"
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

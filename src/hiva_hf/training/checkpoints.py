"""Where an interrupted run goes on: one complete state for each finished epoch, written atomically."""

import json
import shutil
from pathlib import Path

from accelerate import Accelerator


_STATE_FILE = "progress.json"


def checkpoint_folder(output_dir: Path, stage: str) -> Path:
    return output_dir / "checkpoints" / stage


def save_checkpoint(accelerator: Accelerator, output_dir: Path, stage: str, progress: dict):
    """Writes the state of all processes, then puts it in the place of the older one.

    Args:
        progress: JSON-able facts about the stage, at least `epochs_done`.
    """
    folder = checkpoint_folder(output_dir, stage)
    written = folder / f"epoch-{progress['epochs_done']:03d}"
    unfinished = written.with_suffix(".tmp")
    accelerator.save_state(str(unfinished))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        (unfinished / _STATE_FILE).write_text(json.dumps(progress))
        shutil.rmtree(written, ignore_errors=True)
        unfinished.rename(written)
        for older in folder.glob("epoch-*"):
            if older != written:
                shutil.rmtree(older)
    accelerator.wait_for_everyone()


def load_checkpoint(accelerator: Accelerator, output_dir: Path, stage: str) -> dict | None:
    """Restores the newest finished state of the stage.

    Returns:
        What [`save_checkpoint`] was told about the progress, or None if the stage has no state.
    """
    finished = [path.parent for path in checkpoint_folder(output_dir, stage).glob(f"epoch-*/{_STATE_FILE}")]
    finished = [path for path in finished if path.suffix != ".tmp"]
    if not finished:
        return None
    newest = max(finished)
    accelerator.load_state(str(newest))
    return json.loads((newest / _STATE_FILE).read_text())


def remove_checkpoints(output_dir: Path):
    """Deletes all states of a finished run; its models stay."""
    shutil.rmtree(output_dir / "checkpoints", ignore_errors=True)

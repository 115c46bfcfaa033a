"""The starter checkpoint that comes with the package, so that the first photo needs no training and no download."""

import os
import re
from pathlib import Path


# `model.safetensors` (in half precision, computed in float32), `config.json` and `preprocessor_config.json`.
STARTER_FOLDER = Path(__file__).parent / "starter"
# Its name wherever a detector can be named.
STARTER = "starter"
_REPOSITORY = re.compile(r"\w[\w.-]*/[\w.-]+")


def starter_checkpoint() -> str:
    """Find the starter checkpoint, which `pipeline("au-detection")` takes when it gets no model.

    Returns:
        The path of its folder, for any `from_pretrained` or `pipeline("au-detection", model=...)`.

    Raises:
        FileNotFoundError: This copy of the package lacks it.
    """
    if not (STARTER_FOLDER / "model.safetensors").is_file():
        raise FileNotFoundError(
            f"There is no starter checkpoint in {STARTER_FOLDER}: this copy of hiva-hf is incomplete. "
            'Reinstall it, or pass your own checkpoint, as in `pipeline("au-detection", model="path/to/checkpoint")`.'
        )
    return str(STARTER_FOLDER)


def find_checkpoint(name: str | os.PathLike | None = None) -> str:
    """Resolves the name of a detector to what any `from_pretrained` takes.

    Args:
        name: A folder, a Hub repository `ORG/NAME`, or `"starter"`, which is also the meaning of `None`.

    Raises:
        FileNotFoundError: It is not a folder and can't be a repository.
    """
    if name is None:
        return starter_checkpoint()
    name = os.fspath(name)
    if os.path.isdir(name):
        return name
    if name == STARTER:
        return starter_checkpoint()
    if _REPOSITORY.fullmatch(name) is None:
        raise FileNotFoundError(
            f"There is no folder {name!r}. A detector is a folder, a Hub repository ORG/NAME, or {STARTER!r}, "
            "the one that comes with the package."
        )
    return name

"""The starter checkpoint that comes with the package, so that the first photo needs neither training nor a network."""

from pathlib import Path


# `model.safetensors` (in half precision, computed in float32), `config.json` and `preprocessor_config.json`.
STARTER_FOLDER = Path(__file__).parent / "starter"


def starter_checkpoint() -> str:
    """Find the starter checkpoint, which `pipeline("au-detection")` takes when it gets no model.

    Returns:
        The path of its folder, for any `from_pretrained` or `pipeline("au-detection", model=...)`.

    Raises:
        FileNotFoundError: This copy of the package came without it.
    """
    if not (STARTER_FOLDER / "model.safetensors").is_file():
        raise FileNotFoundError(
            f"There is no starter checkpoint in {STARTER_FOLDER}: this copy of hiva-hf is incomplete. Install it "
            'anew, or pass a checkpoint of your own, as in `pipeline("au-detection", model="path/to/checkpoint")`.'
        )
    return str(STARTER_FOLDER)

"""Checkpoints of half the size for distribution: stored in half precision, computed in float32."""

from pathlib import Path

import torch
from transformers import BaseImageProcessor, PreTrainedModel

from ..remote_code import drop_local_towers
from ..saved_checkpoints import share_weights


def save_compact_checkpoint(model: PreTrainedModel, image_processor: BaseImageProcessor, folder: str | Path) -> Path:
    """Save an inference checkpoint with 16-bit weights.

    Its `config.json` keeps `"dtype": "float32"`, the dtype that `from_pretrained` and `pipeline` load into unless told
    otherwise: the only cost of half precision is the rounding of the weights (11 significant bits). The model itself
    is not changed, and other files in the folder are kept.

    Args:
        model: Model in float32. Call its `encode_descriptions` and `drop_text_encoder` before to leave out what
            inference does not need.
        image_processor: Saved beside the model.
        folder: Output folder; created if it doesn't exist.

    Returns:
        The folder.

    Raises:
        ValueError: If the model is not in float32, or a weight is out of the range of float16.
    """
    if model.dtype != torch.float32:
        raise ValueError(f"A compact checkpoint is made from a model in float32, but this one is in {model.dtype}.")
    weights = {name: _halved(name, tensor) for name, tensor in model.state_dict().items()}
    folder = Path(folder)
    model.save_pretrained(folder, state_dict=weights)
    # Paths of the towers on the training machine mean nothing elsewhere.
    drop_local_towers(folder)
    image_processor.save_pretrained(folder)
    share_weights(folder)
    return folder


def _halved(name: str, tensor: torch.Tensor) -> torch.Tensor:
    if not tensor.is_floating_point():
        return tensor
    half = tensor.to(torch.float16)
    if not half.isfinite().all():
        raise ValueError(
            f"{name} holds values that are not finite or beyond 65504, the largest number of half precision. Save the "
            "model in full precision with `save_pretrained`."
        )
    return half

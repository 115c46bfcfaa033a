"""Checkpoints of half the size, to be passed on: stored in half precision, computed in float32."""

from pathlib import Path

import torch
from transformers import BaseImageProcessor, PreTrainedModel

from ..remote_code import drop_local_towers
from ..saved_checkpoints import share_weights


def save_compact_checkpoint(model: PreTrainedModel, image_processor: BaseImageProcessor, folder: str | Path) -> Path:
    """Save an inference checkpoint with weights of 16 bits.

    Its `config.json` keeps `"dtype": "float32"`, from which `from_pretrained` and `pipeline` take the type to load
    into unless told otherwise: the rounding of the weights (11 significant bits) is all that half precision costs.
    The model itself stays as it is. Other files of the folder stay, too.

    Args:
        model: In float32. `encode_descriptions` and `drop_text_encoder` beforehand leave out what inference needs not.
        image_processor: Is saved beside it.
        folder: Where to; made if there is none.

    Returns:
        The folder.

    Raises:
        ValueError: The model is not in float32, or a weight does not fit into 16 bits.
    """
    if model.dtype != torch.float32:
        raise ValueError(f"A compact checkpoint is made from a model in float32, but this one is in {model.dtype}.")
    weights = {name: _halved(name, tensor) for name, tensor in model.state_dict().items()}
    folder = Path(folder)
    model.save_pretrained(folder, state_dict=weights)
    # Where the towers lay on the machine that trained says nothing to anybody else.
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
            "model by `save_pretrained`, in full."
        )
    return half

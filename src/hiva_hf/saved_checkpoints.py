"""Checkpoints that commands write for others to use."""

import stat
from pathlib import Path

from transformers import PreTrainedModel
from transformers.utils import CONFIG_NAME, PushToHubMixin


def save_checkpoint(folder: Path, model: PreTrainedModel, *processors: PushToHubMixin):
    """Saves a model with its processors, and gives its weights the permissions of its configuration.

    Args:
        folder: The output folder; created if it does not exist.
        model: Its weights are saved as safetensors.
        processors: An image processor, a tokenizer.
    """
    for part in (model, *processors):
        part.save_pretrained(folder)
    share_weights(folder)


def share_weights(folder: Path):
    """Gives weights the permissions of the configuration: safetensors 0.8 lets only their owner read them."""
    permissions = stat.S_IMODE((folder / CONFIG_NAME).stat().st_mode)
    for weights in folder.glob("*.safetensors"):
        weights.chmod(permissions)

"""Research checkpoints: from a PyTorch state dict to a HiVA checkpoint in safetensors, once."""

from .convert import convert_checkpoint
from .key_mapping import ConversionError


__all__ = ["ConversionError", "convert_checkpoint"]

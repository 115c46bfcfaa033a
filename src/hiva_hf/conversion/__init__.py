"""Convert research checkpoints (PyTorch state dicts) to HiVA checkpoints in safetensors."""

from .convert import convert_checkpoint
from .key_mapping import ConversionError


__all__ = ["ConversionError", "convert_checkpoint"]

"""Read the file of a research checkpoint: only tensors, without running any code from it."""

import pickle
import re
import zipfile
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from .key_mapping import ConversionError


# Keys under which training scripts store the weights beside epoch and optimizer, the most specific first.
_NESTS = ("state_dict", "model_state_dict", "model", "net")
# Prefixes that DataParallel and torch.compile add to every key.
_WRAPPERS = ("module.", "_orig_mod.")


def read_research_checkpoint(path: Path) -> dict[str, torch.Tensor]:
    """Reads the tensors of a checkpoint by key, without the prefixes of wrappers.

    Args:
        path: A file that `torch.save` or safetensors wrote: a state dict, or a dict that contains one.

    Raises:
        FileNotFoundError: if there is no such file.
        ConversionError: if it is damaged, contains more than tensors, or has no state dict.
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    return _strip_wrappers(_find_state_dict(_load(path), path))


def _load(path: Path) -> object:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        # Memory-mapped, so that it can't take more memory than the file's size; not possible before torch 1.6.
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        # Replaces PyTorch's message, which suggests trusting the file.
        found = re.search(r"Unsupported (?:global|class|operand)[: ]+(?:GLOBAL )?([\w.]+)", str(error))
        needed = f" (it asks for {found[1]})" if found else ""
        raise ConversionError(
            f"{path} is damaged, or contains more than tensors{needed}. Such a file can run any code when it is read, "
            "so it is rejected. If you trust it, save only its weights on the machine where it was made: "
            "`torch.save(model.state_dict(), FILE)`."
        ) from error
    # PyTorch raises many types of errors on files in other formats.
    except (RuntimeError, EOFError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        reason = str(error).partition("\n")[0]
        raise ConversionError(f"{path} can't be read as a PyTorch checkpoint ({reason}).") from error


def _find_state_dict(content: object, path: Path) -> dict[str, torch.Tensor]:
    seen = set()
    # A dict may contain itself.
    while isinstance(content, dict) and id(content) not in seen:
        seen.add(id(content))
        tensors = {key: value for key, value in content.items() if _is_weight(key, value)}
        nest = next((name for name in _NESTS if isinstance(content.get(name), dict)), None)
        if nest is None and tensors:
            return tensors
        if nest is None:
            break
        content = content[nest]
    raise ConversionError(
        f"{path} contains no state dict: expected tensors by key, or these under one of {', '.join(_NESTS)}."
    )


def _is_weight(key: object, value: object) -> bool:
    return isinstance(key, str) and isinstance(value, torch.Tensor)


def _strip_wrappers(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    for prefix in _WRAPPERS * 2:
        if all(key.startswith(prefix) for key in tensors):
            tensors = {key.removeprefix(prefix): value for key, value in tensors.items()}
    return tensors

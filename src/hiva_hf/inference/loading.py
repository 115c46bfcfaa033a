"""Load a detector for inference."""

import logging
import os

import torch

from ..export.formats import check_not_pickled
from ..export.runtime import ExportedDetector
from ..fused_inference import FusesForInference, has_folded_adapters
from ..packaged_checkpoint import find_checkpoint
from ..pipeline_au_detection import AUDetectionPipeline


logger = logging.getLogger(__name__)

# The names that `hiva-hf export` uses.
_SHORT_DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


def load_detector(
    model: str | os.PathLike | AUDetectionPipeline | None = None,
    device: str | int | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
) -> AUDetectionPipeline:
    """Loads the au-detection pipeline of a checkpoint, by default the packaged starter checkpoint.

    A detector that is loaded here is fused for inference; a pipeline is returned as it is.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: The device can't be used, there is no such precision, the pipeline is not this package's, or the
            folder holds a program that runs code when it is opened.
    """
    if isinstance(model, AUDetectionPipeline):
        return model
    from transformers import Pipeline, pipeline

    if isinstance(model, Pipeline):
        raise ValueError(
            f"`model` is a pipeline of {type(model).__module__}, not of the installed package: make it after "
            "`import hiva_hf`, or pass its folder or repository."
        )
    checkpoint = find_checkpoint(model)
    check_not_pickled(checkpoint)
    _check_device(device)
    chosen = {"device": device, "dtype": _dtype_of(dtype)}
    chosen = {name: value for name, value in chosen.items() if value is not None}
    detector = pipeline("au-detection", model=checkpoint, **chosen)
    if isinstance(detector.model, FusesForInference):
        if has_folded_adapters(detector.model):
            logger.warning("%s has adapters and can't be fused: merge them for faster inference.", checkpoint)
        else:
            detector.model.fuse()
    elif dtype is not None and isinstance(detector.model, ExportedDetector):
        logger.warning(
            "%s was exported in %s and computes in it: `dtype` has no effect.",
            checkpoint,
            detector.model.manifest.dtype,
        )
    return detector


def _check_device(device: str | int | torch.device | None) -> None:
    # transformers takes a negative number for the CPU.
    if device is None or (isinstance(device, int) and device < 0):
        return
    try:
        torch.empty(0, device=device)
    # Builds without CUDA raise AssertionError; some device names need packages that may be missing.
    except (RuntimeError, AssertionError, ImportError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"The device {device!r} can't be used here: {reason}") from error


def _dtype_of(dtype: str | torch.dtype | None) -> str | torch.dtype | None:
    # transformers resolves "auto".
    if not isinstance(dtype, str) or dtype == "auto":
        return dtype
    found = getattr(torch, _SHORT_DTYPES.get(dtype, dtype), None)
    if not (isinstance(found, torch.dtype) and found.is_floating_point):
        raise ValueError(f"There is no precision {dtype!r}: choose one of {', '.join(_SHORT_DTYPES.values())}.")
    return found

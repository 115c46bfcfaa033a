"""HiVA and VL-FAU: facial Action Unit detection with vision and language, for the Hugging Face ecosystem.

Importing the package registers the model types `"hiva"` and `"vl_fau"` with transformers' Auto classes, and the task
`"au-detection"` with `transformers.pipeline`. It is quick: the package's modules are imported when they are used.
"""

import importlib
from typing import TYPE_CHECKING

from .registration import register_with_transformers


if TYPE_CHECKING:
    from .configuration_hiva import HiVAConfig
    from .configuration_vl_fau import VLFAUConfig, VLFAUTextConfig
    from .data import AU_SETS, load_au_dataset, load_au_datasets
    from .facs import ACTION_UNITS
    from .image_loading import load_image
    from .image_processing_hiva import HiVAImageProcessor
    from .image_processing_pil_hiva import HiVAImageProcessorPil
    from .inference import detect
    from .modeling_hiva import HiVAForAUDetection, HiVAForPreTraining, HiVAPreTrainedModel
    from .modeling_vl_fau import VLFAUForAUDetection, VLFAUPreTrainedModel, VLFAUTextForCausalLM
    from .packaged_checkpoint import starter_checkpoint
    from .pipeline_au_detection import AUDetectionPipeline
    from .profiling import profile
    from .viz import draw_attention, draw_faces, draw_timeline

__version__ = "0.1.0"

# Module of each public name (PEP 562). Type checkers read the imports above.
_MODULES = {
    "ACTION_UNITS": "facs",
    "AU_SETS": "data",
    "AUDetectionPipeline": "pipeline_au_detection",
    "HiVAConfig": "configuration_hiva",
    "HiVAForAUDetection": "modeling_hiva",
    "HiVAForPreTraining": "modeling_hiva",
    "HiVAImageProcessor": "image_processing_hiva",
    "HiVAImageProcessorPil": "image_processing_pil_hiva",
    "HiVAPreTrainedModel": "modeling_hiva",
    "VLFAUConfig": "configuration_vl_fau",
    "VLFAUForAUDetection": "modeling_vl_fau",
    "VLFAUPreTrainedModel": "modeling_vl_fau",
    "VLFAUTextConfig": "configuration_vl_fau",
    "VLFAUTextForCausalLM": "modeling_vl_fau",
    "detect": "inference.detection",
    "draw_attention": "viz",
    "draw_faces": "viz",
    "draw_timeline": "viz",
    "load_au_dataset": "data",
    "load_au_datasets": "data",
    "load_image": "image_loading",
    "profile": "profiling",
    "starter_checkpoint": "packaged_checkpoint",
}
# Reachable as attributes too: `hiva_hf.facs.get_action_unit(12)`.
_SUBMODULES = ("data", "evaluation", "export", "facs", "inference", "viz")

__all__ = [
    "ACTION_UNITS",
    "AU_SETS",
    "AUDetectionPipeline",
    "HiVAConfig",
    "HiVAForAUDetection",
    "HiVAForPreTraining",
    "HiVAImageProcessor",
    "HiVAImageProcessorPil",
    "HiVAPreTrainedModel",
    "VLFAUConfig",
    "VLFAUForAUDetection",
    "VLFAUPreTrainedModel",
    "VLFAUTextConfig",
    "VLFAUTextForCausalLM",
    "detect",
    "draw_attention",
    "draw_faces",
    "draw_timeline",
    "load_au_dataset",
    "load_au_datasets",
    "load_image",
    "profile",
    "starter_checkpoint",
]


def __getattr__(name: str):
    if name in _MODULES:
        return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    if name in _SUBMODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES, *_SUBMODULES})


register_with_transformers()

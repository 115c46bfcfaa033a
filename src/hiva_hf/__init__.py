"""HiVA: facial Action Unit detection with vision and language, for the Hugging Face ecosystem.

Importing the package registers its classes with transformers' Auto classes and the task `"au-detection"` with
`transformers.pipeline`.
"""

import importlib
from typing import TYPE_CHECKING

from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoModelForImageClassification
from transformers.pipelines import PIPELINE_REGISTRY

from .configuration_hiva import HiVAConfig
from .image_processing_hiva import HiVAImageProcessor
from .image_processing_pil_hiva import HiVAImageProcessorPil
from .modeling_hiva import HiVAForAUDetection, HiVAForPreTraining, HiVAPreTrainedModel
from .pipeline_au_detection import AUDetectionPipeline


if TYPE_CHECKING:
    from .data import AU_SETS, load_au_dataset, load_au_datasets
    from .facs import ACTION_UNITS
    from .image_loading import load_image
    from .profiling import profile
    from .viz import draw_faces

__version__ = "0.1.0"

# Loaded on first use: `import hiva_hf` stays about as quick as `import transformers`.
_LAZY_ATTRIBUTES = {
    "ACTION_UNITS": "facs",
    "AU_SETS": "data",
    "load_au_dataset": "data",
    "load_au_datasets": "data",
    "load_image": "image_loading",
    "profile": "profiling",
    "draw_faces": "viz",
}


def __getattr__(name: str):
    if name not in _LAZY_ATTRIBUTES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_LAZY_ATTRIBUTES[name]}"), name)


AutoConfig.register("hiva", HiVAConfig)
AutoModel.register(HiVAConfig, HiVAForAUDetection)
AutoModelForImageClassification.register(HiVAConfig, HiVAForAUDetection)
AutoImageProcessor.register(
    HiVAConfig, image_processor_classes={"torchvision": HiVAImageProcessor, "pil": HiVAImageProcessorPil}
)
PIPELINE_REGISTRY.register_pipeline(
    "au-detection", pipeline_class=AUDetectionPipeline, pt_model=AutoModelForImageClassification, type="image"
)

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
    "draw_faces",
    "load_au_dataset",
    "load_au_datasets",
    "load_image",
    "profile",
]

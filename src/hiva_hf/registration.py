"""Registers our models with transformers' Auto classes and pipelines, without importing transformers before the user.

When a registry of transformers is imported, our corresponding module is imported too, and when a module of ours is
complete, its classes are registered. So it works in every order of imports, and costs nothing if neither is used.
"""

import importlib
from types import ModuleType

from wrapt import when_imported


def register_with_transformers() -> None:
    """Registers every class, now if transformers' registries are imported already, or else as soon as they are."""
    # First, because a module of ours that is being imported must find its registration waiting when it is complete.
    when_imported("hiva_hf.configuration_hiva")(_register_config)
    when_imported("hiva_hf.configuration_vl_fau")(_register_vl_fau_config)
    when_imported("hiva_hf.modeling_hiva")(_register_models)
    when_imported("hiva_hf.modeling_vl_fau")(_register_vl_fau_models)
    when_imported("hiva_hf.image_processing_hiva")(_register_image_processors)
    when_imported("hiva_hf.pipeline_au_detection")(_register_pipeline)
    _tie("transformers.models.auto.configuration_auto", "hiva_hf.configuration_hiva")
    _tie("transformers.models.auto.configuration_auto", "hiva_hf.configuration_vl_fau")
    # `modeling_layers`, which our model needs, may be importing `modeling_auto` before it is complete: wait for it.
    _tie("transformers.models.auto.modeling_auto", "transformers.modeling_layers")
    _tie("transformers.modeling_layers", "hiva_hf.modeling_hiva")
    # VL-FAU is built on parts of HiVA, which might be incomplete if VL-FAU followed transformers itself.
    _tie("hiva_hf.modeling_hiva", "hiva_hf.modeling_vl_fau")
    _tie("transformers.models.auto.image_processing_auto", "hiva_hf.image_processing_hiva")
    _tie("transformers.pipelines", "hiva_hf.pipeline_au_detection")


def _tie(imported: str, follower: str) -> None:
    """Imports `follower` after `imported`; nothing happens if `follower` is being imported already."""
    when_imported(imported)(lambda _: importlib.import_module(follower))


def _register_config(module: ModuleType) -> None:
    from transformers import AutoConfig

    AutoConfig.register("hiva", module.HiVAConfig)


def _register_vl_fau_config(module: ModuleType) -> None:
    from transformers import AutoConfig

    AutoConfig.register("vl_fau", module.VLFAUConfig)


def _register_models(module: ModuleType) -> None:
    from transformers import AutoModel, AutoModelForImageClassification, AutoModelForPreTraining

    AutoModel.register(module.HiVAConfig, module.HiVAForAUDetection)
    AutoModelForImageClassification.register(module.HiVAConfig, module.HiVAForAUDetection)
    AutoModelForPreTraining.register(module.HiVAConfig, module.HiVAForPreTraining)


def _register_vl_fau_models(module: ModuleType) -> None:
    from transformers import AutoModel, AutoModelForImageClassification

    AutoModel.register(module.VLFAUConfig, module.VLFAUForAUDetection)
    AutoModelForImageClassification.register(module.VLFAUConfig, module.VLFAUForAUDetection)


def _register_image_processors(module: ModuleType) -> None:
    from transformers import AutoImageProcessor

    from .configuration_hiva import HiVAConfig
    from .configuration_vl_fau import VLFAUConfig
    from .image_processing_pil_hiva import HiVAImageProcessorPil

    for config_class in (HiVAConfig, VLFAUConfig):
        AutoImageProcessor.register(
            config_class,
            image_processor_classes={"torchvision": module.HiVAImageProcessor, "pil": HiVAImageProcessorPil},
        )


def _register_pipeline(module: ModuleType) -> None:
    from transformers import AutoModelForImageClassification
    from transformers.pipelines import PIPELINE_REGISTRY

    from . import __version__
    from .packaged_checkpoint import STARTER_FOLDER

    PIPELINE_REGISTRY.register_pipeline(
        "au-detection",
        pipeline_class=module.AUDetectionPipeline,
        pt_model=AutoModelForImageClassification,
        # A folder has no revision; transformers prints this one when no model is named.
        default={"model": (str(STARTER_FOLDER), f"hiva-hf {__version__}")},
        type="image",
    )

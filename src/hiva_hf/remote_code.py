# Copyright 2026 The hiva-hf authors.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""What a repository needs so that people without this package can use it with `trust_remote_code=True`."""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers.dynamic_module_utils import custom_object_save, get_relative_import_files
from transformers.utils import CONFIG_NAME, IMAGE_PROCESSOR_NAME


# Parts of the model's configuration that record where they were loaded from.
TOWERS = ("backbone_config", "text_config")

# Configuration and module of each model type.
CONFIGS = {"hiva": "configuration_hiva.HiVAConfig", "vl_fau": "configuration_vl_fau.VLFAUConfig"}
MODEL_MODULES = {"hiva": "modeling_hiva", "vl_fau": "modeling_vl_fau"}
PIPELINE = "pipeline_au_detection.AUDetectionPipeline"
# The Auto classes that load each network; the installed package registers the same.
AUTO_CLASSES_OF = {
    "HiVAForAUDetection": ("AutoModel", "AutoModelForImageClassification"),
    "HiVAForPreTraining": ("AutoModelForPreTraining",),
    "VLFAUForAUDetection": ("AutoModel", "AutoModelForImageClassification"),
}
DETECTORS = ("HiVAForAUDetection", "VLFAUForAUDetection")
# For PIL and for torchvision, in the order that transformers expects; it picks what is requested and installed.
IMAGE_PROCESSORS = ("image_processing_pil_hiva.HiVAImageProcessorPil", "image_processing_hiva.HiVAImageProcessor")


def add_remote_code(folder: str | os.PathLike) -> None:
    """Adds the code to a folder that `save_pretrained` wrote, and the entries that name it to its configurations.

    With the installed package, the same folder works without `trust_remote_code`: the Auto classes know the model
    already, and the configuration drops the entry `custom_pipelines`.

    Args:
        folder: A folder with `config.json`, `preprocessor_config.json`, or both.
    """
    folder = Path(folder)
    config_file = folder / CONFIG_NAME
    model_type = _read(config_file)["model_type"] if config_file.is_file() else "hiva"
    for file in code_files(model_type):
        shutil.copyfile(file, folder / file.name)
    for name, entries_of in ((CONFIG_NAME, _model_entries), (IMAGE_PROCESSOR_NAME, _image_processor_entries)):
        path = folder / name
        if path.is_file():
            content = _read(path)
            _write(path, content | entries_of(content))
    drop_local_towers(folder)


def keep_pipeline_code(pipeline: Any, folder: str | os.PathLike) -> None:
    """Saves the code of a pipeline that was loaded with `trust_remote_code=True`, as transformers does for models.

    Args:
        pipeline: The pipeline.
        folder: Where its model was saved.
    """
    custom_object_save(pipeline, folder)
    path = Path(folder) / CONFIG_NAME
    # In place of an entry that names the repository that the code came from.
    _write(path, _read(path) | _pipeline_entry())


def drop_local_towers(folder: str | os.PathLike) -> None:
    """Removes the local folders that the towers were read from, which mean nothing on other machines.

    Args:
        folder: A folder; nothing happens if it has no `config.json`.
    """
    path = Path(folder) / CONFIG_NAME
    if not path.is_file():
        return
    config = _read(path)
    for name in TOWERS:
        tower = config.get(name) or {}
        source = tower.get("_name_or_path", "")
        if os.path.isabs(source) or os.path.isdir(source):
            del tower["_name_or_path"]
    _write(path, config)


def code_files(model_type: str = "hiva") -> list[Path]:
    """The top-level files of this package that a checkpoint of a model type needs, sorted."""
    here = Path(__file__).parent
    roots = [
        CONFIGS[model_type].split(".")[0],
        MODEL_MODULES[model_type],
        PIPELINE.split(".")[0],
        *(processor.split(".")[0] for processor in IMAGE_PROCESSORS),
    ]
    files = {here / f"{module}.py" for module in roots}
    for root in tuple(files):
        files |= {Path(file) for file in get_relative_import_files(root)}
    return sorted(files)


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def _write(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _model_entries(config: Mapping[str, Any]) -> dict[str, Any]:
    architecture = (config.get("architectures") or [None])[0]
    model_type = config["model_type"]
    auto_map = {"AutoConfig": CONFIGS[model_type]}
    auto_map |= dict.fromkeys(AUTO_CLASSES_OF.get(architecture, ()), f"{MODEL_MODULES[model_type]}.{architecture}")
    if architecture not in DETECTORS:
        return {"auto_map": auto_map}
    return {"auto_map": auto_map} | _pipeline_entry()


def _pipeline_entry() -> dict[str, Any]:
    pipeline = {"impl": PIPELINE, "pt": ["AutoModelForImageClassification"], "type": "image"}
    return {"custom_pipelines": {"au-detection": pipeline}}


def _image_processor_entries(config: Mapping[str, Any]) -> dict[str, Any]:
    return {"auto_map": {"AutoImageProcessor": list(IMAGE_PROCESSORS)}}


class PushesRemoteCode:
    """A mixin for classes with `push_to_hub`: uploads the code too, so that nobody needs this package to load it."""

    def _upload_modified_files(self, working_dir: str | os.PathLike, *args: Any, **kwargs: Any):
        # CODEPATH: objects loaded with `trust_remote_code=True` point to the repository that their code came from.
        if not __name__.startswith("transformers_modules."):
            add_remote_code(working_dir)
        return super()._upload_modified_files(working_dir, *args, **kwargs)

"""A folder that carries its own code serves people without the package, and people with it no worse."""

import json
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from PIL import Image
from transformers import AutoImageProcessor, AutoModel, pipeline

from hiva_hf import AUDetectionPipeline, HiVAForAUDetection, HiVAImageProcessor


# What publishing does, in a process of its own: registering changes the classes for good.
PUBLISH = """
import sys
from hiva_hf import HiVAConfig, HiVAForAUDetection, HiVAImageProcessor
from hiva_hf import pipeline_au_detection
from transformers.dynamic_module_utils import custom_object_save

source, folder = sys.argv[1:]
model = HiVAForAUDetection.from_pretrained(source)
processor = HiVAImageProcessor.from_pretrained(source)
HiVAConfig.register_for_auto_class()
HiVAImageProcessor.register_for_auto_class()
model.config.custom_pipelines = {
    "au-detection": {
        "impl": "pipeline_au_detection.AUDetectionPipeline",
        "pt": ["AutoModelForImageClassification"],
        "type": "image",
    }
}
for auto_class in ("AutoModelForImageClassification", "AutoModel"):
    HiVAForAUDetection.register_for_auto_class(auto_class)
    model.save_pretrained(folder)
processor.save_pretrained(folder)
custom_object_save(pipeline_au_detection.AUDetectionPipeline, folder)
"""

# Every import of the package fails as if it were not installed.
HIDE_PACKAGE = """
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "hiva_hf":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Hidden())
"""

LOAD = """
import json
import sys
import torch
from PIL import Image
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoModelForImageClassification, pipeline

folder, photo = sys.argv[1:]
trusted = {"trust_remote_code": True}
processor = AutoImageProcessor.from_pretrained(folder, **trusted)
pixel_values = processor(Image.open(photo), return_tensors="pt")["pixel_values"]
logits = []
for auto_class in (AutoModel, AutoModelForImageClassification):
    model = auto_class.from_pretrained(folder, **trusted)
    with torch.no_grad():
        logits.append(model(pixel_values=pixel_values).logits.tolist())
config = AutoConfig.from_pretrained(folder, **trusted)
detector = pipeline("au-detection", model=folder, **trusted)
faces = detector(photo, detect_faces=False)
json.dump({
    "modules": [type(part).__module__ for part in (processor, model, config, detector)],
    "pixel_values": pixel_values.tolist(),
    "logits": logits,
    "aus": faces[0]["aus"],
}, sys.stdout)
"""


def run_python(script: str, *arguments, **environment) -> str:
    finished = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ | environment,
    )
    assert finished.returncode == 0, finished.stderr[-3000:]
    return finished.stdout


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    path = tmp_path_factory.mktemp("photo") / "face.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (80, 80, 3), dtype=np.uint8)).save(path)
    return path


@pytest.fixture(scope="module")
def published(tiny_model_dir, tmp_path_factory):
    """A saved model with the code that it needs."""
    folder = tmp_path_factory.mktemp("published")
    run_python(PUBLISH, tiny_model_dir, folder)
    return folder


@pytest.mark.slow
def test_folder_with_code_works_without_the_package(published, photo, tmp_path):
    output = run_python(HIDE_PACKAGE + LOAD, published, photo, HF_MODULES_CACHE=str(tmp_path))
    found = json.loads(output.splitlines()[-1])
    assert all(module.startswith("transformers_modules.") for module in found["modules"])

    processor = HiVAImageProcessor.from_pretrained(published)
    pixel_values = processor(Image.open(photo), return_tensors="pt")["pixel_values"]
    assert found["pixel_values"] == pixel_values.tolist()
    logits = HiVAForAUDetection.from_pretrained(published)(pixel_values).logits.tolist()
    assert found["logits"] == [logits, logits]
    assert found["aus"] == pipeline("au-detection", model=str(published))(str(photo), detect_faces=False)[0]["aus"]


def test_users_of_the_package_need_no_trust(published, tmp_path):
    assert "custom_pipelines" in json.loads((published / "config.json").read_text())
    detector = pipeline("au-detection", model=str(published))
    # The installed classes, not those of the folder.
    assert type(detector) is AUDetectionPipeline
    assert type(detector.model) is HiVAForAUDetection
    assert type(AutoImageProcessor.from_pretrained(published)) is HiVAImageProcessor
    assert type(AutoModel.from_pretrained(published)) is HiVAForAUDetection


def test_flat_files_import_each_other_in_the_one_form_that_is_followed(published):
    """`custom_object_save` copies what `from .x import y` names; anything else would be missing here."""
    names = {path.name for path in published.glob("*.py")}
    assert {"configuration_hiva.py", "modeling_hiva.py", "image_processing_hiva.py"} <= names
    assert {"pipeline_au_detection.py", "facs.py", "facs_descriptions.py"} <= names
    for path in published.glob("*.py"):
        relative = [line.split()[1] for line in path.read_text().splitlines() if line.startswith("from .")]
        assert {f"{module.removeprefix('.')}.py" for module in relative} <= names
        assert "hiva_hf." not in "".join(line for line in path.read_text().splitlines() if line.startswith("from"))


def test_saving_without_publishing_copies_no_code(tiny_model_dir):
    assert not list(tiny_model_dir.glob("*.py"))
    assert "auto_map" not in json.loads((tiny_model_dir / "config.json").read_text())

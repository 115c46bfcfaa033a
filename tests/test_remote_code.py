"""A folder that carries its own code serves people with the package; `hub/test_publish.py` has those without it."""

import json
import shutil

import pytest
from transformers import AutoImageProcessor, AutoModel, pipeline

from hiva_hf import AUDetectionPipeline, HiVAForAUDetection, HiVAForPreTraining, HiVAImageProcessor
from hiva_hf.image_processing_pil_hiva import HiVAImageProcessorPil
from hiva_hf.remote_code import add_remote_code


@pytest.fixture(scope="module")
def published(tiny_model_dir, tmp_path_factory):
    """A saved model with the code that it needs."""
    folder = tmp_path_factory.mktemp("published") / "model"
    shutil.copytree(tiny_model_dir, folder)
    add_remote_code(folder)
    return folder


def auto_map_of(path):
    return json.loads(path.read_text())["auto_map"]


@pytest.mark.parametrize("trust", [{}, {"trust_remote_code": True}])
def test_users_of_the_package_get_its_classes(published, trust):
    assert "custom_pipelines" in json.loads((published / "config.json").read_text())
    detector = pipeline("au-detection", model=str(published), **trust)
    # The installed classes, not those of the folder.
    assert type(detector) is AUDetectionPipeline
    assert type(detector.model) is HiVAForAUDetection
    assert type(AutoImageProcessor.from_pretrained(published, **trust)) is HiVAImageProcessor
    assert type(AutoModel.from_pretrained(published, **trust)) is HiVAForAUDetection


def test_flat_files_import_each_other_in_the_one_form_that_is_followed(published):
    """The Hub's clients fetch what `from .x import y` names; anything else would be missing there."""
    names = {path.name for path in published.glob("*.py")}
    assert {"configuration_hiva.py", "modeling_hiva.py", "image_processing_hiva.py"} <= names
    assert {"pipeline_au_detection.py", "facs.py", "facs_descriptions.py", "remote_code.py"} <= names
    for path in published.glob("*.py"):
        relative = [line.split()[1] for line in path.read_text().splitlines() if line.startswith("from .")]
        assert {f"{module.removeprefix('.')}.py" for module in relative} <= names
        assert "hiva_hf." not in "".join(line for line in path.read_text().splitlines() if line.startswith("from"))


def test_each_network_is_named_by_the_auto_classes_that_load_it(published, tiny_config, tmp_path):
    assert auto_map_of(published / "config.json") == {
        "AutoConfig": "configuration_hiva.HiVAConfig",
        "AutoModel": "modeling_hiva.HiVAForAUDetection",
        "AutoModelForImageClassification": "modeling_hiva.HiVAForAUDetection",
    }
    HiVAForPreTraining(tiny_config).save_pretrained(tmp_path)
    HiVAImageProcessorPil().save_pretrained(tmp_path)
    add_remote_code(tmp_path)
    assert auto_map_of(tmp_path / "config.json") == {
        "AutoConfig": "configuration_hiva.HiVAConfig",
        "AutoModelForPreTraining": "modeling_hiva.HiVAForPreTraining",
    }
    assert "custom_pipelines" not in json.loads((tmp_path / "config.json").read_text())
    # Transformers saves both backends under one name, and chooses by what is installed.
    assert auto_map_of(tmp_path / "preprocessor_config.json") == {
        "AutoImageProcessor": "image_processing_hiva.HiVAImageProcessor"
    }


def test_saving_without_publishing_copies_no_code(tiny_model_dir):
    assert not list(tiny_model_dir.glob("*.py"))
    assert "auto_map" not in json.loads((tiny_model_dir / "config.json").read_text())

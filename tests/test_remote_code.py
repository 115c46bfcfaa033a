"""A folder that carries its own code serves people with the package; `hub/test_publish.py` has those without it."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from transformers import AutoImageProcessor, AutoModel, pipeline

from hiva_hf import (
    AUDetectionPipeline,
    HiVAForAUDetection,
    HiVAForPreTraining,
    HiVAImageProcessor,
    VLFAUForAUDetection,
)
from hiva_hf.image_processing_pil_hiva import HiVAImageProcessorPil
from hiva_hf.remote_code import add_remote_code


# Loads and writes with the code of the folder; the package fails to import as if it were not installed.
WITHOUT_THE_PACKAGE = """
import sys
sys.modules["hiva_hf"] = None
import torch
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

folder = sys.argv[1]
model = AutoModel.from_pretrained(folder, trust_remote_code=True)
processor = AutoImageProcessor.from_pretrained(folder, trust_remote_code=True)
assert type(processor).__name__ == "HiVAImageProcessor"
processor = AutoImageProcessor.from_pretrained(folder, trust_remote_code=True, backend="pil")
assert type(processor).__name__ == "HiVAImageProcessorPil"
tokenizer = AutoTokenizer.from_pretrained(folder)
texts = tokenizer.batch_decode(model.generate(torch.zeros(2, 3, 56, 56), max_new_tokens=3))
print(type(model).__module__.split(".")[0], len(texts))
"""


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


def test_labels_stay_in_the_order_of_the_logits(make_config, tmp_path):
    labels = [f"AU{number}" for number in (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17)]
    make_config(id2label=dict(enumerate(labels))).save_pretrained(tmp_path)
    add_remote_code(tmp_path)
    assert list(json.loads((tmp_path / "config.json").read_text())["id2label"].values()) == labels


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
        "AutoImageProcessor": [
            "image_processing_pil_hiva.HiVAImageProcessorPil",
            "image_processing_hiva.HiVAImageProcessor",
        ]
    }


def test_a_vl_fau_carries_its_own_code(tiny_vl_fau_dir, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(tiny_vl_fau_dir, folder)
    add_remote_code(folder)
    assert auto_map_of(folder / "config.json") == {
        "AutoConfig": "configuration_vl_fau.VLFAUConfig",
        "AutoModel": "modeling_vl_fau.VLFAUForAUDetection",
        "AutoModelForImageClassification": "modeling_vl_fau.VLFAUForAUDetection",
    }
    assert (folder / "modeling_vl_fau.py").is_file()
    assert type(AutoModel.from_pretrained(folder)) is VLFAUForAUDetection
    shown = subprocess.run(
        [sys.executable, "-c", WITHOUT_THE_PACKAGE, str(folder)],
        capture_output=True,
        text=True,
        env=os.environ | {"HF_HOME": str(tmp_path / "home")},
    )
    assert shown.returncode == 0, shown.stderr[-3000:]
    assert shown.stdout.split()[-2:] == ["transformers_modules", "8"]


def test_code_of_a_hiva_is_hivas_alone(published):
    assert not list(published.glob("*vl_fau*"))


def test_saving_without_publishing_copies_no_code(tiny_model_dir):
    assert not list(tiny_model_dir.glob("*.py"))
    assert "auto_map" not in json.loads((tiny_model_dir / "config.json").read_text())

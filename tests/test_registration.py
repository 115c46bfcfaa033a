"""`import hiva_hf` is quick, and transformers knows HiVA afterwards, whoever is imported first."""

import json
import subprocess
import sys

import pytest
from transformers import AutoModelForPreTraining

from hiva_hf import HiVAForPreTraining


LIGHT = """
import sys
import hiva_hf
dir(hiva_hf)
print(*sorted({name.split(".")[0] for name in sys.modules}))
"""

# What is imported, and what must then load the folder. Each with torch alone imported before.
ORDERS = {
    "AutoConfig first": ("import hiva_hf; from transformers import AutoConfig", "AutoConfig.from_pretrained(folder)"),
    "AutoModel first": ("import hiva_hf; from transformers import AutoModel", "AutoModel.from_pretrained(folder)"),
    "AutoImageProcessor alone": (
        "import hiva_hf; from transformers import AutoImageProcessor",
        "AutoImageProcessor.from_pretrained(folder)",
    ),
    "pipeline after the package": (
        "import hiva_hf; from transformers import pipeline",
        "pipeline('au-detection', model=folder)",
    ),
    "pipeline before the package": (
        "from transformers import pipeline; import hiva_hf",
        "pipeline('au-detection', model=folder)",
    ),
    "Auto class before the package": (
        "from transformers import AutoModelForImageClassification; import hiva_hf",
        "AutoModelForImageClassification.from_pretrained(folder)",
    ),
    # Its module imports `modeling_layers`, which imports AutoModel before it is complete.
    "another model first": (
        "import hiva_hf; from transformers import BertModel, AutoModel",
        "AutoModel.from_pretrained(folder)",
    ),
    "our configuration first": (
        "from hiva_hf.configuration_hiva import HiVAConfig; from transformers import AutoModel",
        "AutoModel.from_pretrained(folder)",
    ),
    "our network first": (
        "from hiva_hf.modeling_hiva import HiVAForAUDetection; from transformers import AutoModel",
        "AutoModel.from_pretrained(folder)",
    ),
    "our network that writes first": (
        "from hiva_hf.modeling_vl_fau import VLFAUForAUDetection; from transformers import AutoModel",
        "AutoModel.from_pretrained(folder)",
    ),
    "our pipeline first": (
        "from hiva_hf.pipeline_au_detection import AUDetectionPipeline; from transformers import pipeline",
        "pipeline('au-detection', model=folder)",
    ),
}
EXPECTED = {
    "AutoConfig": "hiva_hf.configuration_hiva.HiVAConfig",
    "AutoModel": "hiva_hf.modeling_hiva.HiVAForAUDetection",
    "AutoModelForImageClassification": "hiva_hf.modeling_hiva.HiVAForAUDetection",
    "AutoImageProcessor": "hiva_hf.image_processing_hiva.HiVAImageProcessor",
    "pipeline": "hiva_hf.pipeline_au_detection.AUDetectionPipeline",
}

# A process for each order, forked after the slow import of torch.
TRY_ORDERS = """
import json, os, sys, traceback
import torch, torchvision
assert not {"transformers", "hiva_hf"} & set(sys.modules)

folder = sys.argv[1]
for name, (imports, load) in json.loads(sys.argv[2]).items():
    process = os.fork()
    if process == 0:
        names = {"folder": folder}
        try:
            exec(imports, names)
            loaded = type(eval(load, names))
            print(json.dumps([name, f"{loaded.__module__}.{loaded.__qualname__}"]), flush=True)
        except BaseException:
            print(json.dumps([name, traceback.format_exc()]), flush=True)
        os._exit(0)
    os.waitpid(process, 0)
"""

SPAWN = """
import multiprocessing, sys
import hiva_hf

def load(folder):
    from transformers import AutoModel
    return type(AutoModel.from_pretrained(folder)).__name__

if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.apply(load, sys.argv[1:]))
"""


def run_python(*arguments) -> str:
    return subprocess.run(
        [sys.executable, *map(str, arguments)], stdout=subprocess.PIPE, text=True, check=True
    ).stdout.strip()


def load_in_every_order(folder) -> dict[str, str]:
    """The class that each order loaded, or its traceback."""
    lines = run_python("-c", TRY_ORDERS, folder, json.dumps(ORDERS)).splitlines()
    return dict(json.loads(line) for line in lines if line.startswith("["))


@pytest.fixture(scope="module")
def loaded_classes(tiny_model_dir) -> dict[str, str]:
    return load_in_every_order(tiny_model_dir)


@pytest.fixture(scope="module")
def loaded_classes_of_vl_fau(tiny_vl_fau_dir) -> dict[str, str]:
    return load_in_every_order(tiny_vl_fau_dir)


def test_the_network_of_stage_1_is_loaded_by_the_auto_class_that_its_checkpoints_name(tiny_config, tmp_path):
    HiVAForPreTraining(tiny_config).save_pretrained(tmp_path)
    assert type(AutoModelForPreTraining.from_pretrained(tmp_path)) is HiVAForPreTraining


def test_importing_the_package_imports_nothing_heavy():
    loaded = set(run_python("-c", LIGHT).split())
    assert "hiva_hf" in loaded
    assert not loaded & {"torch", "torchvision", "transformers", "numpy", "PIL", "datasets", "huggingface_hub"}


@pytest.mark.slow
@pytest.mark.parametrize("order", ORDERS)
def test_the_classes_are_registered_in_every_order_of_imports(loaded_classes, order):
    auto_class = ORDERS[order][1].split(".")[0].split("(")[0]
    assert loaded_classes[order] == EXPECTED[auto_class]


@pytest.mark.slow
@pytest.mark.parametrize("order", ORDERS)
def test_the_classes_of_vl_fau_are_registered_in_every_order_of_imports(loaded_classes_of_vl_fau, order):
    auto_class = ORDERS[order][1].split(".")[0].split("(")[0]
    expected = EXPECTED[auto_class].replace("configuration_hiva.HiVA", "configuration_vl_fau.VLFAU")
    assert loaded_classes_of_vl_fau[order] == expected.replace("modeling_hiva.HiVA", "modeling_vl_fau.VLFAU")


@pytest.mark.slow
def test_the_classes_are_registered_in_spawned_processes(tiny_model_dir, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SPAWN)
    assert run_python(script, tiny_model_dir) == "HiVAForAUDetection"

"""`pipeline("au-detection")` without model and without network."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import AutoModel, pipeline
from transformers.pipelines import PIPELINE_REGISTRY

import hiva_hf
from hiva_hf import packaged_checkpoint


# Every attempt to reach another machine fails and is told.
WITHOUT_NETWORK = """
import json, socket, sys, warnings

attempts = []

def refuse(self, address):
    attempts.append(str(address))
    raise OSError("no network")

def resolve(host, *args, **kwargs):
    attempts.append(str(host))
    raise socket.gaierror("no network")

socket.socket.connect, socket.getaddrinfo = refuse, resolve

import hiva_hf
from skimage import data
from transformers import pipeline

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    detector = pipeline("au-detection")
    faces = detector(data.astronaut())
facts = {
    "attempts": attempts,
    "faces": faces,
    "folder": detector.model.name_or_path,
    "dtype": str(detector.model.dtype),
    "starter": hiva_hf.starter_checkpoint(),
    "warnings": [str(warning.message) for warning in caught if "hiva" in str(warning.message)],
}
print(json.dumps(facts))
"""


def run_without_network(source: Path) -> tuple[dict, str]:
    """Run the script above with the package in `source`; returns its facts and what was written beside them."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment |= {"PYTHONPATH": str(source), "HF_HOME": str(source / "empty")}
    command = [sys.executable, "-c", WITHOUT_NETWORK]
    done = subprocess.run(command, env=environment, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), done.stderr


@pytest.mark.slow
def test_a_package_with_a_starter_needs_neither_model_nor_network(tiny_model_dir, tmp_path):
    package = Path(hiva_hf.__file__).parent
    copy = tmp_path / "hiva_hf"
    shutil.copytree(package, copy, ignore=shutil.ignore_patterns("starter", "*.parquet", "__pycache__"))
    shutil.copytree(tiny_model_dir, copy / "starter")
    facts, log = run_without_network(tmp_path)
    assert facts["attempts"] == []
    assert facts["folder"] == facts["starter"] == str(copy / "starter")
    assert [au["label"] for au in facts["faces"][0]["aus"]] == ["AU1", "AU4", "AU12", "AU25"]
    # The one thing that transformers says tells where the detector comes from.
    assert f"defaulted to {copy / 'starter'} and revision hiva-hf {hiva_hf.__version__}" in log
    assert not [line for line in log.splitlines() if "trust_remote_code" in line or "Error" in line]


def test_the_default_model_is_the_starter():
    model, revision = PIPELINE_REGISTRY.check_task("au-detection")[1]["default"]["model"]
    assert model == str(packaged_checkpoint.STARTER_FOLDER)
    assert revision == f"hiva-hf {hiva_hf.__version__}"


def test_a_starter_is_found(tiny_model_dir, monkeypatch):
    monkeypatch.setattr(packaged_checkpoint, "STARTER_FOLDER", tiny_model_dir)
    assert hiva_hf.starter_checkpoint() == str(tiny_model_dir)


def test_a_missing_starter_is_explained(tmp_path, monkeypatch):
    monkeypatch.setattr(packaged_checkpoint, "STARTER_FOLDER", tmp_path / "starter")
    with pytest.raises(FileNotFoundError, match=r"starter: this copy of hiva-hf is incomplete.*model="):
        hiva_hf.starter_checkpoint()


def test_the_packaged_starter_reads_a_photo(astronaut):
    weights = packaged_checkpoint.STARTER_FOLDER / "model.safetensors"
    assert weights.stat().st_size <= 50e6
    detector = pipeline("au-detection")
    assert detector.model.name_or_path == hiva_hf.starter_checkpoint()
    assert {str(parameter.dtype) for parameter in detector.model.parameters()} == {"torch.float32"}
    (face,) = detector(astronaut)
    active = {au["label"] for au in face["aus"] if au["active"] and not au["experimental"]}
    # She smiles with open eyes, and her teeth show.
    assert {"AU12", "AU25"} <= active
    assert not active & {"AU4", "AU15", "AU43"}
    alone = AutoModel.from_pretrained(hiva_hf.starter_checkpoint())
    assert alone.config.to_dict() == detector.model.config.to_dict()


def test_a_detector_is_a_folder_a_repository_or_the_starter(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    starter = hiva_hf.starter_checkpoint()
    assert packaged_checkpoint.find_checkpoint() == packaged_checkpoint.find_checkpoint("starter") == starter
    assert packaged_checkpoint.find_checkpoint(tmp_path) == str(tmp_path)
    assert packaged_checkpoint.find_checkpoint("org/hiva-bp4d") == "org/hiva-bp4d"
    (tmp_path / "starter").mkdir()
    assert packaged_checkpoint.find_checkpoint("starter") == "starter"
    assert packaged_checkpoint.find_checkpoint() == starter


@pytest.mark.parametrize("name", ["hiva", "./hiva", "runs/first/hiva", "/hiva/first", "../org/hiva", "~/hiva"])
def test_a_folder_that_is_not_there_is_told(name):
    with pytest.raises(FileNotFoundError, match="There is no folder '.*hiva.*a Hub repository ORG/NAME"):
        packaged_checkpoint.find_checkpoint(name)

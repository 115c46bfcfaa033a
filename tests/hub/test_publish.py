"""Models on the Hub over HTTP, against a server that speaks its protocol: pushed, and loaded by both kinds of user.

Clients run in processes of their own (`publisher.py`, `reader.py`), because they read where the Hub is, and whether
they are offline, when they are imported.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hiva_hf import VLFAUForAUDetection
from hiva_hf.remote_code import code_files


pytestmark = pytest.mark.slow

REPOS = ("org/hiva", "org/disfa", "org/parts", "org/pipe")
CODE = {path.name for path in code_files()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("publishing")


@pytest.fixture(scope="module")
def run_client(hub_server, folder):
    """Runs a client with caches of its own and returns what it printed.

    No output may hold the token, and no one may be asked whether code is trusted.
    """

    def run(script: str, *arguments: object, home: str, offline: bool = False):
        environment = hub_server.environment(folder / home, hub_server.token)
        if offline:
            environment |= {"HF_HUB_OFFLINE": "1", "HF_ENDPOINT": "http://127.0.0.1:9"}
        command = [sys.executable, str(Path(__file__).with_name(script)), *map(str, arguments)]
        client = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        assert client.returncode == 0, client.stderr[-3000:]
        assert hub_server.token not in client.stderr + client.stdout
        assert "Do you wish to run the custom code?" not in client.stdout
        return json.loads(client.stdout.splitlines()[-1])

    return run


@pytest.fixture(scope="module")
def photo(folder):
    path = folder / "face.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (80, 80, 3), dtype=np.uint8)).save(path)
    return path


@pytest.fixture(scope="module")
def published(make_run, make_vl_fau_run, folder, run_client, photo):
    """What the publisher saw."""
    runs = folder / "runs"
    (runs / "empty").mkdir(parents=True)
    make_run("synthfacs", seed=1).rename(runs / "first")
    make_run("synthfacs", seed=2, photo="/photos/me.jpg").rename(runs / "second")
    make_run("disfa", seed=3).rename(runs / "disfa")
    make_vl_fau_run("synthfacs").rename(runs / "vl-fau")
    _change_what_is_written(runs / "vl-fau", runs / "other-words")
    return run_client("publisher.py", runs, photo, home="publisher")


def _change_what_is_written(run: Path, changed: Path):
    """A run of the same logits and of other sentences."""
    shutil.copytree(run, changed)
    model = VLFAUForAUDetection.from_pretrained(run)
    with torch.no_grad():
        for weights in model.local_decoder.parameters():
            weights.neg_()
    model.save_pretrained(changed)


# Pushing


def test_a_run_is_published_whole(published, hub_server):
    assert published["pushed"]["url"] == f"{hub_server.endpoint}/org/hiva"
    files = set(published["pushed"]["files"]["org/hiva"])
    assert (
        CODE | {"README.md", "all_results.json", "descriptions.json", "model.safetensors", "tokenizer.json"} <= files
    )
    assert not any(file.endswith((".bin", ".txt")) for file in files)


def test_files_of_earlier_pushes_go_and_those_of_others_stay(published):
    files = {repo: set(names) for repo, names in published["pushed"]["files"].items()}
    # The second push had no training checkpoint, and a photo of the user's own.
    assert not [name for name in files["org/hiva"] if name.startswith("training/")]
    assert "photo.png" not in files["org/hiva"] and "results.png" in files["org/hiva"]
    assert {"app.py", "figure.png", "onnx/model.onnx"} <= files["org/hiva"]
    # A HiVA took the place of a VL-FAU.
    assert "descriptions.json" in files["org/own"]
    assert not {"modeling_vl_fau.py", "generation_config.json", "sentences_test.jsonl"} & files["org/own"]


def test_models_of_licensed_faces_stay_private_unless_told_twice(published):
    pushed = published["pushed"]
    assert pushed["code"] == 0
    assert pushed["private"] == {"org/hiva": False, "org/disfa": True, "org/told-twice": False, "org/own": True}
    assert pushed["refused"].startswith("ValueError: org/hiva exists and is public: the model would be published")
    assert pushed["kept_private"].startswith("ValueError: org/hiva exists and is public")
    [warning] = pushed["stays_private"]
    assert "org/own was private before this push" in warning and "--public" in warning
    assert not [file for file in pushed["files"]["org/told-twice"] if file.endswith(".parquet")]


def test_a_push_is_checked_against_the_run(published):
    assert published["pushed"]["other_weights"].startswith(
        "PublishedModelError: The logits of org/hiva at main differ"
    )
    assert "The sentences of org/vl-fau at v1 differ" in published["pushed"]["other_words"]
    assert published["pushed"]["lost_file"].startswith("PublishedModelError: org/hiva lacks ")


def test_a_version_keeps_its_name(published):
    assert published["pushed"]["same_tag"].startswith("ValueError: org/hiva already has a version 'v1'.")
    assert published["pushed"]["nothing_was_sent"]


def test_strangers_cannot_push(published):
    assert "403" in published["pushed"]["stranger"]
    assert published["read"]["hub"]["org/hiva"] == published["read"]["local"]["second"]


def test_every_push_to_hub_brings_the_code(published):
    for files in published["parts"].values():
        assert CODE | {"config.json", "model.safetensors", "preprocessor_config.json"} <= set(files)


def test_no_token_and_no_folder_of_the_machine_is_in_what_was_sent(published, hub_server, folder):
    blobs = list(hub_server.folder.joinpath("blobs").iterdir())
    assert len(blobs) > len(CODE)
    for blob in blobs:
        content = blob.read_bytes()
        assert hub_server.token.encode() not in content
        assert str(folder).encode() not in content and str(Path.home()).encode() + b"/" not in content


def test_cards_are_valid_for_the_hub(published):
    cards = dict(published["cards"])
    assert "license_name" in cards.pop("flawed")
    assert set(cards.values()) == {"no error"}


# Loading


def test_logits_come_back_bit_by_bit(published):
    local, hub = published["read"]["local"], published["read"]["hub"]
    assert hub == {
        "org/hiva": local["second"],
        "org/disfa": local["disfa"],
        "org/parts": local["first"],
        "org/pipe": local["first"],
    }
    assert published["read"]["v1"] == local["first"] != local["second"]


def test_the_training_checkpoint_encodes_its_descriptions(published):
    assert published["read"]["training_encodes_descriptions"]


def test_single_files_are_read(published, results_of, folder):
    assert published["read"]["results"] == results_of(folder / "runs" / "first")
    assert published["read"]["subjects"] == ["bob", "carl"]


def test_a_private_vl_fau_writes_for_who_passes_the_token(published):
    assert published["told_the_token"] == published["vl_fau"]["faces"]


def test_private_models_are_hidden(published):
    assert "org/disfa" in published["read"]["anonymous"] and published["read"]["anonymous"].startswith("OSError")
    assert published["read"]["stranger"].startswith("OSError")
    assert "v9" in published["read"]["no_revision"]


@pytest.mark.parametrize("package", ["installed", "hidden"])
def test_both_kinds_of_user_are_served_online_and_offline(published, run_client, photo, package):
    seen = run_client("reader.py", photo, package, home=package)
    # With an empty cache at first, and no Hub afterwards.
    assert run_client("reader.py", photo, package, home=package, offline=True) == seen

    local = published["read"]["local"]
    wanted = dict(zip((*REPOS, "v1", "copy"), ("second", "disfa", "first", "first", "first", "second"), strict=True))
    for name, run in wanted.items():
        assert seen[name]["logits"] == [local[run], local[run]]
        assert seen[name]["modules"] == ["transformers_modules" if package == "hidden" else "hiva_hf"]
        assert [au["label"] for au in seen[name]["aus"]] == ["AU1", "AU4", "AU12", "AU25"]
    # The run's logits and sentences, by the Auto classes and by the pipeline.
    assert [*seen["vl_fau"], seen["vl_fau_copy"]] == [published["vl_fau"]] * 3
    assert len(published["vl_fau"]["sentences"]) == 4
    assert seen["descriptions"] == ["AU1", "AU12", "AU25", "AU4"]
    if package == "hidden":
        assert "trust_remote_code=True" in seen["without_trust"]

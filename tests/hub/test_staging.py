"""What of a run is published, and what stays at home."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from transformers import AutoConfig, AutoModel, AutoTokenizer

from hiva_hf import HiVAForAUDetection
from hiva_hf.cli.main import main
from hiva_hf.facs import get_action_unit
from hiva_hf.hub.finished_run import read_finished_run
from hiva_hf.hub.privacy import public_settings
from hiva_hf.hub.publish import push_run_to_hub
from hiva_hf.hub.staging import stage_run
from hiva_hf.remote_code import code_files
from hiva_hf.training.run_folder import RunFolder
from hiva_hf.training.settings import read_settings


CHECKPOINT = {"model.safetensors", "config.json", "preprocessor_config.json"}
RECORDS = {"all_results.json", "metrics.jsonl", "environment.json", "resources.json", "settings.yaml", "README.md"}
WORDS = {"descriptions.json", "tokenizer.json", "tokenizer_config.json"}
PICTURES = {"results.png", "photo.png"}
CODE = {path.name for path in code_files()}
PREDICTIONS = {"predictions_test.parquet", "predictions_validation.parquet"}


def files_of(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def staged(make_run, tmp_path):
    def stage(dataset, training_checkpoint=False, **options):
        run = make_run(dataset, **options)
        folder = tmp_path / dataset
        stage_run(read_finished_run(run), folder, f"org/{dataset}", training_checkpoint)
        return run, folder

    return stage


def test_a_run_on_rendered_faces_is_published_whole(staged):
    _, folder = staged("synthfacs")
    assert files_of(folder) == CHECKPOINT | RECORDS | WORDS | CODE | PREDICTIONS | PICTURES
    assert all(f"]({name})" in (folder / "README.md").read_text() for name in PICTURES)


@pytest.mark.parametrize("dataset", ["disfa", "custom"])
def test_predictions_for_people_are_not_published(staged, dataset):
    _, folder = staged(dataset)
    assert files_of(folder) == CHECKPOINT | RECORDS | WORDS | CODE | PICTURES


def test_predictions_are_not_published_if_licensed_faces_were_added(staged):
    _, folder = staged("synthfacs", additional_data=["disfa=/data/licensed/disfa"])
    assert not files_of(folder) & PREDICTIONS
    assert yaml.safe_load((folder / "settings.yaml").read_text())["additional_data"] == ["disfa="]


def test_names_of_ones_own_subjects_are_not_published(staged):
    _, folder = staged("custom")
    results = json.loads((folder / "all_results.json").read_text())
    assert (results["num_training_subjects"], results["num_validation_subjects"], results["num_test_subjects"]) == (
        2,
        1,
        1,
    )
    assert not {"anna", "bob", "carl", "dora"} & set("".join(files_text(folder)).split('"'))


def files_text(folder):
    return [
        path.read_text()
        for path in folder.rglob("*")
        if path.suffix in (".json", ".jsonl", ".yaml", ".md") and path.name != "tokenizer.json"
    ]


def test_numbers_of_a_known_sets_subjects_are_kept_for_evaluation(staged):
    _, folder = staged("disfa")
    assert json.loads((folder / "all_results.json").read_text())["training_subjects"] == ["bob", "carl"]


def test_folders_of_the_machine_are_not_published(staged):
    run, folder = staged("disfa", True, vision_model_name_or_path="/models/vision", photo="/photos/me.jpg")
    text = "".join(files_text(folder))
    for local in (str(run), "/data/licensed", "/models/vision", "/photos", "site-packages", "-tower"):
        assert local not in text
    # What is left is still a file of settings.
    assert read_settings((folder / "settings.yaml").read_text(), "settings.yaml")["dataset"] == "disfa"


@pytest.mark.parametrize(("descriptions", "is_kept"), [("generated", True), ("/share/anna/review.jsonl", False)])
def test_a_file_of_descriptions_is_not_named(descriptions, is_kept):
    assert ("descriptions" in public_settings({"descriptions": descriptions, "fold": 1})) is is_kept


def test_a_home_that_is_the_root_is_no_folder_that_addresses_name(make_run, tmp_path, monkeypatch):
    """As in containers that run as any user."""
    monkeypatch.setenv("HOME", "/")
    run = make_run("synthfacs")
    (run / "metrics.jsonl").write_text('{"note": "https://example.org"}')
    stage_run(read_finished_run(run), tmp_path, "org/name")
    assert "https://example.org" in (tmp_path / "metrics.jsonl").read_text()


def test_a_user_without_a_home_can_publish(make_run, tmp_path, monkeypatch):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    run = make_run("synthfacs")
    monkeypatch.setattr(Path, "home", no_home)
    stage_run(read_finished_run(run), tmp_path / "public", "org/name")
    assert files_of(tmp_path / "public") >= CHECKPOINT | RECORDS
    # Other folders are still found.
    (run / "metrics.jsonl").write_text(json.dumps({"note": str(run)}))
    with pytest.raises(ValueError, match="metrics.jsonl contains a local path"):
        stage_run(read_finished_run(run), tmp_path / "refused", "org/name")


def test_a_photo_that_the_user_chose_is_not_published(staged):
    _, folder = staged("synthfacs", photo="/photos/me.jpg")
    assert files_of(folder) & PICTURES == {"results.png"}
    assert "photo.png" not in (folder / "README.md").read_text()


def test_nor_is_one_that_a_finished_run_read_later(make_run, tmp_path):
    run = make_run("synthfacs")
    picture = RunFolder(run).picture_of("/photos/me.jpg")
    # The astronaut's is gone before anything else can fail.
    assert picture == run / "photo.png"
    assert not picture.exists()
    picture.write_bytes(b"me")
    stage_run(read_finished_run(run), tmp_path / "private", "org/name")
    assert files_of(tmp_path / "private") & PICTURES == {"results.png"}
    RunFolder(run).picture_of(None).write_bytes(b"the astronaut")
    stage_run(read_finished_run(run), tmp_path / "public", "org/name")
    assert (tmp_path / "public/photo.png").read_bytes() == b"the astronaut"


def test_descriptions_and_tokenizer_fit_the_training_checkpoint(make_run, tmp_path):
    run = make_run("synthfacs")
    stage_run(read_finished_run(run), tmp_path, "org/name", training_checkpoint=True)
    model = HiVAForAUDetection.from_pretrained(tmp_path, subfolder="training")
    before = model.text_memory.clone()
    descriptions = json.loads((tmp_path / "descriptions.json").read_text())
    assert descriptions["AU12"]["variants"] == list(get_action_unit("AU12").variants)
    model.text_memory.zero_()
    model.encode_descriptions(
        AutoTokenizer.from_pretrained(tmp_path),
        [descriptions[label]["description"] for label in model.config.au_labels],
    )
    assert model.text_memory.equal(before)


@pytest.mark.parametrize(
    ("variant", "source", "read_of", "has_variants"),
    [
        ("full", "written", 0, True),
        ("full", "mine.jsonl", 0, False),
        ("names_only", "written", None, False),
        ("shuffled_descriptions", "written", -1, True),
    ],
)
def test_descriptions_are_those_that_were_read(make_run, tmp_path, variant, source, read_of, has_variants):
    run = read_finished_run(make_run("synthfacs"))
    config = AutoConfig.from_pretrained(run.path, variant=variant)
    run = replace(run, config=config, settings=dict(run.settings) | {"descriptions": source})
    stage_run(run, tmp_path, "org/name")
    row = json.loads((tmp_path / "descriptions.json").read_text())["AU12"]
    unit = get_action_unit(config.au_labels[config.au_labels.index("AU12") + (read_of or 0)])
    assert row["name"] == "Lip Corner Puller"
    assert row["description"] == (row["name"] if read_of is None else unit.description)
    assert row["variants"] == (list(unit.variants) if has_variants else [])


def test_a_token_in_a_file_stops_the_push_and_is_not_repeated(make_run, tmp_path):
    run = make_run("synthfacs")
    secret = "hf_" + "a1B2c3D4e5F6g7H8i9J0"
    (run / "metrics.jsonl").write_text(json.dumps({"note": secret}))
    with pytest.raises(ValueError, match="metrics.jsonl contains an access token") as raised:
        stage_run(read_finished_run(run), tmp_path, "org/name")
    assert secret not in str(raised.value)


def test_the_pushing_token_is_recognised_whatever_it_looks_like(make_run, tmp_path):
    run = make_run("synthfacs")
    (run / "metrics.jsonl").write_text('{"note": "swordfish"}')
    with pytest.raises(ValueError, match="metrics.jsonl contains an access token"):
        stage_run(read_finished_run(run), tmp_path, "org/name", token="swordfish")


def test_an_unfinished_run_is_not_published(make_run, capsys):
    run = make_run("synthfacs")
    (run / "all_results.json").unlink()
    assert main(["push", str(run), "org/name"]) == 1
    assert "has no all_results.json, so it is not the folder of a finished run" in capsys.readouterr().err


def test_pickled_weights_are_not_published(make_run):
    run = make_run("synthfacs")
    (run / "model.safetensors").rename(run / "pytorch_model.bin")
    with pytest.raises(FileNotFoundError, match="Only safetensors are published"):
        push_run_to_hub(run, "org/name")


@pytest.mark.parametrize("dataset", ["bp4d", "disfa", "gft", "custom"])
@pytest.mark.parametrize("confirmation", [None, "org/other"])
def test_licensed_faces_need_two_words_to_become_public(make_run, dataset, confirmation):
    """Before anything is sent: there is no Hub here."""
    with pytest.raises(ValueError, match="confirm it with public=True and confirm_public='org/name'"):
        push_run_to_hub(make_run(dataset), "org/name", public=True, confirm_public=confirmation)


def test_a_dry_run_writes_what_would_be_published(make_run, tmp_path, capsys):
    folder = tmp_path / "dry"
    assert main(["push", str(make_run("disfa")), "org/name", "--dry_run", str(folder)]) == 0
    assert files_of(folder) >= CHECKPOINT | RECORDS
    assert main(["push", str(make_run("disfa")), "org/name", "--dry_run", str(folder)]) == 2
    assert "is not empty" in capsys.readouterr().err


@pytest.mark.parametrize("is_there", [False, True])
def test_a_dry_run_that_is_refused_leaves_nothing_and_can_be_repeated(make_run, tmp_path, capsys, is_there):
    run, folder = make_run("synthfacs"), tmp_path / "dry"
    if is_there:
        folder.mkdir()
    metrics = (run / "metrics.jsonl").read_text()
    (run / "metrics.jsonl").write_text('{"note": "hf_' + 'a1B2c3D4e5F6g7H8i9J0"}')
    words = ["push", str(run), "org/name", "--dry_run", str(folder)]
    assert main(words) == 2
    assert "metrics.jsonl contains an access token" in capsys.readouterr().err
    assert not files_of(tmp_path) and folder.exists() is is_there
    (run / "metrics.jsonl").write_text(metrics)
    assert main(words) == 0
    assert files_of(folder) >= CHECKPOINT | RECORDS
    assert [path.name for path in tmp_path.iterdir()] == ["dry"]


@pytest.mark.parametrize("dataset", ["synthfacs", "disfa"])
def test_a_vl_fau_is_published_with_what_it_writes_with(make_vl_fau_run, tmp_path, dataset):
    stage_run(read_finished_run(make_vl_fau_run(dataset)), tmp_path, "org/name")
    code = {path.name for path in code_files("vl_fau")}
    writer = {"tokenizer.json", "tokenizer_config.json", "generation_config.json"}
    of_rendered_faces = PREDICTIONS | {"sentences_test.jsonl"} if dataset == "synthfacs" else set()
    assert files_of(tmp_path) == CHECKPOINT | RECORDS | writer | code | of_rendered_faces | PICTURES
    model, tokenizer = AutoModel.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    ids = model.generate(torch.zeros(1, 3, 56, 56), max_new_tokens=2)
    assert len(tokenizer.batch_decode(ids)) == 4
    card = (tmp_path / "README.md").read_text()
    assert card.split("---")[2].strip().startswith("# VL-FAU")


def test_a_vl_fau_has_no_training_checkpoint_of_its_own(make_vl_fau_run, tmp_path):
    with pytest.raises(ValueError, match="VL-FAU.*omit `training_checkpoint`"):
        stage_run(read_finished_run(make_vl_fau_run("synthfacs")), tmp_path, "org/name", training_checkpoint=True)

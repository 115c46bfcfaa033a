"""What all runs have in common, by whole runs of HiVA on small real towers and a few faces of the embedded set."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from transformers import AutoConfig, AutoModel, TimmWrapperConfig

from hiva_hf.data import AU_SETS, load_au_dataset
from hiva_hf.evaluation.metrics import compute_au_metrics
from hiva_hf.evaluation.predictions import read_predictions
from hiva_hf.experiments.checkpoint_evaluation import read_subject_record
from hiva_hf.training.arguments import AUTrainingArguments
from hiva_hf.training.hiva_runs import HiVATrainingRun
from hiva_hf.training.model_runs import make_run


def every_file(run: HiVATrainingRun) -> str:
    """All that a run has written as text."""
    return "".join(
        path.read_text() for path in run.output_dir.rglob("*") if path.suffix in (".json", ".yaml", ".jsonl")
    )


def test_results_hold_the_means_and_every_au(finished_run):
    run, results = finished_run
    assert json.loads((run.output_dir / "all_results.json").read_text()) == results
    for name in ("test_mean_roc_auc", "test_mean_f1", "test_mean_accuracy"):
        assert 0 <= results[name] <= 1
    for number in AU_SETS["synthfacs"]:
        assert {f"test_f1_AU{number}", f"test_roc_auc_AU{number}", f"test_accuracy_AU{number}"} <= results.keys()


def test_the_run_was_tested_on_subjects_that_it_never_saw(finished_run):
    run, results = finished_run
    seen = set(run.splits["train"]["subject"]) | set(run.splits["validation"]["subject"])
    assert results["test_subjects"]
    assert not seen & set(results["test_subjects"])


def test_the_reported_metrics_are_those_of_the_saved_checkpoint(finished_run):
    run, results = finished_run
    model = AutoModel.from_pretrained(run.output_dir)
    rows = load_au_dataset("synthfacs", split="test", fold=1)
    rows = rows.select(np.linspace(0, len(rows) - 1, 96).astype(int))
    pixels = run.image_processor(rows["image"][:], return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        active = (model(pixels).logits.sigmoid() >= 0.5).numpy()
    labels = np.array(rows["labels"]).astype(bool)
    assert results["test_mean_accuracy"] == pytest.approx((active == labels).mean(), abs=1e-6)


def test_the_label_weights_come_from_the_training_subjects_alone(finished_run):
    run, _ = finished_run
    rates = np.array(run.splits["train"]["labels"]).mean(axis=0)
    expected = len(rates) * (1 / rates) / (1 / rates).sum()
    assert AutoModel.from_pretrained(run.output_dir).config.label_weights == pytest.approx(expected.tolist())


def test_resuming_a_finished_run_trains_nothing(finished_run, make_arguments):
    run, results = finished_run
    weights = (run.output_dir / "model.safetensors").stat().st_mtime_ns
    assert HiVATrainingRun(make_arguments(run.output_dir, resume_from_checkpoint=True)).run() == results
    assert (run.output_dir / "model.safetensors").stat().st_mtime_ns == weights


def test_a_finished_run_may_be_repeated(finished_run, make_arguments):
    run, _ = finished_run
    HiVATrainingRun(make_arguments(run.output_dir, report_to=["tensorboard"]))


def test_a_finished_run_leaves_no_training_states(finished_run):
    run, _ = finished_run
    assert not (run.output_dir / "checkpoints").exists()


def test_an_au_that_never_occurs_in_training_is_named(make_arguments, tmp_path):
    run = HiVATrainingRun(make_arguments(tmp_path, max_train_samples=2))
    with pytest.raises(ValueError, match=r"AU\d+ has a positive rate of 0.0 in .* the prepared columns"):
        run.build_detector()


def test_predictions_are_those_that_were_scored(finished_run):
    run, results = finished_run
    test = read_predictions(run.output_dir / "predictions_test.parquet")
    metrics = compute_au_metrics(test.labels, test.probabilities, test.au_labels)
    assert {f"test_{name}": value for name, value in metrics.items()}.items() <= results.items()
    assert test.subjects == results["test_subjects"]
    assert set(test.fold) == {1}


def test_validation_predictions_are_about_the_validation_subjects(finished_run):
    run, results = finished_run
    validation = read_predictions(run.output_dir / "predictions_validation.parquet")
    assert validation.subjects == results["validation_subjects"] == sorted(set(run.splits["validation"]["subject"]))
    assert set(results["training_subjects"]) == set(run.splits["train"]["subject"])


def test_the_resolved_settings_start_the_same_run_again(finished_run, tmp_path):
    run, _ = finished_run
    settings = yaml.safe_load((run.output_dir / "settings.yaml").read_text())
    again = HiVATrainingRun(AUTrainingArguments(**settings | {"output_dir": str(tmp_path)}))
    assert again.arguments.binding_settings() == run.arguments.binding_settings()


def test_the_run_folder_tells_what_it_was_made_with(finished_run):
    run, results = finished_run
    environment = json.loads((run.output_dir / "environment.json").read_text())
    assert environment["packages"]["torch"] == torch.__version__
    assert environment["num_processes"] == 1
    assert results["resources"]["stage1"]["peak_memory_bytes"] > 2**27
    assert results["resources"]["run"]["seconds"] >= results["resources"]["stage2"]["seconds"] > 0


def test_the_run_folder_names_no_folder_but_those_that_the_user_gave(finished_run):
    run, _ = finished_run
    written = every_file(run).replace(str(run.output_dir), "")
    for given in (run.arguments.vision_model_name_or_path, run.arguments.text_model_name_or_path):
        written = written.replace(given, "")
    assert "/root" not in written
    assert "/tmp" not in written


def test_towers_of_timm_come_from_a_folder(make_arguments, tmp_path):
    config = TimmWrapperConfig(architecture="test_vit", model_args={"img_size": 64}, num_classes=2)
    torch.manual_seed(0)
    AutoModel.from_config(config).save_pretrained(tmp_path / "tower")
    arguments = make_arguments(
        tmp_path / "run",
        vision_model_name_or_path=str(tmp_path / "tower"),
        image_size=64,
        trainable_backbone_layers=-1,
        stage1_epochs=1,
        stage2_epochs=1,
    )
    run = HiVATrainingRun(arguments)
    detector = run.build_detector()
    tower = AutoModel.from_pretrained(tmp_path / "tower").state_dict()
    assert all(
        torch.equal(tensor, tower[name]) for name, tensor in detector.vision_model.backbone.state_dict().items()
    )
    run.run()
    assert AutoConfig.from_pretrained(tmp_path / "run").backbone_config.architecture == "test_vit"


def test_an_unfinished_run_is_not_overwritten_by_accident(make_arguments, tmp_path):
    run = HiVATrainingRun(make_arguments(tmp_path, stage1_epochs=1))
    run.train_stage1(run.build_detector())
    with pytest.raises(ValueError, match=r"holds an unfinished run. Pass `--resume_from_checkpoint true`"):
        HiVATrainingRun(make_arguments(tmp_path, stage1_epochs=1))
    anew = HiVATrainingRun(make_arguments(tmp_path, stage1_epochs=1, overwrite_output_dir=True))
    anew.train_stage1(anew.build_detector())


def test_a_tower_s_folder_is_noted_as_an_absolute_path(make_arguments, tmp_path, monkeypatch):
    """A relative one could be taken for an id of the Hub wherever the run is published from."""
    arguments = make_arguments(tmp_path / "run")
    vision = Path(arguments.vision_model_name_or_path)
    monkeypatch.chdir(vision.parent)
    noted = HiVATrainingRun(replace(arguments, vision_model_name_or_path=vision.name)).arguments
    assert noted.vision_model_name_or_path == str(vision.resolve())
    assert noted.text_model_name_or_path == arguments.text_model_name_or_path


def test_a_run_is_not_resumed_with_other_settings(make_arguments, finished_run):
    run, _ = finished_run
    with pytest.raises(
        ValueError, match=r"other settings: fold was 1, but is 2; seed was 42, but is 7. Resume it with its own"
    ):
        HiVATrainingRun(make_arguments(run.output_dir, resume_from_checkpoint=True, fold=2, seed=7))


def test_more_faces_per_step_than_there_are_is_an_error_that_says_so(make_arguments, tmp_path):
    run = HiVATrainingRun(make_arguments(tmp_path, per_device_train_batch_size=64))
    with pytest.raises(ValueError, match="has 48 faces, but one optimizer step needs 64"):
        run.train_stage1(run.build_detector())


@pytest.fixture(scope="module")
def run_on_two_sets(make_arguments, write_prepared, tmp_path_factory) -> HiVATrainingRun:
    """SynthFACS and a little set in BP4D's layout, whose subjects come last."""
    folder = tmp_path_factory.mktemp("two-sets")
    write_prepared(folder / "bp4d", "bp4d", {"F001": 1, "F003": 2, "F004": 3, "F005": 2})
    settings = {"additional_data": [f"bp4d={folder / 'bp4d'}"], "stage1_epochs": 1, "stage2_epochs": 1}
    return HiVATrainingRun(make_arguments(folder / "run", **settings))


def test_a_second_set_is_trained_on_with_what_it_lacks_missing(run_on_two_sets):
    last = run_on_two_sets.splits["train"][-1]
    labels = dict(zip(run_on_two_sets.aus, last["labels"], strict=True))
    assert last["subject"] in ("F003", "F004", "F005")
    assert run_on_two_sets.aus == AU_SETS["synthfacs"]
    assert {au for au, label in labels.items() if label == -100} >= set(AU_SETS["synthfacs"]) - set(AU_SETS["bp4d"])
    assert any(label != -100 for label in labels.values())


def test_a_second_set_is_neither_validated_nor_tested_on(run_on_two_sets):
    for split in ("validation", "test"):
        assert not any(subject.startswith("F") for subject in run_on_two_sets.load_split(split)["subject"])
    assert "F001" not in run_on_two_sets.splits["train"]["subject"]


def test_a_run_on_two_sets_finishes_and_records_both(run_on_two_sets):
    results = run_on_two_sets.run()
    assert results["training_datasets"] == ["synthfacs", "bp4d"]
    assert results["test_mean_roc_auc"] is not None
    assert read_subject_record(str(run_on_two_sets.output_dir)).datasets == {"synthfacs", "bp4d"}


def test_a_second_set_without_a_folder_is_refused(make_arguments, tmp_path):
    with pytest.raises(ValueError, match="`additional_data` has 'disfa', but each set must be NAME=FOLDER"):
        make_arguments(tmp_path, additional_data=["disfa"])


def test_a_second_set_without_the_tested_fold_takes_its_first(make_arguments, write_prepared, tmp_path):
    write_prepared(tmp_path / "own", "custom", {"a": 1, "b": 2, "c": 2, "d": 2}, aus=(1, 12))
    run = HiVATrainingRun(make_arguments(tmp_path / "run", fold=3, additional_data=[f"custom={tmp_path / 'own'}"]))
    assert {"b", "c", "d"} & set(run.splits["train"]["subject"])
    assert "a" not in run.splits["train"]["subject"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"descriptions": "review.jsonl"}, r"review\.jsonl"),
        ({"per_device_train_batch_size": 4000}, "one optimizer step needs 4000"),
        ({"trainable_backbone_layers": 40}, "`trainable_backbone_layers` is 40"),
        ({"model": "vl_fau", "trainable_backbone_layers": 40}, "`trainable_backbone_layers` is 40"),
        ({"fsdp": True}, "`fsdp` shards the network over several processes"),
        ({"torch_compile": True, "torch_compile_backend": "inductr"}, "is 'inductr', but torch has .*inductor"),
    ],
)
def test_a_run_that_fails_before_it_trains_leaves_a_finished_one_as_it_was(
    make_arguments, finished_run, tmp_path, settings, message
):
    shutil.copytree(finished_run[0].output_dir, tmp_path / "run")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}
    with pytest.raises((ValueError, OSError), match=message):
        make_run(make_arguments(tmp_path / "run", overwrite_output_dir=True, **settings)).run()
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")} == before


@pytest.mark.skipif(os.name == "nt", reason="files there have no permissions of a group")
def test_those_who_may_read_a_run_may_read_its_networks(finished_run):
    folder = finished_run[0].output_dir
    weights = list(folder.rglob("model.safetensors"))
    assert len(weights) == 3
    assert {path.stat().st_mode for path in weights} == {(folder / "config.json").stat().st_mode}

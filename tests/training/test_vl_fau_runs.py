"""A whole run of VL-FAU on small real towers and a few faces of the embedded set."""

import json
import signal

import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from hiva_hf import VLFAUForAUDetection
from hiva_hf.data import AU_SETS, load_au_dataset
from hiva_hf.evaluation.predictions import read_predictions
from hiva_hf.training.interruption import TrainingInterrupted
from hiva_hf.training.run_folder import read_metrics
from hiva_hf.training.vl_fau_runs import VLFAUTrainingRun


VL_FAU = {"model": "vl_fau", "num_train_epochs": 2, "decoder_hidden_size": 16, "decoder_layers": 1}


@pytest.fixture(scope="module")
def finished_run(make_arguments, tmp_path_factory):
    run = VLFAUTrainingRun(make_arguments(tmp_path_factory.mktemp("run"), max_eval_samples=24, **VL_FAU))
    return run, run.run()


def test_the_run_folder_is_a_detector_that_writes(finished_run):
    run, results = finished_run
    assert results["model"] == "vl_fau"
    assert run.describe().startswith("VL-FAU on synthfacs")
    model, tokenizer = AutoModel.from_pretrained(run.output_dir), AutoTokenizer.from_pretrained(run.output_dir)
    assert type(model) is VLFAUForAUDetection
    assert model.config.au_labels == [f"AU{number}" for number in AU_SETS["synthfacs"]]
    assert len(model.config.label_weights) == len(AU_SETS["synthfacs"])
    ids = model.generate(torch.zeros(1, 3, 56, 56), max_new_tokens=3)
    assert len(tokenizer.batch_decode(ids)) == len(AU_SETS["synthfacs"])
    assert not list(run.output_dir.rglob("*.bin"))


def test_it_is_tested_like_a_hiva_and_its_sentences_are_scored(finished_run):
    run, results = finished_run
    assert json.loads((run.output_dir / "all_results.json").read_text()) == results
    for name in ("test_mean_roc_auc", "test_mean_f1", "test_local_mean_text_f1", "test_global_unread_rate"):
        assert 0 <= results[name] <= 1
    assert not set(run.splits["train"]["subject"]) & set(results["test_subjects"])
    lines = [json.loads(line) for line in (run.output_dir / "sentences_test.jsonl").read_text().splitlines()]
    predictions = read_predictions(run.output_dir / "predictions_test.parquet")
    assert len(lines) == len(predictions.labels) == 24
    assert all(line["aus"].keys() == {f"AU{number}" for number in AU_SETS["synthfacs"]} for line in lines)
    assert all(isinstance(line["face"], str) for line in lines)
    frames = load_au_dataset("synthfacs", fold=1, split="test")["subject"]
    assert {line["subject"] for line in lines} <= set(frames)


def test_both_epochs_are_in_the_metrics(finished_run):
    run, _ = finished_run
    epochs = read_metrics(run.output_dir / "metrics.jsonl")
    assert [(epoch["stage"], epoch["epoch"]) for epoch in epochs] == [("training", 1), ("training", 2)]
    assert epochs[1]["train_loss"] < epochs[0]["train_loss"]


def test_a_stopped_run_goes_on_to_the_same_weights(finished_run, make_arguments, tmp_path):
    whole, _ = finished_run
    settings = VL_FAU | {"max_eval_samples": 24, "checkpointing_steps": "1"}
    stopped = VLFAUTrainingRun(make_arguments(tmp_path, **settings))
    steps = []

    def stop_in_the_second_epoch(*call):
        steps.append(1)
        if len(steps) == 4:
            stopped.stop_request.signal_number = signal.SIGTERM

    build = stopped.build_detector

    def build_and_watch():
        model = build()
        model.local_decoder.register_forward_hook(stop_in_the_second_epoch)
        return model

    stopped.build_detector = build_and_watch
    # Three steps are an epoch.
    with pytest.raises(TrainingInterrupted, match="training, epoch 2, after step 4"):
        stopped.run()
    resumed = VLFAUTrainingRun(make_arguments(tmp_path, **settings, resume_from_checkpoint=True))
    resumed.run()
    expected = AutoModel.from_pretrained(whole.output_dir).state_dict()
    for name, value in AutoModel.from_pretrained(tmp_path).state_dict().items():
        assert torch.equal(value, expected[name]), name


@pytest.mark.parametrize("variant", ["no_local", "no_global", "no_refinement"])
def test_ablations_train_with_the_sentences_that_they_have(make_arguments, tmp_path, variant):
    settings = VL_FAU | {"num_train_epochs": 1, "max_eval_samples": 16, "variant": variant}
    run = VLFAUTrainingRun(make_arguments(tmp_path, **settings))
    results = run.run()
    assert ("test_local_mean_text_f1" in results) == (variant != "no_local")
    assert ("test_global_mean_text_f1" in results) == (variant != "no_global")
    assert AutoModel.from_pretrained(tmp_path).config.variant == variant


def test_sentences_about_faces_need_faces_all_of_whose_aus_are_known(make_arguments, write_prepared, tmp_path, caplog):
    for name, aus in (("one", (1, 12)), ("two", (12, 26))):
        subjects = {f"{name}_{number}": number for number in (1, 2, 3)} | {f"{name}_4": 2, f"{name}_5": 3}
        write_prepared(tmp_path / name, "custom", subjects, num_rows=8, aus=aus)
    data = {"dataset": "custom", "data_dir": str(tmp_path / "one"), **VL_FAU}
    joined = data | {"additional_data": [f"custom={tmp_path / 'two'}"]}
    with pytest.raises(
        ValueError, match=r"None of the \d+ training faces has a label for each of the 3 AUs.*no_global"
    ):
        VLFAUTrainingRun(make_arguments(tmp_path / "run", **joined)).run()
    assert not list((tmp_path / "run").glob("*stage*"))
    run = VLFAUTrainingRun(make_arguments(tmp_path / "run", variant="no_global", **joined))
    assert (run.train() / "model.safetensors").is_file()

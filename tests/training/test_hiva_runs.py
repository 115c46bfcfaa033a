"""The stages of HiVA on small real towers and a few faces of the embedded set, its texts and its variants."""

import json

import numpy as np
import pytest
import torch
from transformers import AutoModel

from hiva_hf import HiVAForAUDetection, HiVAForPreTraining
from hiva_hf.data import AU_SETS
from hiva_hf.facs import ACTION_UNITS
from hiva_hf.training.descriptions import NUM_GENERATED
from hiva_hf.training.hiva_runs import HiVATrainingRun
from hiva_hf.training.run_folder import read_metrics


def test_the_run_folder_is_a_detector_without_text_side(finished_run):
    run, _ = finished_run
    model = AutoModel.from_pretrained(run.output_dir)
    assert isinstance(model, HiVAForAUDetection)
    assert model.text_model is None
    assert not model.training
    assert not list(run.output_dir.rglob("*.bin"))
    with torch.no_grad():
        assert model(torch.zeros(1, 3, 56, 56)).logits.shape == (1, len(AU_SETS["synthfacs"]))


def test_the_best_epoch_is_the_one_that_goes_on(finished_run):
    run, _ = finished_run
    metrics = read_metrics(run.output_dir / "metrics.jsonl")
    for stage, model_class in (("stage1", HiVAForPreTraining), ("stage2", HiVAForAUDetection)):
        history = [epoch for epoch in metrics if epoch["stage"] == stage]
        assert [epoch["epoch"] for epoch in history] == [1, 2]
        best = max(epoch["mean_roc_auc"] for epoch in history)
        assert [epoch["mean_roc_auc"] for epoch in history if epoch["is_best"]][-1] == best
        assert isinstance(model_class.from_pretrained(run.output_dir / stage), model_class)


def test_only_what_should_learn_has_moved(finished_run, towers):
    run, _ = finished_run
    trained = HiVAForAUDetection.from_pretrained(run.output_dir / "stage2")
    vision = dict(AutoModel.from_pretrained(towers / "vision").named_parameters())
    moved = {n for n, p in trained.vision_model.backbone.named_parameters() if not torch.equal(p, vision[n])}
    # Of two layers the last one is trained, and the final norm.
    assert moved
    assert all(".1." in name or name.startswith("layernorm") for name in moved)
    text = dict(AutoModel.from_pretrained(towers / "text").named_parameters())
    moved = {n for n, p in trained.text_model.encoder.named_parameters() if not torch.equal(p, text[n])}
    # Of three layers the last two are trained.
    assert moved
    assert all("layer.1." in name or "layer.2." in name for name in moved)


@pytest.mark.parametrize("variant", ["baseline", "no_cdca", "shuffled_descriptions", "random_vectors", "names_only"])
def test_an_ablation_or_control_is_one_setting(make_arguments, tmp_path, variant):
    arguments = make_arguments(tmp_path, variant=variant, stage1_epochs=1, stage2_epochs=1, max_eval_samples=64)
    HiVATrainingRun(arguments).run()
    model = AutoModel.from_pretrained(tmp_path)
    assert model.config.variant == variant
    with torch.no_grad():
        assert model(torch.zeros(1, 3, 56, 56)).logits.isfinite().all()


def test_description_embeddings_of_every_epoch_are_kept(finished_run):
    run, _ = finished_run
    kept = [np.load(run.output_dir / "description_embeddings" / f"epoch-00{epoch}.npy") for epoch in (1, 2)]
    assert kept[0].shape == (len(AU_SETS["synthfacs"]), 16)
    assert not np.array_equal(*kept)


def test_the_frozen_text_layers_run_once_for_each_sentence(make_arguments, tmp_path):
    run = HiVATrainingRun(make_arguments(tmp_path, stage1_epochs=1, descriptions="generated"))
    detector = run.build_detector()
    num_sentences = len(detector.config.au_labels) * (1 + NUM_GENERATED)
    sentences = []
    for layer in detector.text_model.frozen_modules:
        layer.register_forward_hook(lambda module, inputs, output: sentences.append(len(output)))
    run.train_stage2(run.train_stage1(detector), detector)
    assert sum(sentences) == num_sentences * len(detector.text_model.frozen_modules)


def test_missing_file_of_descriptions_is_told_before_training(make_arguments, tmp_path):
    run = HiVATrainingRun(make_arguments(tmp_path / "run", descriptions=str(tmp_path / "review.jsonl")))
    with pytest.raises(FileNotFoundError, match="review.jsonl', which is neither `written` nor `generated`"):
        run.build_detector()


@pytest.mark.parametrize(("aus", "expected"), [((1, 4, 12), 3), ((1, 2, 4, 6, 12), 4)])
def test_the_graph_of_few_aus_keeps_all_of_them(make_arguments, write_prepared, tmp_path, aus, expected):
    write_prepared(tmp_path / "own", "custom", {"a": 1, "b": 2, "c": 2, "d": 3}, num_rows=24, aus=aus)
    arguments = make_arguments(tmp_path / "run", dataset="custom", data_dir=str(tmp_path / "own"))
    detector = HiVATrainingRun(arguments).build_detector()
    assert detector.config.num_neighbors == expected


@pytest.mark.parametrize("variant", ["random_vectors", "baseline", "no_attention"])
def test_what_variants_have_in_common_starts_from_the_same_weights(make_arguments, tmp_path, variant):
    full = HiVATrainingRun(make_arguments(tmp_path / "full")).build_detector()
    other = HiVATrainingRun(make_arguments(tmp_path / "other", variant=variant)).build_detector()
    expected, found = full.state_dict(), other.state_dict()
    shared = {name for name in found if name in expected and found[name].shape == expected[name].shape}
    assert {"classifier.weight", "vision_model.stem.weight", "vision_model.branches.weight"} <= shared
    assert all(torch.equal(found[name], expected[name]) for name in shared)


def test_a_new_run_in_the_folder_of_a_finished_one_leaves_nothing_of_it(make_arguments, tmp_path):
    first = HiVATrainingRun(make_arguments(tmp_path, stage1_epochs=1, stage2_epochs=2))
    first.run()
    settings = {"stage1_epochs": 1, "stage2_epochs": 1}
    with pytest.raises(
        ValueError, match="finished run with other settings: stage2_epochs was 2, but is 1. Pass another"
    ):
        HiVATrainingRun(make_arguments(tmp_path, **settings))
    second = HiVATrainingRun(make_arguments(tmp_path, overwrite_output_dir=True, **settings))
    detector = second.build_detector()
    second.train_stage2(second.train_stage1(detector), detector)
    assert [path.name for path in (tmp_path / "description_embeddings").iterdir()] == ["epoch-001.npy"]
    assert not list(tmp_path.glob("predictions_*"))


def test_a_run_is_not_resumed_on_what_has_changed_behind_its_back(make_arguments, tmp_path):
    """Labels that were prepared anew, and descriptions that a reviewer went over, under the same path."""

    def write_review(which: int):
        rows = [
            {"au": unit.label, "text": unit.variants[which], "status": "accepted"} for unit in ACTION_UNITS.values()
        ]
        (tmp_path / "review.jsonl").write_text("\n".join(map(json.dumps, rows)))

    def open_run(resume: bool, change=lambda run: None):
        settings = {"descriptions": str(tmp_path / "review.jsonl"), "resume_from_checkpoint": resume}
        run = HiVATrainingRun(make_arguments(tmp_path / "run", **settings))
        change(run)
        try:
            run._open_folder(run.build_detector())
        finally:
            run.folder.unlock()

    def invert_labels(run: HiVATrainingRun):
        run.splits["train"] = run.splits["train"].map(lambda row: {"labels": [1 - label for label in row["labels"]]})

    write_review(0)
    open_run(resume=False)
    open_run(resume=True)
    with pytest.raises(ValueError, match="was started with other faces or labels than there are now"):
        open_run(resume=True, change=invert_labels)
    write_review(1)
    with pytest.raises(ValueError, match="was started with other descriptions than there are now"):
        open_run(resume=True)
    write_review(0)
    open_run(resume=True)

"""The whole run on small real towers and a few faces of the embedded set."""

import json
import os

import numpy as np
import pytest
import torch
from transformers import AutoModel, BertConfig, BertModel, Dinov2Config, Dinov2Model, TimmWrapperConfig

from hiva_hf import HiVAForAUDetection, HiVAForPreTraining
from hiva_hf.data import AU_SETS, load_au_dataset
from hiva_hf.training import engine
from hiva_hf.training.arguments import AUTrainingArguments
from hiva_hf.training.checkpoints import checkpoint_folder
from hiva_hf.training.engine import freeze_backbone, parameter_groups
from hiva_hf.training.runs import TrainingRun, use_cpu_cores


@pytest.fixture(scope="module")
def towers(tmp_path_factory, tokenizer):
    """Folders of a 2-layer DINOv2 and a 3-layer BERT with random weights."""
    folder = tmp_path_factory.mktemp("towers")
    torch.manual_seed(0)
    Dinov2Model(
        Dinov2Config(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=56, use_mask_token=False)
    ).save_pretrained(folder / "vision")
    BertModel(
        BertConfig(hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32, vocab_size=30522)
    ).save_pretrained(folder / "text")
    tokenizer.save_pretrained(folder / "text")
    return folder


@pytest.fixture(scope="module")
def make_arguments(towers):
    def make(output_dir, **overrides):
        settings = {
            "output_dir": str(output_dir),
            "vision_model_name_or_path": str(towers / "vision"),
            "text_model_name_or_path": str(towers / "text"),
            "image_size": 56,
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_attention_heads": 2,
            "trainable_backbone_layers": 1,
            "stage1_epochs": 2,
            "stage2_epochs": 2,
            "per_device_train_batch_size": 16,
            "max_train_samples": 48,
            "max_eval_samples": 96,
            "mixed_precision": "no",
        }
        return AUTrainingArguments(**(settings | overrides))

    return make


@pytest.fixture(scope="module")
def finished_run(make_arguments, tmp_path_factory):
    run = TrainingRun(make_arguments(tmp_path_factory.mktemp("run")))
    return run, run.run()


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


def test_the_run_folder_is_a_detector_without_text_side(finished_run):
    run, _ = finished_run
    model = AutoModel.from_pretrained(run.output_dir)
    assert isinstance(model, HiVAForAUDetection)
    assert model.text_model is None
    assert not model.training
    assert not list(run.output_dir.rglob("*.bin"))
    with torch.no_grad():
        assert model(torch.zeros(1, 3, 56, 56)).logits.shape == (1, len(AU_SETS["synthfacs"]))


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


def test_the_best_epoch_is_the_one_that_goes_on(finished_run):
    run, _ = finished_run
    for stage, model_class in (("stage1", HiVAForPreTraining), ("stage2", HiVAForAUDetection)):
        history = json.loads((run.output_dir / stage / "history.json").read_text())
        assert [epoch["epoch"] for epoch in history] == [1, 2]
        best = max(epoch["mean_roc_auc"] for epoch in history)
        assert [epoch["mean_roc_auc"] for epoch in history if epoch["is_best"]][-1] == best
        assert isinstance(model_class.from_pretrained(run.output_dir / stage), model_class)


def test_the_label_weights_come_from_the_training_subjects_alone(finished_run):
    run, _ = finished_run
    rates = np.array(run.splits["train"]["labels"]).mean(axis=0)
    expected = len(rates) * (1 / rates) / (1 / rates).sum()
    assert AutoModel.from_pretrained(run.output_dir).config.label_weights == pytest.approx(expected.tolist())


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


@pytest.mark.parametrize("stopped_stage", ["stage1", "stage2"])
def test_a_stopped_run_goes_on_and_ends_at_the_same_weights(
    finished_run, make_arguments, tmp_path, monkeypatch, stopped_stage
):
    whole_run, _ = finished_run
    save_checkpoint = engine.save_checkpoint

    def save_and_stop(accelerator, output_dir, stage, progress):
        save_checkpoint(accelerator, output_dir, stage, progress)
        if stage == stopped_stage:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(engine, "save_checkpoint", save_and_stop)
        TrainingRun(make_arguments(tmp_path)).run()
    assert [path.name for path in checkpoint_folder(tmp_path, stopped_stage).iterdir()] == ["epoch-001"]

    TrainingRun(make_arguments(tmp_path, resume_from_checkpoint=True)).run()
    expected = AutoModel.from_pretrained(whole_run.output_dir).state_dict()
    actual = AutoModel.from_pretrained(tmp_path).state_dict()
    assert all(torch.equal(expected[name], actual[name]) for name in expected)


def test_resuming_a_finished_run_trains_nothing(finished_run, make_arguments):
    run, results = finished_run
    weights = (run.output_dir / "model.safetensors").stat().st_mtime_ns
    assert TrainingRun(make_arguments(run.output_dir, resume_from_checkpoint=True)).run() == results
    assert (run.output_dir / "model.safetensors").stat().st_mtime_ns == weights


def test_a_finished_run_leaves_no_training_states(finished_run):
    run, _ = finished_run
    assert not (run.output_dir / "checkpoints").exists()


@pytest.mark.parametrize("variant", ["baseline", "no_cdca", "shuffled_descriptions", "random_vectors", "names_only"])
def test_an_ablation_or_control_is_one_setting(make_arguments, tmp_path, variant):
    arguments = make_arguments(tmp_path, variant=variant, stage1_epochs=1, stage2_epochs=1, max_eval_samples=64)
    TrainingRun(arguments).run()
    model = AutoModel.from_pretrained(tmp_path)
    assert model.config.variant == variant
    with torch.no_grad():
        assert model(torch.zeros(1, 3, 56, 56)).logits.isfinite().all()


def test_an_au_that_never_occurs_in_training_is_named(make_arguments, tmp_path):
    run = TrainingRun(make_arguments(tmp_path, max_train_samples=2))
    with pytest.raises(ValueError, match=r"AU\d+ has a positive rate of 0.0 in the training set"):
        run.build_detector()


def test_processes_share_the_cores(monkeypatch):
    before = torch.get_num_threads()
    cores = len(os.sched_getaffinity(0))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(2 * cores))
    use_cpu_cores(None)
    assert torch.get_num_threads() == 1
    monkeypatch.delenv("LOCAL_WORLD_SIZE")
    use_cpu_cores(None)
    assert torch.get_num_threads() == cores
    use_cpu_cores(before)
    assert torch.get_num_threads() == before


def test_towers_learn_more_slowly_and_norms_do_not_decay(tiny_detector):
    groups = parameter_groups(tiny_detector, learning_rate=1.0, tower_scale=0.1, weight_decay=0.5)
    found = {(group["lr"], group["weight_decay"]) for group in groups}
    assert found == {(1.0, 0.5), (1.0, 0.0), (0.1, 0.5), (0.1, 0.0)}
    assert sum(len(group["params"]) for group in groups) == len(list(tiny_detector.parameters()))


def test_a_tower_that_is_no_plain_stack_is_not_frozen_by_halves(make_config):
    backbone = TimmWrapperConfig(architecture="test_convnext", do_pooling=False)
    model = HiVAForPreTraining(make_config(backbone_config=backbone))
    with pytest.raises(ValueError, match="`trainable_backbone_layers` is 1, but TimmWrapperModel is not a stack"):
        freeze_backbone(model, 1)


@pytest.mark.parametrize("name", ["stage1_epochs", "per_device_train_batch_size"])
def test_settings_that_make_no_sense_are_refused_by_name(name):
    with pytest.raises(ValueError, match=f"`{name}` is 0"):
        AUTrainingArguments(**{name: 0})

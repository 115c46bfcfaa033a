"""Single settings of a stage, each of which must really do something."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from datasets import Dataset, Features, Image, List, Value
from safetensors.torch import load_file
from torch import nn
from torch._dynamo.utils import counters

from hiva_hf import HiVAForPreTraining
from hiva_hf.training.augmentation import AugmentedFaces, EvaluationFaces, FaceAugmentation
from hiva_hf.training.engine import Stage, StageTrainer
from hiva_hf.training.interruption import StopRequest
from hiva_hf.training.updates import write_tensors


# Learning rates at which 1e-5 is a large difference.
STAGE = Stage("stage1", num_epochs=1, learning_rate=1e-4)


@pytest.fixture(scope="module")
def rows() -> Dataset:
    """24 faces of noise with labels for 4 AUs."""
    random = np.random.default_rng(0)
    features = {"image": Image(), "labels": List(Value("int8")), "subject": Value("string")}
    return Dataset.from_dict(
        {
            "image": [random.integers(0, 255, (64, 64, 3), dtype=np.uint8) for _ in range(24)],
            "labels": random.integers(0, 2, (24, 4)).tolist(),
            "subject": [f"S{number:02d}" for number in range(24)],
            "task": ["posed"] * 24,
            "frame": list(range(24)),
        },
        features=Features(features | {"task": Value("string"), "frame": Value("int32")}),
    )


@pytest.fixture
def make_trainer(rows, make_config, make_arguments, image_processor, tmp_path):
    """A trainer of a small stage-1 network, `make_trainer(model=..., stage=..., **settings)`."""

    def make(model: nn.Module | None = None, stage: Stage = STAGE, folder: str = "run", **settings) -> StageTrainer:
        torch.manual_seed(0)
        model = HiVAForPreTraining(make_config()) if model is None else model
        arguments = make_arguments(
            tmp_path / folder, **{"per_device_train_batch_size": 8, "trainable_backbone_layers": -1} | settings
        )
        return StageTrainer(
            Accelerator(mixed_precision=arguments.mixed_precision, cpu=True),
            model,
            stage,
            rows,
            AugmentedFaces(rows, FaceAugmentation(image_processor), arguments.seed),
            EvaluationFaces(rows, image_processor),
            arguments,
            StopRequest(),
        )

    return make


@pytest.fixture
def train(make_trainer):
    """Trains and returns the weights that were kept."""

    def run(**settings) -> dict[str, torch.Tensor]:
        return load_file(make_trainer(**settings).train() / "model.safetensors")

    return run


def largest_difference(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> float:
    assert first.keys() == second.keys()
    return max((first[name].double() - second[name].double()).abs().max().item() for name in first)


class NormOfFixedStatistics(nn.BatchNorm2d):
    """A batch norm that does not look at its batch."""

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return nn.functional.batch_norm(hidden_states, self.running_mean, self.running_var, self.weight, self.bias)


def test_accumulated_passes_make_the_step_of_one_large_batch(make_config, train):
    """But for batch norm, which sees the faces of a pass only."""

    def model() -> HiVAForPreTraining:
        torch.manual_seed(0)
        network = HiVAForPreTraining(make_config())
        network.vision_model.stem_norm = NormOfFixedStatistics(network.vision_model.stem_norm.num_features)
        network.vision_model.branches_norm = NormOfFixedStatistics(network.vision_model.branches_norm.num_features)
        network.graph.norm = nn.Identity()
        return network

    one = train(model=model(), folder="one", per_device_train_batch_size=12)
    accumulated = train(model=model(), folder="two", per_device_train_batch_size=4, gradient_accumulation_steps=3)
    assert largest_difference(one, accumulated) < 1e-6
    stem = "vision_model.stem.weight"
    assert (one[stem] - model().state_dict()[stem]).abs().max() > 1e-4


def test_bf16_is_used_where_it_is_asked_for(make_trainer):
    seen = []
    for precision in ("no", "bf16"):
        trainer = make_trainer(folder=precision, mixed_precision=precision)
        trainer.model.vision_model.branches.register_forward_hook(lambda *call: seen.append(call[2].dtype))
        trainer.train()
        assert all(p.dtype == torch.float32 for p in trainer.model.parameters())
        trainer.accelerator.state._reset_state(reset_partial_state=True)
    assert set(seen[: len(seen) // 2]) == {torch.float32}
    assert set(seen[len(seen) // 2 :]) == {torch.bfloat16}


@pytest.mark.slow
def test_a_compiled_network_learns_the_same(train):
    plain = train(folder="plain")
    counters.clear()
    # The same graphs as with inductor, without waiting for a C++ compiler.
    compiled = train(folder="compiled", torch_compile=True, torch_compile_backend="aot_eager")
    assert counters["stats"]["unique_graphs"] > 0
    assert largest_difference(plain, compiled) < 1e-5


def test_gradient_checkpointing_runs_layers_again_and_learns_the_same(make_trainer):
    calls, weights = [], []
    for enabled in (False, True):
        trainer = make_trainer(folder=str(enabled), gradient_checkpointing=enabled)
        count = []
        trainer.model.vision_model.backbone.encoder.layer[0].mlp.register_forward_hook(
            lambda module, inputs, output, count=count: count.append(module.training)
        )
        weights.append(load_file(trainer.train() / "model.safetensors"))
        calls.append(sum(count))
    assert calls == [3, 6]
    assert largest_difference(*weights) < 1e-6


def test_gradients_are_clipped(make_trainer):
    norms = []
    for limit in (0.0, 0.01):
        trainer = make_trainer(folder=str(limit), max_grad_norm=limit, logging_steps=1)

        def measure(*call, trainer=trainer):
            gradients = [p.grad for p in trainer.model.parameters() if p.grad is not None]
            norms.append(torch.nn.utils.get_total_norm(gradients).item())

        trainer.updates.optimizer.register_step_pre_hook(measure)
        trainer.train()
    assert min(norms[:3]) > 0.1
    assert max(norms[3:]) <= 0.01 * 1.001


def test_the_moving_average_is_what_is_kept(make_trainer):
    trainer = make_trainer(ema_decay=0.5)
    start = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    weights = []
    trainer.updates.optimizer.register_step_post_hook(
        lambda *call: weights.append(trainer.model.vision_model.stem.weight.detach().clone())
    )
    kept = load_file(trainer.train() / "model.safetensors")["vision_model.stem.weight"]
    average = start["vision_model.stem.weight"]
    for steps, value in enumerate(weights):
        average = average.lerp(value, 1 - min(0.5, (1 + steps) / (10 + steps)))
    torch.testing.assert_close(kept, average)
    assert (kept - weights[-1]).abs().max() > 1e-5


@pytest.mark.skipif(sys.platform != "linux", reason="which files are mapped is asked of Linux")
def test_a_state_that_was_read_may_be_deleted_where_open_files_may_not(make_trainer, tmp_path):
    trainer = make_trainer()
    trainer.train()
    state = tmp_path / "state"
    state.mkdir()
    write_tensors(trainer.updates.gather(), state)

    resumed = make_trainer(folder="resumed")
    resumed.updates.load(state)
    assert str(state) not in Path("/proc/self/maps").read_text()
    for name, tensors in trainer.updates.gather().items():
        assert largest_difference(resumed.updates.gather()[name], tensors) == 0


def test_faces_are_copied_in_the_background_from_pinned_memory_alone(make_trainer, monkeypatch):
    trainer = make_trainer()
    copy, in_background = torch.Tensor.to, []

    def watched(tensor, *arguments, non_blocking=False, **options):
        in_background.append(non_blocking)
        return copy(tensor, *arguments, **options)

    monkeypatch.setattr(torch.Tensor, "to", watched)
    for device in ("meta", "cpu"):
        trainer.accelerator.state.device = torch.device(device)
        assert trainer._on_device({"labels": torch.zeros(2)})["labels"].device.type == device
    assert in_background == [False, False]


def test_a_loss_that_is_no_number_stops_with_the_faces_of_its_step(make_trainer, rows):
    trainer = make_trainer(per_device_train_batch_size=4, gradient_accumulation_steps=2)
    poisoned = trainer.batches.rows(trainer.arguments.seed, epoch=0)[3][1]
    faces = trainer.train_faces

    class Poisoned(AugmentedFaces):
        def __getitems__(self, indices):
            items = [faces[index] for index in indices]
            for index, item in zip(indices, items, strict=True):
                if index == poisoned:
                    item["pixel_values"][0, 0, 0] = float("nan")
            return items

    trainer.train_faces = Poisoned(rows, faces.augmentation, faces.seed)
    with pytest.raises(FloatingPointError, match="The loss of stage1, epoch 1, step 2 of the stage, is not") as error:
        trainer.train()
    named = str(error.value).split(": ")[1].split(". ")[0].split(", ")
    expected = trainer.batches.rows(trainer.arguments.seed, epoch=0)[3]
    assert named == [f"S{row:02d}/posed/{row}" for row in expected]


def test_an_undefined_validation_score_is_an_error_that_says_why(make_trainer, rows):
    trainer = make_trainer()
    trainer.validation_loader = trainer.accelerator.prepare_data_loader(
        torch.utils.data.DataLoader(
            EvaluationFaces(rows.select([0]), trainer.validation_loader.dataset.image_processor)
        )
    )
    with pytest.raises(ValueError, match="`mean_roc_auc` is undefined on the validation subjects: no AU is both"):
        trainer.train()


def test_a_score_that_is_undefined_and_chooses_nothing_is_no_error(make_trainer, monkeypatch, capsys):
    trainer = make_trainer(metric_for_best_model="mean_f1")
    metrics = {"mean_roc_auc": None, "mean_f1": 0.5}
    monkeypatch.setattr(trainer, "_validate", lambda: metrics)
    trainer.train()
    assert [epoch["mean_roc_auc"] for epoch in trainer.progress.history] == [None] * trainer.stage.num_epochs
    assert "validation ROC-AUC n/a, F1 0.500" in capsys.readouterr().out


def test_an_epoch_that_is_never_better_is_not_kept(make_trainer):
    trainer = make_trainer(stage=Stage("stage1", num_epochs=3, learning_rate=0.0))
    trainer.train()
    best = max(range(3), key=lambda number: trainer.progress.history[number]["mean_roc_auc"])
    assert trainer.progress.best_epoch == best + 1

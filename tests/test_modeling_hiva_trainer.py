"""transformers' Trainer trains both networks as they are."""

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import Trainer, TrainingArguments

from hiva_hf import HiVAForAUDetection, HiVAForPreTraining


@pytest.fixture
def train(tmp_path):
    def run(model, samples, **settings) -> Trainer:
        arguments = TrainingArguments(
            output_dir=str(tmp_path),
            **{
                "optim": "sgd",
                "learning_rate": 0.05,
                "lr_scheduler_type": "constant",
                "max_grad_norm": 0.0,
                "max_steps": 1,
                "report_to": "none",
                "save_strategy": "no",
                "logging_steps": 1,
                "disable_tqdm": True,
                "use_cpu": True,
            }
            | settings,
        )
        trainer = Trainer(model, arguments, train_dataset=samples, eval_dataset=samples)
        trainer.train()
        return trainer

    return run


def random_samples(count: int) -> list[dict[str, torch.Tensor]]:
    labels = (torch.rand(count, 4) < 0.5).float()
    labels[0, 1] = -100
    return [{"pixel_values": torch.randn(3, 56, 56), "labels": row} for row in labels]


def make_model(model_class, config, tokenizer) -> nn.Module:
    torch.manual_seed(0)
    model = model_class(config)
    if model_class is HiVAForAUDetection:
        model.encode_descriptions(tokenizer)
        model.freeze_text_encoder()
    return model


@pytest.mark.parametrize("model_class", [HiVAForPreTraining, HiVAForAUDetection])
def test_trainer_learns_and_evaluates(make_config, tokenizer, train, model_class):
    model = make_model(model_class, make_config(label_weights=[0.5, 1.5, 1.0, 1.0]), tokenizer)
    samples = random_samples(6)
    trainer = train(
        model, samples, max_steps=40, optim="adamw_torch", learning_rate=3e-3, per_device_train_batch_size=6
    )
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses[-1] < 0.5 * losses[0]
    assert trainer.evaluate()["eval_loss"] > 0
    assert trainer.predict(samples).predictions.shape == (6, 4)


@pytest.mark.parametrize("model_class", [HiVAForPreTraining, HiVAForAUDetection])
def test_gradient_accumulation_averages_over_batches(make_config, tokenizer, train, model_class):
    """A batch twice, accumulated, is the batch once: neither the step nor the logged loss may double."""
    config = make_config(hidden_dropout_prob=0.0)
    batch = random_samples(3)
    once = make_model(model_class, config, tokenizer)
    twice = make_model(model_class, config, tokenizer)
    start = {name: parameter.detach().clone() for name, parameter in once.named_parameters()}
    # In the order of the list, so that each accumulated batch is the same.
    settings = {"per_device_train_batch_size": 3, "train_sampling_strategy": "sequential"}
    single = train(once, batch, **settings)
    accumulated = train(twice, batch + batch, gradient_accumulation_steps=2, **settings)
    steps = {name: parameter.detach() - start[name] for name, parameter in once.named_parameters()}
    assert max(step.abs().max() for step in steps.values()) > 1e-3
    for name, parameter in twice.named_parameters():
        torch.testing.assert_close(parameter.detach() - start[name], steps[name], atol=1e-6, rtol=1e-3, msg=name)
    logged = [trainer.state.log_history[0]["loss"] for trainer in (single, accumulated)]
    assert logged[1] == pytest.approx(logged[0], rel=1e-3)


@pytest.mark.parametrize("restored", ["the best epoch", "a stopped run"])
def test_trainer_restores_all_weights_of_a_checkpoint(make_config, tokenizer, train, restored):
    """Checkpoints of a DINOv2 have other names than the network."""
    torch.manual_seed(1)
    samples = random_samples(8)
    settings = {"max_steps": 3, "save_strategy": "steps", "save_steps": 1, "optim": "adamw_torch"}
    if restored == "the best epoch":
        settings |= {"eval_strategy": "steps", "eval_steps": 1, "load_best_model_at_end": True}
        # The largest loss, which is not the last.
        settings |= {"metric_for_best_model": "eval_loss", "greater_is_better": True}
    trainer = train(make_model(HiVAForAUDetection, make_config(), tokenizer), samples, **settings)
    if restored == "the best epoch":
        assert not trainer.state.best_model_checkpoint.endswith("-3")
        expected = HiVAForAUDetection.from_pretrained(trainer.state.best_model_checkpoint).state_dict()
    else:
        expected = {name: value.clone() for name, value in trainer.model.state_dict().items()}
        other = make_model(HiVAForAUDetection, make_config(), tokenizer)
        trainer = Trainer(other, trainer.args, train_dataset=samples, eval_dataset=samples)
        trainer.train(resume_from_checkpoint=f"{trainer.args.output_dir}/checkpoint-1")
    found = trainer.model.state_dict()
    assert [name for name, value in expected.items() if not torch.equal(found[name], value)] == []


def test_a_checkpoint_is_loaded_by_its_names_and_by_the_networks(make_config, tmp_path):
    torch.manual_seed(0)
    model, other = (HiVAForPreTraining(make_config()) for _ in range(2))
    model.save_pretrained(tmp_path)
    saved = load_file(tmp_path / "model.safetensors")
    assert not saved.keys() <= model.state_dict().keys()
    other.load_state_dict(saved)
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in model.state_dict().items())
    other.load_state_dict(model.state_dict())
    with pytest.raises(RuntimeError, match='Unexpected key.*"vision_model.stm.weight"'):
        other.load_state_dict(model.state_dict() | {"vision_model.stm.weight": torch.zeros(1)})

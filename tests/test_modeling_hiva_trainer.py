"""transformers' Trainer trains both networks as they are."""

import pytest
import torch
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

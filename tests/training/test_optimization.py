import pytest
import timm
import torch
from torch import nn
from transformers import TimmWrapperConfig

from hiva_hf import HiVAForAUDetection, HiVAForPreTraining
from hiva_hf.training.arguments import AUTrainingArguments
from hiva_hf.training.optimization import (
    freeze_backbone,
    freeze_biases_without_effect,
    freeze_unused_parameters,
    make_optimizer,
    make_schedule,
    parameter_groups,
)


def rates_by_name(model: nn.Module, **settings) -> dict[str, float]:
    groups = parameter_groups(model, **({"learning_rate": 1.0, "tower_scale": 1.0, "weight_decay": 0.0} | settings))
    names = {parameter: name for name, parameter in model.named_parameters()}
    return {names[parameter]: group["lr"] for group in groups for parameter in group["params"]}


def test_towers_learn_more_slowly_and_norms_do_not_decay(tiny_detector):
    groups = parameter_groups(tiny_detector, learning_rate=1.0, tower_scale=0.1, weight_decay=0.5)
    found = {(group["lr"], group["weight_decay"]) for group in groups}
    assert found == {(1.0, 0.5), (1.0, 0.0), (0.1, 0.5), (0.1, 0.0)}
    assert sum(len(group["params"]) for group in groups) == len(list(tiny_detector.parameters()))
    names = {parameter: name for name, parameter in tiny_detector.named_parameters()}
    still = {names[parameter] for group in groups if not group["weight_decay"] for parameter in group["params"]}
    assert {name for name in names.values() if "norm" in name or name.endswith("bias")} <= still
    assert "interaction.ddca.text_to_vision.norm.weight" in still
    assert not {"vision_model.stem.weight", "interaction.fusion.weight", "classifier.weight"} & still


def test_swins_biases_of_relative_positions_do_not_decay():
    swin = timm.create_model(
        "swin_tiny_patch4_window7_224", img_size=56, depths=(1, 1), num_heads=(1, 2), embed_dim=12
    )
    groups = parameter_groups(swin, learning_rate=1.0, tower_scale=0.1, weight_decay=0.5)
    decaying = {id(parameter) for group in groups if group["weight_decay"] for parameter in group["params"]}
    tables = [parameter for name, parameter in swin.named_parameters() if name.endswith("bias_table")]
    assert len(tables) == 2
    assert not any(id(table) in decaying for table in tables)


def test_layer_wise_decay_slows_each_layer_of_both_towers(tiny_detector):
    rates = rates_by_name(tiny_detector, layer_decay=0.5)
    vision, text = "vision_model.backbone.encoder.layer", "text_model.encoder.encoder.layer"
    assert rates["vision_model.backbone.layernorm.weight"] == rates[f"{vision}.1.mlp.fc1.weight"] == 1.0
    assert rates[f"{vision}.0.mlp.fc1.weight"] == 0.5
    assert rates["vision_model.backbone.embeddings.cls_token"] == 0.25
    assert [rates[f"{text}.{layer}.output.dense.weight"] for layer in range(4)] == [0.125, 0.25, 0.5, 1.0]
    assert rates["text_model.encoder.embeddings.word_embeddings.weight"] == 0.0625
    assert rates["vision_model.stem.weight"] == rates["classifier.weight"] == 1.0


def test_layer_wise_decay_goes_through_the_blocks_of_a_timm_swin(make_config, make_swin_config):
    config = make_config(backbone_config=make_swin_config(depths=(1, 2)))
    rates = rates_by_name(HiVAForPreTraining(config), layer_decay=0.5)
    tower = "vision_model.backbone.timm_model"
    assert rates[f"{tower}.layers.1.blocks.1.mlp.fc1.weight"] == rates[f"{tower}.norm.weight"] == 1.0
    assert rates[f"{tower}.layers.1.blocks.0.mlp.fc1.weight"] == 0.5
    assert rates[f"{tower}.layers.0.blocks.0.mlp.fc1.weight"] == 0.25
    assert rates[f"{tower}.patch_embed.proj.weight"] == 0.125


def test_a_tower_that_is_no_plain_stack_is_not_frozen_by_halves(make_config):
    backbone = TimmWrapperConfig(architecture="test_convnext", do_pooling=False)
    model = HiVAForPreTraining(make_config(backbone_config=backbone))
    with pytest.raises(ValueError, match="`trainable_backbone_layers` is 1, but TimmWrapperModel is not a stack"):
        freeze_backbone(model, 1)


def test_frozen_biases_change_nothing_that_the_network_computes(make_config, faces):
    model = HiVAForPreTraining(make_config()).train()
    freeze_biases_without_effect(model)
    frozen = {name: p for name, p in model.named_parameters() if not p.requires_grad}
    assert set(frozen) == {
        "vision_model.stem.bias",
        "vision_model.branches.bias",
        "vision_model.backbone.layernorm.bias",
    }
    before = model(pixel_values=faces).logits
    for bias in frozen.values():
        nn.init.normal_(bias)
    torch.testing.assert_close(model(pixel_values=faces).logits, before, atol=1e-4, rtol=1e-4)


def test_parameters_that_no_gradient_reaches_are_frozen(tiny_config, faces):
    model = HiVAForPreTraining(tiny_config).train()
    model.vision_model.backbone.pooler = nn.Linear(3, 3)
    statistics = model.vision_model.stem_norm.running_mean.clone()
    freeze_unused_parameters(model, {"pixel_values": faces, "labels": torch.ones(3, 4)})
    frozen = [name for name, p in model.named_parameters() if not p.requires_grad]
    assert frozen == ["vision_model.backbone.pooler.weight", "vision_model.backbone.pooler.bias"]
    assert model.training
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(model.vision_model.stem_norm.running_mean, statistics)


@pytest.mark.parametrize("variant", ["full", "no_cdca", "no_attention", "baseline", "random_vectors"])
def test_ddp_would_wait_for_no_gradient_of_any_variant(make_config, text_inputs, faces, variant):
    model = HiVAForAUDetection(make_config(variant=variant))
    inputs = {"pixel_values": faces, "labels": torch.ones(3, 4)}
    if model.config.reads_descriptions:
        inputs |= text_inputs
    model.freeze_text_encoder()
    freeze_unused_parameters(model, inputs)
    model.train()(**inputs).loss.backward()
    assert not [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]


def test_fused_and_plain_adamw_make_the_same_steps():
    ends = []
    for optim in ("adamw_torch", "adamw_torch_fused"):
        torch.manual_seed(0)
        model = nn.Linear(5, 3)
        optimizer = make_optimizer(model, 0.1, AUTrainingArguments(optim=optim))
        assert optimizer.defaults["fused"] is (optim == "adamw_torch_fused")
        for _ in range(3):
            optimizer.zero_grad()
            model(torch.ones(2, 5)).square().sum().backward()
            optimizer.step()
        ends.append(model.weight.detach())
    torch.testing.assert_close(*ends)


def test_a_schedule_that_starts_in_the_middle_goes_on_with_the_same_rates():
    arguments = AUTrainingArguments(warmup_ratio=0.2)

    def schedule(steps_done: int):
        return make_schedule(make_optimizer(nn.Linear(2, 2), 0.1, arguments), 10, steps_done, arguments)

    whole = schedule(0)
    rates = [whole.get_last_lr()]
    for _ in range(9):
        whole.optimizer.step()
        whole.step()
        rates.append(whole.get_last_lr())
    assert rates[0] == [0.0, 0.0]
    assert max(rates) == rates[2] == [0.1, 0.1]
    for steps_done in (1, 4):
        rest = schedule(steps_done)
        assert rest.get_last_lr() == rates[steps_done]
        rest.optimizer.step()
        rest.step()
        assert rest.get_last_lr() == rates[steps_done + 1]

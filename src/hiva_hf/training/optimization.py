"""Frozen parameters, learning rates of the layers, optimizer and schedule."""

import logging
from collections.abc import Mapping

import torch
from timm.models import group_parameters
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from transformers import get_cosine_schedule_with_warmup
from transformers.modeling_layers import GradientCheckpointingLayer

from ..modeling_hiva import HiVAGroupedLayerNorm, HiVAPreTrainedModel
from .arguments import AUTrainingArguments


logger = logging.getLogger(__name__)

# Towers with pretrained weights; their learning rates are lower than those of randomly initialised layers.
_VISION_TOWER, _TEXT_TOWER = "vision_model.backbone.", "text_model.encoder."
# Suffixes of names; the second one is that of Swin's relative positions.
_BIASES = ("bias", "bias_table")
# Biases that a following batch norm cancels: those of the convolutions before it, and that of the tower's last norm.
_BIASES_BEFORE_BATCH_NORM = ("stem.bias", "branches.bias", "backbone.layernorm.bias", "backbone.timm_model.norm.bias")


def freeze_backbone(model: HiVAPreTrainedModel, trainable_layers: int):
    """Freezes a ViT-like vision tower, except for its last layers and what follows them.

    Args:
        model: The network of either stage.
        trainable_layers: Layers that stay trainable; 0 freezes the whole tower, -1 nothing.

    Raises:
        ValueError: if the tower is not one stack of `num_hidden_layers` layers (a Swin, a ConvNeXt).
    """
    if trainable_layers < 0:
        return
    backbone = model.vision_model.backbone
    num_layers = getattr(backbone.config, "num_hidden_layers", None)
    stacks = [m for m in backbone.modules() if isinstance(m, nn.ModuleList) and len(m) == num_layers]
    if len(stacks) != 1 or trainable_layers > num_layers:
        raise ValueError(
            f"`trainable_backbone_layers` is {trainable_layers}, but {type(backbone).__name__} is not a stack of that "
            "many equal layers. Pass -1 to train all of it."
        )
    backbone.requires_grad_(False)
    if trainable_layers > 0:
        stacks[0][num_layers - trainable_layers :].requires_grad_(True)
        for name, module in backbone.named_children():
            if isinstance(module, nn.LayerNorm):
                logger.debug("The final norm %s is trained too.", name)
                module.requires_grad_(True)


def freeze_biases_without_effect(model: HiVAPreTrainedModel):
    """Freezes biases that a following batch norm cancels.

    Their gradient is 0 except for rounding. AdamW divides a gradient by its own magnitude, so it would turn that noise
    into full-sized steps, which would differ between numbers of processes, batch layouts and machines. (Biases of
    attention keys have no effect either, but their noise is so far below AdamW's epsilon that they stay where they
    are.)
    """
    for name in _BIASES_BEFORE_BATCH_NORM:
        bias = dict(model.vision_model.named_parameters()).get(name)
        if bias is not None:
            bias.requires_grad_(False)


def freeze_unused_parameters(model: HiVAPreTrainedModel, inputs: Mapping[str, torch.Tensor]):
    """Freezes parameters that get no gradient, such as those of a tower's pooler: DDP would wait for it.

    Args:
        model: The network, in any mode.
        inputs: A small batch with labels.
    """
    was_training = model.training
    model.eval()
    model(**inputs).loss.backward()
    unused = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    for name in unused:
        model.get_parameter(name).requires_grad_(False)
    if unused:
        logger.info("Frozen, since the loss does not depend on them: %s.", ", ".join(unused))
    model.zero_grad()
    model.train(was_training)


def parameter_groups(
    model: nn.Module, learning_rate: float, tower_scale: float, weight_decay: float, layer_decay: float = 1.0
) -> list[dict]:
    """Optimizer groups: towers with smaller learning rates; no weight decay on biases and norms.

    Args:
        model: The network of either stage.
        learning_rate: Learning rate of everything outside the towers.
        tower_scale: Learning rate of the towers relative to it.
        weight_decay: Weight decay of weights that are neither biases nor norms.
        layer_decay: Learning rate of each tower layer relative to the layer above (BEiT's layer-wise decay).
    """
    depths = _depths_below_the_top(model)
    # The only norms with more than one dimension.
    grouped = [module for module in model.modules() if isinstance(module, HiVAGroupedLayerNorm)]
    norms = {parameter for norm in grouped for parameter in norm.parameters()}
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            scale = tower_scale * layer_decay ** depths[name] if name in depths else 1.0
            decays = parameter.ndim > 1 and parameter not in norms and not name.endswith(_BIASES)
            groups.setdefault((scale, decays), []).append(parameter)
    return [
        {"params": parameters, "lr": learning_rate * scale, "weight_decay": weight_decay if decays else 0.0}
        for (scale, decays), parameters in groups.items()
    ]


def _depths_below_the_top(model: nn.Module) -> dict[str, int]:
    """Layers above each parameter of the towers: 0 for the last layer and what follows it."""
    depths = {}
    for prefix in (_VISION_TOWER, _TEXT_TOWER):
        tower = _submodule(model, prefix.removesuffix("."))
        if tower is not None:
            layers = _layers_of_parameters(tower)
            top = max(layers.values())
            depths |= {prefix + name: top - layer for name, layer in layers.items()}
    return depths


def _submodule(model: nn.Module, path: str) -> nn.Module | None:
    for name in path.split("."):
        model = getattr(model, name, None)
        if model is None:
            return None
    return model


def _layers_of_parameters(tower: nn.Module) -> dict[str, int]:
    """Number of the layer of each parameter, 0 for what comes before the first."""
    timm_model = getattr(tower, "timm_model", None)
    if timm_model is not None:
        layers = group_parameters(timm_model, timm_model.group_matcher(coarse=False), reverse=True)
        return {f"timm_model.{name}": layer for name, layer in layers.items()}
    stack = {name for name, part in tower.named_modules() if isinstance(part, GradientCheckpointingLayer)}
    # Of nested layers (the blocks in a Swin's stages) the inner ones.
    stack = {name for name in stack if not any(other.startswith(f"{name}.") for other in stack)}
    layers, layer, current = {}, 0, None
    for name, _ in tower.named_parameters():
        owner = next((prefix for prefix in stack if name.startswith(f"{prefix}.")), None)
        if owner is not None and owner != current:
            layer, current = layer + 1, owner
        layers[name] = layer
    return layers


def make_optimizer(model: nn.Module, learning_rate: float, arguments: AUTrainingArguments) -> torch.optim.AdamW:
    """AdamW over the trainable parameters, with the settings of the run."""
    groups = parameter_groups(
        model,
        learning_rate,
        arguments.backbone_learning_rate_scale,
        arguments.weight_decay,
        arguments.layerwise_lr_decay,
    )
    for group in groups:
        # Required by a schedule that starts in the middle.
        group["initial_lr"] = group["lr"]
    return torch.optim.AdamW(groups, fused=arguments.optim == "adamw_torch_fused")


def make_schedule(
    optimizer: torch.optim.Optimizer, num_steps: int, steps_done: int, arguments: AUTrainingArguments
) -> LambdaLR:
    """The cosine schedule of a stage of `num_steps` optimizer steps, of which `steps_done` are done."""
    return get_cosine_schedule_with_warmup(
        optimizer,
        num_warmup_steps=round(arguments.warmup_ratio * num_steps),
        num_training_steps=num_steps,
        last_epoch=steps_done - 1,
    )

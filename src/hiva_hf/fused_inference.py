# Copyright 2026 The hiva-hf authors.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""HiVA folded for inference: the same outputs from less arithmetic, where the descriptions don't change.

At inference, every key, value and query that comes from the text is constant, and so are the batch norms. Attention
between a map and constants needs no projection of the map: its scores are the map times one small matrix, and its
values are projected after pooling. This is algebra, not approximation: only rounding differs.

Folded weights are buffers that are not part of the state dict. Shapes: B images, N AUs, T visual tokens, K keys of an
AU's text memory, d = `config.hidden_size`. Maps of AUs are `(N, B * T, d)` here, a block of tokens for each AU.
"""

from collections.abc import Sequence

import torch
from torch import nn

from .fused_swin import FusedSwin
from .packed_linear import PackedLinear, PackedLinears


# The score of padding keys: 0 after a softmax, in half precision as well, but not infinite, for exporters that compute
# value ranges.
_PADDING_SCORE = -1e4


def _exact(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor in the precision used for folding, whatever the precision of the model."""
    # Apple's accelerators have no doubles.
    return tensor.detach().to(torch.float64 if tensor.device.type in ("cpu", "cuda") else torch.float32)


def constant(tensor: torch.Tensor, like: torch.Tensor) -> nn.Buffer:
    """A folded tensor as a buffer: it moves with the model and is not saved."""
    return nn.Buffer(tensor.to(like.dtype, copy=True).contiguous(), persistent=False)


def fold_batch_norm(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[torch.Tensor, torch.Tensor]:
    """A 1x1 convolution and the batch norm after it -> weight `(out_channels, in_channels)` and bias."""
    scale = _exact(norm.weight) / (_exact(norm.running_var) + norm.eps).sqrt()
    weight = _exact(convolution.weight).flatten(1) * scale[:, None]
    bias = 0 if convolution.bias is None else _exact(convolution.bias)
    return weight, (bias - _exact(norm.running_mean)) * scale + _exact(norm.bias)


class FusesForInference:
    """
    Mixin of detectors with a method `fuse`, which sets `fused_detector` to a module; None means the plain network. It
    has to come before `PreTrainedModel` among the bases.
    """

    fused_detector: nn.Module | None

    @property
    def is_fused(self) -> bool:
        """Whether the model is fused, see its `fuse`."""
        return self.fused_detector is not None

    def unfuse(self) -> "FusesForInference":
        """Undoes `fuse`, and returns the model itself."""
        self.fused_detector = None
        return self

    def train(self, mode: bool = True) -> "FusesForInference":
        """See [`torch.nn.Module.train`]; training needs the plain network."""
        self._unfuse_for_training()
        super().train(mode)
        self._unfuse_for_training()
        return self

    def _unfuse_for_training(self):
        # Also called before each use, as training may begin without `train`: Lightning restores flags of modules.
        if self.training and self.is_fused:
            self.unfuse()

    def _load_from_state_dict(self, *args, **kwargs):
        """See [`torch.nn.Module.load_state_dict`]; weights that were folded before are dropped."""
        # Unlike `load_state_dict`, it is also called where this model is part of another one.
        self.unfuse()
        super()._load_from_state_dict(*args, **kwargs)

    def _check_fusible(self, parts: Sequence[nn.Module]):
        """Raises a `ValueError` for parts in training mode, with adapters to fold, or on several devices."""
        if self.training:
            raise ValueError(
                "A model in training mode can't be fused: its weights are about to change. Call `eval()`."
            )
        if any(has_folded_adapters(part) for part in parts):
            raise ValueError(
                "A model with adapters on layers to be folded can't be fused: call `merge_and_unload()` first."
            )
        devices = {parameter.device for part in parts for parameter in part.parameters()}
        has_hooks = any(hasattr(module, "_hf_hook") for module in self.modules())
        is_offloaded = has_hooks and torch.device("meta") in devices
        if len(devices) > 1 or is_offloaded:
            raise ValueError(
                "A model that is spread over several devices or offloaded can't be fused: load it without "
                "`device_map`, or onto one device."
            )


def has_folded_adapters(module: nn.Module) -> bool:
    """Whether PEFT has adapters on layers whose weights are folded: their `weight` is the one without the adapter."""
    adapted = (part for part in module.modules() if hasattr(part, "get_base_layer"))
    # Not folded: linear layers of backbones, and modules that were trained as a whole (`modules_to_save`).
    return any(
        not hasattr(part, "modules_to_save") and not isinstance(part.get_base_layer(), nn.Linear) for part in adapted
    )


class _Projections:
    """The linear layers of a cross attention in the precision used for folding."""

    def __init__(self, attention: nn.Module):
        for name in ("q", "k", "v"):
            layer = getattr(attention, f"{name}_proj")
            setattr(self, f"{name}_weight", _exact(layer.weight))
            setattr(self, f"{name}_bias", _exact(layer.bias))
        self.scaling = attention.scaling

    def score_constant_queries(self, queries: torch.Tensor) -> torch.Tensor:
        """Queries `(groups, Q, d)` -> `(groups, d, Q)`: a map times it gives scores, up to a constant per query."""
        # A score is (W_Q z + b_Q) (W_K f + b_K): its part with b_K is the same for all tokens f, and cancels in a
        # softmax over them.
        queries = queries @ self.q_weight + self.q_bias
        return self.k_weight @ queries.transpose(1, 2) * self.scaling

    def score_constant_keys(self, memory: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Memory `(groups, K, d)` -> weight `(groups, d, K)` and bias `(groups, 1, K)` of the scores of any token."""
        keys = (memory @ self.k_weight + self.k_bias).transpose(1, 2) * self.scaling
        return self.q_weight @ keys, self.q_bias @ keys

    def values(self, memory: torch.Tensor) -> torch.Tensor:
        return memory @ self.v_weight + self.v_bias


def _normalize(hidden_states: torch.Tensor, eps: float) -> torch.Tensor:
    return nn.functional.layer_norm(hidden_states, hidden_states.shape[-1:], eps=eps)


def _grouped_linear(features: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Vectors `(N, B, in)`, weights `(N, out, in)` and biases `(N, 1, out)` -> `(N, B, out)`."""
    if torch.compiler.is_compiling():
        # Exporters and compilers expect weights as the right operand.
        return torch.baddbmm(bias, features, weight.transpose(1, 2))
    # For a single face this is memory-bound: as the left operand, weights are read row by row.
    return torch.baddbmm(bias.transpose(1, 2), weight, features.transpose(1, 2)).transpose(1, 2)


class FoldedConvolution(nn.Module):
    """
    A 1x1 convolution, the batch norm after it and a ReLU, over tokens.

    Args:
        convolution (`nn.Conv2d`).
        norm (`nn.BatchNorm2d`):
            In evaluation mode: its statistics and weights are folded.
    """

    def __init__(self, convolution: nn.Conv2d, norm: nn.BatchNorm2d):
        super().__init__()
        weight, bias = fold_batch_norm(convolution, norm)
        self.weight, self.bias = constant(weight, convolution.weight), constant(bias, convolution.weight)
        self.linear, self.activation = PackedLinear(), nn.ReLU()

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """`(B, T, in_channels)` -> `(B, T, out_channels)`."""
        return self.linear(tokens, self.weight, self.bias, self.activation)


class FusedMaps(nn.Module):
    """Stem and branches with their batch norms folded in."""

    def __init__(self, vision_model: nn.Module):
        super().__init__()
        self.stem = FoldedConvolution(vision_model.stem, vision_model.stem_norm)
        # The branches of all AUs in one layer, since they read the same map.
        self.branches = FoldedConvolution(vision_model.branches, vision_model.branches_norm)
        self.num_labels = vision_model.num_labels

    def forward(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens `(B, T, num_channels)` -> `X_g` of shape `(B, T, d)` and `F` of shape `(N, B * T, d)`."""
        global_map = self.stem(tokens)
        au_maps = self.branches(global_map).flatten(0, 1)
        return global_map, au_maps.unflatten(1, (self.num_labels, -1)).transpose(0, 1).contiguous()


class FusedDDCA(nn.Module):
    """DDCA (Eq. 5) with a constant text memory."""

    def __init__(self, ddca: nn.Module, memory: torch.Tensor, mask: torch.Tensor):
        super().__init__()
        textual, visual = _Projections(ddca.text_to_vision), _Projections(ddca.vision_to_text)
        self.eps = ddca.text_to_vision.norm.eps
        like, context = ddca.text_to_vision.v_proj.weight, memory[:, :1]
        score_weight = textual.score_constant_queries(context)
        score_bias = torch.zeros_like(score_weight[:, :1])
        # CODEPATH: a softmax over one key is 1: checkpoints of the sentence level add the one value to every token.
        self.has_one_key = memory.shape[1] == 1
        if not self.has_one_key:
            weight, bias = visual.score_constant_keys(memory)
            score_weight = torch.cat([score_weight, weight], dim=2)
            score_bias = torch.cat([score_bias, bias.masked_fill(~mask[:, None], _PADDING_SCORE)], dim=2)
        self.score_weight, self.score_bias = constant(score_weight, like), constant(score_bias, like)
        self.values = constant(visual.values(memory), like)
        self.value_weight = constant(textual.v_weight.transpose(1, 2), like)
        self.residual = constant(context + textual.v_bias, like)
        self.textual_scale = constant(_exact(ddca.text_to_vision.norm.weight), like)
        self.visual_scale = constant(_exact(ddca.vision_to_text.norm.weight), like)

    @staticmethod
    def shift(ddca: nn.Module) -> torch.Tensor:
        """The summed biases of both layer norms, `(N, 1, d)`: the bias of the fusion layer takes them over."""
        return _exact(ddca.text_to_vision.norm.bias) + _exact(ddca.vision_to_text.norm.bias)

    def forward(
        self, au_maps: torch.Tensor, num_tokens: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """
        Maps `(N, B * T, d)` -> `D` without its shift `(N, B, d)`, the attention `(N, B, T)`, and the mean attention to
        the keys `(N, B, K)`, None where there is one key.
        """
        num_labels, _, hidden_size = au_maps.shape
        scores = torch.baddbmm(self.score_bias, au_maps, self.score_weight)

        attentions = scores[..., 0].view(num_labels, -1, num_tokens).softmax(dim=-1)
        pooled = torch.bmm(attentions.view(-1, 1, num_tokens), au_maps.view(-1, num_tokens, hidden_size))
        textual = _grouped_linear(pooled.view(num_labels, -1, hidden_size), self.value_weight, self.residual)

        words = None
        if self.has_one_key:
            visual = au_maps + self.values
        else:
            reads = scores[..., 1:].softmax(dim=-1)
            words = reads.unflatten(1, (-1, num_tokens)).mean(dim=2)
            visual = torch.baddbmm(au_maps, reads, self.values)
        visual = _normalize(visual, self.eps).view(num_labels, -1, num_tokens, hidden_size).mean(dim=2)
        features = visual * self.visual_scale + _normalize(textual, self.eps) * self.textual_scale
        return features, attentions, words


class FusedCDCA(nn.Module):
    """CDCA (Eq. 6) with constant embeddings of the descriptions."""

    def __init__(self, cdca: nn.Module, context: torch.Tensor):
        super().__init__()
        textual, visual = _Projections(cdca.text_to_vision), _Projections(cdca.vision_to_text)
        self.eps = cdca.text_to_vision.norm.eps
        like, context = cdca.text_to_vision.v_proj.weight, context.transpose(0, 1)
        looked_for = textual.score_constant_queries(context)
        weight, bias = visual.score_constant_keys(context)
        self.num_labels = context.shape[1]
        # One linear layer on the map gives the scores of both directions, N each.
        self.score_weight = constant(torch.cat([looked_for, weight], dim=2)[0].T, like)
        self.score_bias = constant(torch.cat([torch.zeros_like(bias), bias], dim=2).flatten(), like)
        self.values = constant(visual.values(context)[0], like)
        self.value_weight = constant(textual.v_weight[0].T, like)
        self.residual = constant((context + textual.v_bias)[0], like)
        self.textual_scale = constant(_exact(cdca.text_to_vision.norm.weight).flatten(), like)
        self.visual_scale = constant(_exact(cdca.vision_to_text.norm.weight).flatten(), like)

    @staticmethod
    def shift(cdca: nn.Module) -> torch.Tensor:
        """The summed biases of both layer norms, `(1, 1, d)`."""
        return _exact(cdca.text_to_vision.norm.bias) + _exact(cdca.vision_to_text.norm.bias)

    def forward(self, global_map: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Map `(B, T, d)` -> `C` without its shift `(N, B, d)`, and the attention `(N, B, T)`."""
        scores = nn.functional.linear(global_map, self.score_weight, self.score_bias)
        looks, reads = scores.split(self.num_labels, dim=-1)

        attentions = looks.transpose(1, 2).softmax(dim=-1)
        textual = nn.functional.linear(torch.bmm(attentions, global_map), self.value_weight) + self.residual
        visual = global_map + reads.softmax(dim=-1) @ self.values
        visual = _normalize(visual, self.eps).mean(dim=1, keepdim=True)
        features = visual * self.visual_scale + _normalize(textual, self.eps) * self.textual_scale
        return features.transpose(0, 1), attentions.transpose(0, 1)


class FusedInteraction(nn.Module):
    """Part (d) and the heads. The parts that are fused are `[U ; D ; C]`, or `[U ; mean(X_g)]` without attention."""

    def __init__(self, interaction: nn.Module, classifier: nn.Module, text: tuple[torch.Tensor, torch.Tensor] | None):
        super().__init__()
        like, ddca, cdca = interaction.fusion.weight, interaction.ddca, interaction.cdca
        weight, bias = _exact(interaction.fusion.weight), _exact(interaction.fusion.bias)
        memory, mask = (None, None) if text is None else (_exact(text[0]), text[1])
        # W of U, W of the second part, ... : each (N, d, d).
        weights = list(weight.split(weight.shape[2], dim=1))
        self.ddca = None if ddca is None else FusedDDCA(ddca, memory, mask)
        self.cdca = None if cdca is None else FusedCDCA(cdca, memory[:, :1])
        if ddca is not None:
            bias = bias + FusedDDCA.shift(ddca) @ weights[1]
        if cdca is not None:
            bias = bias + FusedCDCA.shift(cdca) @ weights[-1]
        if interaction.variant == "no_attention":
            # [U ; U + Z ; mean(X_g) + Z]: two parts and a constant.
            bias = bias + memory[:, :1] @ (weights[1] + weights[2])
            weights = [weights[0] + weights[1], weights[2]]
        self.weight = constant(torch.cat(weights, dim=1).transpose(1, 2), like)
        self.bias = constant(bias, like)
        self.classifier_weight = constant(_exact(classifier.weight), like)
        self.classifier_bias = constant(_exact(classifier.bias), like)

    def forward(self, global_map: torch.Tensor, au_maps: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """
        Args:
            global_map (`torch.Tensor` of shape `(B, T, d)`).
            au_maps (`torch.Tensor` of shape `(N, B * T, d)`).

        Returns:
            Logits `(B, N)`, fused features `(B, N, d)`, `U` `(B, N, d)`, the attention of DDCA and of CDCA
            `(B, N, T)`, None in variants without them, and DDCA's mean attention to words `(B, N, K)`, None where
            there is one key.
        """
        num_labels, _, hidden_size = au_maps.shape
        num_tokens = global_map.shape[1]
        ddca_attentions = cdca_attentions = word_attentions = None
        parts = [au_maps.view(num_labels, -1, num_tokens, hidden_size).mean(dim=2)]
        if self.ddca is not None:
            features, attentions, words = self.ddca(au_maps, num_tokens)
            parts.append(features)
            ddca_attentions = attentions.transpose(0, 1)
            word_attentions = None if words is None else words.transpose(0, 1)
        if self.cdca is not None:
            features, attentions = self.cdca(global_map)
            parts.append(features)
            cdca_attentions = attentions.transpose(0, 1)
        if self.ddca is None and self.cdca is None:
            parts.append(global_map.mean(dim=1).expand_as(parts[0]))
        fused = _grouped_linear(torch.cat(parts, dim=-1), self.weight, self.bias)
        logits = torch.baddbmm(self.classifier_bias, fused, self.classifier_weight).squeeze(2)
        features = (part.transpose(0, 1) for part in (fused, parts[0]))
        return logits.transpose(0, 1), *features, ddca_attentions, cdca_attentions, word_attentions


class FusedDetector(nn.Module):
    """
    A whole [`HiVAForAUDetection`] for inference, see [`HiVAForAUDetection.fuse`].

    The backbone's weights are not copied: [`~FusedDetector.forward`] takes the vision model that they belong to.

    Args:
        vision_model (`HiVAVisionModel`):
            Part (a) of the model.
        interaction (`HiVAInteraction`):
            Part (d) of the model.
        classifier (`HiVAGroupedLinear`):
            The heads.
        text (`tuple` of two tensors, *optional*):
            The text memory `(N, K, d)` and its mask `(N, K)`; None for a model that reads no text.
    """

    def __init__(
        self,
        vision_model: nn.Module,
        interaction: nn.Module,
        classifier: nn.Module,
        text: tuple[torch.Tensor, torch.Tensor] | None,
    ):
        super().__init__()
        # CODEPATH: backbones other than timm's Swin run as they are, with faster kernels where there are any.
        self.swin = FusedSwin.of(vision_model.backbone)
        self.packed_linears = PackedLinears()
        self.maps = FusedMaps(vision_model)
        self.interaction = FusedInteraction(interaction, classifier, text)

    def forward(self, vision_model: nn.Module, pixel_values: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """
        Args:
            vision_model (`HiVAVisionModel`):
                The model that was folded.
            pixel_values (`torch.Tensor` of shape `(B, 3, image_size, image_size)`).

        Returns:
            See [`FusedInteraction`].
        """
        vision_model.check_pixel_values(pixel_values)
        if self.swin is None:
            features = self.packed_linears(vision_model.backbone, pixel_values)
            feature_map = vision_model.to_feature_map(features.last_hidden_state)
            tokens = feature_map.flatten(2).transpose(1, 2)
        else:
            tokens = self.swin(vision_model.backbone.timm_model, pixel_values)
        return self.interaction(*self.maps(tokens))

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
"""PyTorch HiVA model.

Equation numbers are those of "Hierarchical Vision-Language Interaction for Facial Action Unit Detection"
(arXiv 2602.14425). Shapes: B images, N AUs, T = h * w visual tokens, L word pieces, d = `config.hidden_size`.
"""

import copy
import importlib
import math
import os
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn
from transformers import AutoConfig, AutoModel
from transformers import initialization as init
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightRenaming, rename_source_key
from transformers.masking_utils import create_bidirectional_mask
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS, PreTrainedModel
from transformers.processing_utils import Unpack
from transformers.utils import (
    SAFE_WEIGHTS_NAME,
    ModelOutput,
    TransformersKwargs,
    auto_docstring,
    cached_file,
    logging,
)
from transformers.utils.generic import can_return_tuple

from .checkpoint_limits import check_num_elements
from .configuration_hiva import HiVAConfig
from .facs import MISSING_LABEL, get_action_unit
from .fused_inference import FusedDetector, FusesForInference
from .fused_swin import lower_masks
from .remote_code import PushesRemoteCode
from .word_pieces import name_word_pieces


logger = logging.get_logger(__name__)

# The manifest that transformers' exporters write beside a program.
EXPORT_MANIFEST_FILE = "export.json"
# Arguments of `from_pretrained` for downloading from the Hub.
HUB_ARGUMENTS = ("cache_dir", "force_download", "local_files_only", "token", "revision", "subfolder")
# Arguments of `from_pretrained` that don't apply to exports: how a network is computed, what Auto classes add, and
# trust in the code of repositories, which does not extend to pickled programs.
IGNORED_BY_EXPORTS = (
    "dtype",
    "torch_dtype",
    "attn_implementation",
    "use_safetensors",
    "trust_remote_code",
    "adapter_kwargs",
    "_from_auto",
    "_from_pipeline",
    "_commit_hash",
)

_PICKLE_ADVICE = (
    "HiVA loads safetensors only, because unpickling can run arbitrary code: `hiva-hf convert CHECKPOINT OUTPUT_DIR` "
    "converts a pickle that contains nothing but tensors."
)


@auto_docstring(custom_intro="Output of [`HiVAForPreTraining`], stage 1 of HiVA.")
@dataclass
class HiVAForPreTrainingOutput(ModelOutput):
    r"""
    loss (`torch.FloatTensor` of shape `(1,)`, *optional*, returned when `labels` is provided):
        `L_au`, the weighted binary cross entropy over the labelled AUs.
    logits (`torch.FloatTensor` of shape `(batch_size, num_labels)`):
        AU scores before the sigmoid, in the order of `config.id2label`.
    au_features (`torch.FloatTensor` of shape `(batch_size, num_labels, hidden_size)`):
        AU features `U` before the graph.
    adjacency (`torch.FloatTensor` of shape `(batch_size, num_labels, num_labels)`):
        The directed 0/1 graph over the AUs: row i marks the AUs that AU i listens to.
    """

    loss: torch.FloatTensor | None = None
    logits: torch.FloatTensor | None = None
    au_features: torch.FloatTensor | None = None
    adjacency: torch.FloatTensor | None = None


@auto_docstring(custom_intro="Output of [`HiVAForAUDetection`].")
@dataclass
class HiVAAUDetectionOutput(ModelOutput):
    r"""
    loss (`torch.FloatTensor` of shape `(1,)`, *optional*, returned when `labels` is provided):
        `L_au + lambda L_diff`. `L_diff` is included only if the text encoder ran: with the cached text memory it is
        constant.
    logits (`torch.FloatTensor` of shape `(batch_size, num_labels)`):
        AU scores before the sigmoid, in the order of `config.id2label`.
    au_features (`torch.FloatTensor` of shape `(batch_size, num_labels, hidden_size)`):
        The fused AU features that the heads read.
    ddca_attentions (`torch.FloatTensor` of shape `(batch_size, num_labels, num_tokens)`, *optional*, returned when `output_attentions=True`):
        Attention of each AU's description over that AU's own feature map, row-major over the token grid; sums to 1.
    cdca_attentions (`torch.FloatTensor` of shape `(batch_size, num_labels, num_tokens)`, *optional*, returned when `output_attentions=True`):
        Attention of each AU's description over the feature map of the whole face (Eq. 6), row-major; sums to 1.
    word_attentions (`torch.FloatTensor` of shape `(batch_size, num_labels, num_keys)`, *optional*, returned when `output_attentions=True`):
        Attention of each AU's own feature map over its text memory, the other direction of DDCA, averaged over the
        visual tokens as in `D`. Key 0 is `Z_i`, the rest are the word pieces that `config.description_pieces` names;
        padding gets 0; sums to 1. None at the sentence level, where the only key always gets 1.
    visual_features (`torch.FloatTensor` of shape `(batch_size, num_labels, hidden_size)`):
        AU features `U` of the face alone, before the descriptions are read. [`adjacency`] builds the graph of Figure 7
        from them.
    """

    loss: torch.FloatTensor | None = None
    logits: torch.FloatTensor | None = None
    au_features: torch.FloatTensor | None = None
    ddca_attentions: torch.FloatTensor | None = None
    cdca_attentions: torch.FloatTensor | None = None
    word_attentions: torch.FloatTensor | None = None
    visual_features: torch.FloatTensor | None = None


@dataclass
class HiVATextMemory:
    """
    The encoded descriptions, as the visual side attends to them.

    Args:
        memory (`torch.FloatTensor` of shape `(num_labels, num_keys, hidden_size)`):
            `M = [Z ; W]`. Key 0 is the AU's contextual embedding `Z_i`, the rest are its word pieces `W_i`.
        mask (`torch.BoolTensor` of shape `(num_labels, num_keys)`):
            True for real keys, False for padding.
        description_embeddings (`torch.FloatTensor` of shape `(num_labels, text_hidden_size)`, *optional*):
            `H`, on which `L_diff` is defined. None for a cached memory.
    """

    memory: torch.Tensor
    mask: torch.Tensor
    description_embeddings: torch.Tensor | None = None

    def to(self, *args, **kwargs) -> "HiVATextMemory":
        """
        Moves what the visual side reads to another device, see [`torch.Tensor.to`]. Accelerate calls it if the parts of
        a network are on several devices. `H` is left out: its loss is computed where the text side ran.
        """
        return HiVATextMemory(self.memory.to(*args, **kwargs), self.mask.to(*args, **kwargs))


def au_detection_loss(
    logits: torch.Tensor,
    labels: torch.Tensor,
    label_weights: Sequence[float] | None = None,
    reduction: str = "sum",
) -> torch.Tensor:
    r"""
    `L_au` (Eq. 4, with the minus on both terms): weighted binary cross entropy with missing labels left out.

    Args:
        logits (`torch.Tensor` of shape `(batch_size, num_labels)`):
            AU scores before the sigmoid.
        labels (`torch.Tensor` of shape `(batch_size, num_labels)`):
            1 (present), 0 (absent) or -100 (unknown).
        label_weights (`Sequence[float]`, *optional*):
            `w_i`, one for each AU.
        reduction (`str`, *optional*, defaults to `"sum"`):
            `"sum"` over AUs or `"mean"` over the labelled AUs of a sample; the mean over the batch in both cases.
    """
    known = labels != MISSING_LABEL
    targets = torch.where(known, labels, 0).to(logits.dtype)
    losses = nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    if label_weights is not None:
        losses = losses * logits.new_tensor(label_weights)
    per_sample = torch.where(known, losses, 0).sum(dim=-1)
    if reduction == "mean":
        per_sample = per_sample / known.sum(dim=-1).clamp(min=1)
    return per_sample.mean()


def description_difference_loss(description_embeddings: torch.Tensor) -> torch.Tensor:
    r"""
    `L_diff` (Eq. 1): mean squared entry of `rownorm(H) rownorm(H)^T - I`, 0 for orthogonal descriptions.

    Args:
        description_embeddings (`torch.Tensor` of shape `(num_labels, text_hidden_size)`):
            `H`, one row for each AU.
    """
    # In fp32 also under autocast: the entries are differences of numbers close to 1.
    with torch.autocast(device_type=description_embeddings.device.type, enabled=False):
        rows = nn.functional.normalize(description_embeddings.float(), dim=-1)
        identity = torch.eye(rows.shape[0], device=rows.device)
        return (rows @ rows.T - identity).pow(2).mean()


def adjacency(au_features: torch.Tensor, num_neighbors: int) -> torch.Tensor:
    r"""
    The dynamic AU graph of Figure 7: each AU keeps its `K` most similar AUs by inner product, itself first.

    Ties are broken by AU order (the lower index wins), so every row has exactly `K` ones.

    Args:
        au_features (`torch.Tensor` of shape `(batch_size, num_labels, hidden_size)`):
            `U`. No gradient flows through the selection.
        num_neighbors (`int`):
            `K`, between 1 and `num_labels`.

    Returns:
        `torch.Tensor` of shape `(batch_size, num_labels, num_labels)`, 0/1 in the dtype of `au_features`.
    """
    features = au_features.detach()
    similarity = features @ features.transpose(1, 2)
    is_self = torch.eye(similarity.shape[-1], dtype=torch.bool, device=similarity.device)
    similarity = similarity.masked_fill(is_self, torch.finfo(similarity.dtype).max)
    # A stable sort, not topk, whose choice among ties is undefined.
    neighbors = similarity.sort(dim=-1, descending=True, stable=True).indices[..., :num_neighbors]
    return torch.zeros_like(similarity).scatter(-1, neighbors, 1.0)


def eager_attention_forward(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    **kwargs: Unpack[TransformersKwargs],
):
    attn_weights = torch.matmul(query, key.transpose(2, 3)) * scaling
    if attention_mask is not None:
        attn_weights = attn_weights + attention_mask

    attn_weights = nn.functional.softmax(attn_weights, dim=-1, dtype=torch.float32).to(query.dtype)
    attn_weights = nn.functional.dropout(attn_weights, p=dropout, training=module.training)

    attn_output = torch.matmul(attn_weights, value)
    attn_output = attn_output.transpose(1, 2).contiguous()

    return attn_output, attn_weights


@contextmanager
def evaluation_mode(modules: Sequence[nn.Module]):
    """Keeps modules in evaluation mode inside of a `with` block; each submodule then returns to its previous mode."""
    was_training = [(part, part.training) for module in modules for part in module.modules()]
    for module in modules:
        module.eval()
    try:
        yield
    finally:
        for part, mode in was_training:
            part.training = mode


def check_pixel_values(pixel_values: torch.Tensor, image_size: int):
    """Raises a `ValueError` if a batch is not `(batch_size, 3, image_size, image_size)`."""
    if pixel_values.ndim != 4 or pixel_values.shape[1:] != (3, image_size, image_size):
        raise ValueError(
            f"`pixel_values` has the shape {tuple(pixel_values.shape)}, but this model reads batches of "
            f"(3, {image_size}, {image_size}): pass the faces through its image processor."
        )


def backbone_refusal(model_type: str) -> str:
    """The message for a backbone whose configuration in transformers does not give the width of its feature maps."""
    return (
        f"The configuration of transformers' {model_type!r} does not give the width of its feature maps "
        "(`hidden_size`): use timm's version, `backbone_config={'model_type': 'timm_wrapper', 'architecture': ...}`."
    )


class HiVAPointwiseConv2d(nn.Conv2d):
    """
    A 1x1 convolution, computed as what it is: a linear layer over all spatial positions.

    Before a convolution, `torch.compile` would use an image layout for everything, including a transformer's tokens,
    which it would then read and write column by column.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 1, *args, **kwargs):
        # PEFT creates layers of the type that it adapts, with all arguments of a convolution.
        super().__init__(in_channels, out_channels, kernel_size, *args, **kwargs)

    def forward(self, feature_map: torch.Tensor) -> torch.Tensor:
        """`(batch_size, in_channels, height, width)` -> `(batch_size, out_channels, height, width)`."""
        places = nn.functional.linear(feature_map.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias)
        return places.permute(0, 3, 1, 2)


class HiVAGroupedLinear(nn.Module):
    """
    `num_groups` linear layers at once, one for each AU.

    `(batch_size, num_groups, seq_len, in_features)` -> `(batch_size, num_groups, seq_len, out_features)`.
    """

    def __init__(self, num_groups: int, in_features: int, out_features: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_groups, in_features, out_features))
        self.bias = nn.Parameter(torch.empty(num_groups, 1, out_features))

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        batch_size, _, seq_len, _ = hidden_states.shape
        # One matrix product for each group, over all its tokens in the batch.
        grouped = hidden_states.transpose(0, 1).flatten(1, 2)
        output = torch.baddbmm(self.bias, grouped, self.weight)
        return output.unflatten(1, (batch_size, seq_len)).transpose(0, 1)


class HiVAGroupedLayerNorm(nn.Module):
    """Layer norm with its own scale and shift for each group of `(batch_size, num_groups, seq_len, hidden_size)`."""

    def __init__(self, num_groups: int, hidden_size: int, eps: float):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.empty(num_groups, 1, hidden_size))
        self.bias = nn.Parameter(torch.empty(num_groups, 1, hidden_size))

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        normalized = nn.functional.layer_norm(hidden_states, hidden_states.shape[-1:], eps=self.eps)
        return normalized * self.weight + self.bias


class HiVAVisionBackbone(nn.Module):
    """Base of the vision models: any backbone that `AutoModel` builds, with its feature maps in one layout."""

    # `activation_checkpointing_enable` looks for this attribute and sets it; timm's layers have their own switch.
    gradient_checkpointing = False

    def __init__(self, config: HiVAConfig):
        super().__init__()
        self.image_size = config.image_size
        # In the dtype of the whole network, whatever dtype the tower was saved in.
        self.backbone = AutoModel.from_config(config.backbone_config, dtype=torch.get_default_dtype())
        self._check_backbone_image_size()
        self._choose_timm_attention()

    def _check_backbone_image_size(self):
        patch_embed = getattr(getattr(self.backbone, "timm_model", None), "patch_embed", None)
        backbone_size = getattr(patch_embed, "img_size", None)
        if (
            backbone_size is not None
            and getattr(patch_embed, "strict_img_size", True)
            and backbone_size != (self.image_size, self.image_size)
        ):
            raise ValueError(
                f"`image_size` is {self.image_size}, but the timm backbone is built for {backbone_size[0]} pixels: set "
                f"`image_size={backbone_size[0]}`, or `model_args={{'img_size': {self.image_size}}}` in "
                "`backbone_config`."
            )

    def _num_backbone_channels(self) -> int:
        timm_model = getattr(self.backbone, "timm_model", None)
        if timm_model is not None:
            return timm_model.num_features
        backbone_config = self.backbone.config
        if getattr(backbone_config, "hidden_sizes", None):
            # MobileViT widens the map of its last stage.
            return getattr(backbone_config, "neck_hidden_sizes", backbone_config.hidden_sizes)[-1]
        if not hasattr(backbone_config, "hidden_size"):
            raise ValueError(backbone_refusal(backbone_config.model_type))
        return backbone_config.hidden_size

    def _choose_timm_attention(self):
        # timm fuses the attention of all its models but Swin's, which needs a process-wide switch (timm 1.0).
        # CODEPATH: CPUs have no fused attention with a trainable bias. PyTorch then computes the same steps as timm,
        # but in fp32, even under autocast.
        is_trained_on_cpu = self.training and next(self.backbone.parameters()).device.type == "cpu"
        for module in self.backbone.modules():
            if hasattr(module, "fused_attn"):
                module.fused_attn = not (is_trained_on_cpu and hasattr(module, "relative_position_bias_table"))

    def train(self, mode: bool = True) -> "HiVAVisionBackbone":
        """See [`torch.nn.Module.train`]."""
        super().train(mode)
        self._choose_timm_attention()
        return self

    def _apply(self, *args, **kwargs) -> "HiVAVisionBackbone":
        # The choice depends on the device, which may change here.
        super()._apply(*args, **kwargs)
        self._choose_timm_attention()
        return self

    def to_feature_map(self, hidden_state: torch.Tensor) -> torch.Tensor:
        """Any backbone's last hidden state -> `(batch_size, num_channels, height, width)`."""
        if hidden_state.ndim == 3:
            # Tokens: the patches of a square grid, after the class token and other prefix tokens.
            grid_size = math.isqrt(hidden_state.shape[1])
            patches = hidden_state[:, hidden_state.shape[1] - grid_size**2 :]
            return patches.transpose(1, 2).unflatten(2, (grid_size, grid_size))
        timm_model = getattr(self.backbone, "timm_model", None)
        if getattr(timm_model, "output_fmt", "NCHW") == "NHWC":
            return hidden_state.permute(0, 3, 1, 2)
        return hidden_state

    def check_pixel_values(self, pixel_values: torch.Tensor):
        """Raises a `ValueError` if a batch does not have the shape that the model reads."""
        check_pixel_values(pixel_values, self.image_size)


class HiVAVisionModel(HiVAVisionBackbone):
    """Part (a): face crop -> map of the whole face `X_g` and one map `F_i` for each AU."""

    def __init__(self, config: HiVAConfig):
        super().__init__(config)
        self.num_labels = config.num_labels
        self.num_channels = self._num_backbone_channels()
        self.stem = HiVAPointwiseConv2d(self.num_channels, config.hidden_size)
        self.stem_norm = nn.BatchNorm2d(config.hidden_size)
        # All branches read the same map: N independent d -> d convolutions are one d -> N * d convolution.
        self.branches = HiVAPointwiseConv2d(config.hidden_size, config.num_labels * config.hidden_size)
        self.branches_norm = nn.BatchNorm2d(config.num_labels * config.hidden_size)
        self.activation = nn.ReLU()

    def forward(self, pixel_values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Args:
            pixel_values (`torch.Tensor` of shape `(batch_size, 3, image_size, image_size)`).

        Returns:
            `X_g` of shape `(batch_size, num_tokens, hidden_size)` and `F` of shape
            `(batch_size, num_labels, num_tokens, hidden_size)`.
        """
        self.check_pixel_values(pixel_values)
        feature_map = self.to_feature_map(self.backbone(pixel_values).last_hidden_state)
        global_map = self.activation(self.stem_norm(self.stem(feature_map)))
        au_maps = self.activation(self.branches_norm(self.branches(global_map)))
        au_maps = au_maps.flatten(2).unflatten(1, (self.num_labels, -1))
        return global_map.flatten(2).transpose(1, 2), au_maps.transpose(2, 3)


class HiVAAUGraph(nn.Module):
    """Part (c), stage 1 only: `U_upd = ReLU(U + BN_N(W_u U + A W_v U))` (Eq. 3) over the dynamic AU graph."""

    def __init__(self, config: HiVAConfig):
        super().__init__()
        self.num_neighbors = config.num_neighbors
        self.self_projection = nn.Linear(config.hidden_size, config.hidden_size)
        self.neighbor_projection = nn.Linear(config.hidden_size, config.hidden_size)
        # BN_N: one mean and variance for each AU, over the batch and the features.
        self.norm = nn.BatchNorm1d(config.num_labels)

    def forward(self, au_features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """`(batch_size, num_labels, hidden_size)` -> updated features of that shape, and the 0/1 graph."""
        graph = adjacency(au_features, self.num_neighbors)
        # Every row has K ones: dividing by the degree is dividing by K.
        messages = (graph / self.num_neighbors) @ self.neighbor_projection(au_features)
        update = self.norm(self.self_projection(au_features) + messages)
        return nn.functional.relu(au_features + update), graph


class HiVAContextAttention(nn.Module):
    def __init__(self, config: HiVAConfig):
        super().__init__()
        self.config = config
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.scaling = self.head_dim**-0.5
        self.is_causal = False
        self.q_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.k_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.v_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.o_proj = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        input_shape = hidden_states.shape[:-1]
        hidden_shape = (*input_shape, -1, self.head_dim)
        query = self.q_proj(hidden_states).view(hidden_shape).transpose(1, 2)
        key = self.k_proj(hidden_states).view(hidden_shape).transpose(1, 2)
        value = self.v_proj(hidden_states).view(hidden_shape).transpose(1, 2)
        attention_interface: Callable = ALL_ATTENTION_FUNCTIONS.get_interface(
            self.config._attn_implementation, eager_attention_forward
        )
        attn_output, _ = attention_interface(self, query, key, value, None, scaling=self.scaling)
        return self.o_proj(attn_output.reshape(*input_shape, -1))


class HiVAContextLayer(GradientCheckpointingLayer):
    """A post-norm Transformer encoder layer over the AUs, which are a set: no position encoding."""

    def __init__(self, config: HiVAConfig):
        super().__init__()
        self.attention = HiVAContextAttention(config)
        self.attention_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size)
        self.output_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        hidden_states = self.attention_norm(hidden_states + self.dropout(self.attention(hidden_states)))
        intermediate = self.dropout(nn.functional.relu(self.up_proj(hidden_states)))
        return self.output_norm(hidden_states + self.dropout(self.down_proj(intermediate)))


class HiVATextModel(nn.Module):
    """
    Part (b): one description for each AU -> the text memory that the visual side reads.

    The text encoder is a BERT; embeddings and all but its last `config.num_trainable_text_layers` layers are frozen.
    """

    # Set by `activation_checkpointing_enable`.
    gradient_checkpointing = False

    def __init__(self, config: HiVAConfig):
        super().__init__()
        self.config = config
        self.encoder = None
        # CODEPATH: checkpoints of the control "random_vectors" have fixed vectors in place of a text encoder.
        if config.reads_descriptions:
            self.encoder = AutoModel.from_config(
                config.text_config, add_pooling_layer=False, dtype=torch.get_default_dtype()
            )
        else:
            self.random_states = nn.Buffer(torch.empty(config.num_labels, 1, config.text_config.hidden_size))
        self.projection = nn.Linear(config.text_config.hidden_size, config.hidden_size)
        self.context_layers = nn.ModuleList([HiVAContextLayer(config) for _ in range(config.num_context_layers)])

    @property
    def num_frozen_layers(self) -> int:
        return self.encoder.config.num_hidden_layers - self.config.num_trainable_text_layers

    @property
    def frozen_modules(self) -> list[nn.Module]:
        """The embeddings of the text encoder and its frozen layers, in the order in which they run."""
        if self.encoder is None:
            return []
        return [self.encoder.embeddings, *self.encoder.encoder.layer[: self.num_frozen_layers]]

    def _run_layers(
        self, hidden_states: torch.Tensor, attention_mask: torch.Tensor, layers: Sequence[nn.Module]
    ) -> torch.Tensor:
        mask = create_bidirectional_mask(
            config=self.encoder.config, inputs_embeds=hidden_states, attention_mask=attention_mask
        )
        for layer in layers:
            hidden_states = layer(hidden_states, mask)
        return hidden_states

    @torch.no_grad()
    def encode_frozen(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """
        Hidden states after the last frozen layer: constant for a sentence, without gradients and without dropout.

        Args:
            input_ids (`torch.LongTensor` of shape `(num_sentences, sequence_length)`).
            attention_mask (`torch.LongTensor` of shape `(num_sentences, sequence_length)`).

        Returns:
            `torch.FloatTensor` of shape `(num_sentences, sequence_length, text_hidden_size)`.
        """
        embeddings, *layers = self.frozen_modules
        with evaluation_mode(self.frozen_modules):
            return self._run_layers(embeddings(input_ids=input_ids), attention_mask, layers)

    def forward(self, text_hidden_states: torch.Tensor | None, attention_mask: torch.Tensor | None) -> HiVATextMemory:
        """
        Args:
            text_hidden_states (`torch.FloatTensor` of shape `(num_labels, sequence_length, text_hidden_size)`):
                Output of [`~HiVATextModel.encode_frozen`], one description for each AU in the order of the labels;
                None if fixed random vectors replace the descriptions.
            attention_mask (`torch.LongTensor` of shape `(num_labels, sequence_length)`):
                1 for real tokens, 0 for padding.
        """
        if self.encoder is None:
            token_states = self.random_states
            attention_mask = torch.ones(token_states.shape[:2], device=token_states.device)
        else:
            if self.gradient_checkpointing and self.training:
                # Reentrant checkpointing drops a layer's gradients if none of its inputs requires one.
                text_hidden_states = text_hidden_states.detach().requires_grad_()
            trained_layers = self.encoder.encoder.layer[self.num_frozen_layers :]
            token_states = self._run_layers(text_hidden_states, attention_mask, trained_layers)
        # CODEPATH: in checkpoints of the control "shuffled_descriptions" each AU reads its neighbour's description.
        if self.config.variant == "shuffled_descriptions":
            token_states, attention_mask = token_states.roll(1, dims=0), attention_mask.roll(1, dims=0)

        is_token = attention_mask.bool()
        weights = is_token.unsqueeze(-1).to(token_states.dtype)
        description_embeddings = (token_states * weights).sum(dim=1) / weights.sum(dim=1)

        context = self.projection(description_embeddings).unsqueeze(0)
        for layer in self.context_layers:
            context = layer(context)
        # Z: [N, 1, d]
        memory = context.squeeze(0).unsqueeze(1)
        mask = is_token.new_ones(memory.shape[:2])
        # CODEPATH: checkpoints trained at the sentence level (Eq. 5 as written) keep Z alone.
        if self.config.text_level == "token":
            memory = torch.cat([memory, self.projection(token_states)], dim=1)
            mask = torch.cat([mask, is_token], dim=1)
        return HiVATextMemory(memory=memory, mask=mask, description_embeddings=description_embeddings)


class HiVACrossAttention(nn.Module):
    """
    Residual single-head attention without output projection, `LN(query + Attn(query, memory))`, in `num_groups`
    independent copies (one for each AU in DDCA, one for all in CDCA).
    """

    def __init__(self, config: HiVAConfig, num_groups: int):
        super().__init__()
        self.config = config
        self.scaling = config.hidden_size**-0.5
        self.is_causal = False
        self.q_proj = HiVAGroupedLinear(num_groups, config.hidden_size, config.hidden_size)
        self.k_proj = HiVAGroupedLinear(num_groups, config.hidden_size, config.hidden_size)
        self.v_proj = HiVAGroupedLinear(num_groups, config.hidden_size, config.hidden_size)
        self.norm = HiVAGroupedLayerNorm(num_groups, config.hidden_size, eps=config.layer_norm_eps)

    def forward(
        self,
        hidden_states: torch.Tensor,
        memory: torch.Tensor,
        memory_mask: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """
        Args:
            hidden_states (`torch.Tensor` of shape `(batch_size or 1, num_groups, query_len, hidden_size)`):
                Queries, to which the attended values are added.
            memory (`torch.Tensor` of shape `(batch_size or 1, num_groups, key_len, hidden_size)`):
                Keys and values. A side that is the same for the whole batch has a batch size of 1: it is projected once.
            memory_mask (`torch.BoolTensor` of shape `(num_groups, key_len)`, *optional*):
                False for keys that are padding.

        Returns:
            The attended `hidden_states`, and with `output_attentions=True` the weights of shape
            `(batch_size, num_groups, query_len, key_len)`.
        """
        batch_size = max(hidden_states.shape[0], memory.shape[0])
        query = self.q_proj(hidden_states).expand(batch_size, -1, -1, -1)
        key = self.k_proj(memory).expand(batch_size, -1, -1, -1)
        value = self.v_proj(memory).expand(batch_size, -1, -1, -1)
        attention_mask = None
        if memory_mask is not None:
            blocked = torch.zeros_like(memory_mask, dtype=query.dtype)
            blocked = blocked.masked_fill(~memory_mask, torch.finfo(query.dtype).min)
            attention_mask = blocked[None, :, None, :]

        attention_interface: Callable = ALL_ATTENTION_FUNCTIONS.get_interface(
            self.config._attn_implementation, eager_attention_forward
        )
        output_attentions = kwargs.get("output_attentions", False)
        if output_attentions:
            # Fused kernels don't return the weights.
            attention_interface = eager_attention_forward
        attn_output, attn_weights = attention_interface(
            self, query, key, value, attention_mask, scaling=self.scaling, **kwargs
        )
        output = self.norm(hidden_states + attn_output.transpose(1, 2))
        return output, attn_weights if output_attentions else None


class HiVADisentangledDualCrossAttention(nn.Module):
    """DDCA: each AU's map and its own description attend to each other, with weights of that AU (Eq. 5)."""

    def __init__(self, config: HiVAConfig):
        super().__init__()
        self.has_words = config.text_level == "token"
        self.vision_to_text = HiVACrossAttention(config, num_groups=config.num_labels)
        self.text_to_vision = HiVACrossAttention(config, num_groups=config.num_labels)

    def forward(
        self, au_maps: torch.Tensor, text: HiVATextMemory, **kwargs: Unpack[TransformersKwargs]
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        """
        Returns `D` of shape `(batch_size, num_labels, hidden_size)`, the attention maps
        `(batch_size, num_labels, num_tokens)`, and the mean attention to the keys of the text memory,
        `(batch_size, num_labels, num_keys)`.
        """
        memory = text.memory.unsqueeze(0)
        visual, word_attentions = self.vision_to_text(au_maps, memory, memory_mask=text.mask, **kwargs)
        textual, attentions = self.text_to_vision(memory[:, :, :1], au_maps, **kwargs)
        features = visual.mean(dim=2) + textual.squeeze(2)
        if attentions is None:
            return features, None, None
        return features, attentions.squeeze(2), word_attentions.mean(dim=2) if self.has_words else None


class HiVAContextualDualCrossAttention(nn.Module):
    """CDCA: the whole face and all descriptions attend to each other, with weights shared over AUs (Eq. 6)."""

    def __init__(self, config: HiVAConfig):
        super().__init__()
        self.text_to_vision = HiVACrossAttention(config, num_groups=1)
        self.vision_to_text = HiVACrossAttention(config, num_groups=1)

    def forward(
        self, global_map: torch.Tensor, text: HiVATextMemory, **kwargs: Unpack[TransformersKwargs]
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Returns `C` of shape `(batch_size, num_labels, hidden_size)` and the maps `(batch_size, num_labels, num_tokens)`."""
        face = global_map.unsqueeze(1)
        context = text.memory[None, None, :, 0]
        textual, attentions = self.text_to_vision(context, face, **kwargs)
        visual, _ = self.vision_to_text(face, context)
        return visual.mean(dim=2) + textual.squeeze(1), None if attentions is None else attentions.squeeze(1)


class HiVAInteraction(nn.Module):
    """Part (d): fuses `[U_i ; D_i ; C_i]` into one feature for each AU; `config.variant` drops or replaces parts."""

    def __init__(self, config: HiVAConfig):
        super().__init__()
        self.variant = config.variant
        # CODEPATH: checkpoints of the ablations in Tables IV to VI lack one attention or both, all others have both.
        self.ddca = HiVADisentangledDualCrossAttention(config) if config.uses_ddca else None
        # CODEPATH: likewise.
        self.cdca = HiVAContextualDualCrossAttention(config) if config.uses_cdca else None
        # CODEPATH: the ablations that drop a part without a substitute fuse two parts, all other checkpoints three.
        num_parts = 2 if config.variant in ("no_ddca", "no_cdca", "baseline") else 3
        self.fusion = HiVAGroupedLinear(config.num_labels, num_parts * config.hidden_size, config.hidden_size)

    def forward(
        self,
        global_map: torch.Tensor,
        au_maps: torch.Tensor,
        text: HiVATextMemory | None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple[torch.Tensor | None, ...]:
        """
        Returns fused features `(batch_size, num_labels, hidden_size)`, `U` of the same shape, the DDCA maps, the CDCA
        maps and the attention to words.
        """
        ddca_attentions = cdca_attentions = word_attentions = None
        parts = [au_maps.mean(dim=2)]
        if self.ddca is not None:
            ddca_features, ddca_attentions, word_attentions = self.ddca(au_maps, text, **kwargs)
            parts.append(ddca_features)
        if self.cdca is not None:
            cdca_features, cdca_attentions = self.cdca(global_map, text, **kwargs)
            parts.append(cdca_features)
        if self.variant == "no_attention":
            parts += [parts[0] + text.memory[:, 0], global_map.mean(dim=1, keepdim=True) + text.memory[:, 0]]
        if self.variant == "baseline":
            parts.append(global_map.mean(dim=1, keepdim=True).expand_as(parts[0]))
        fused = self.fusion(torch.cat(parts, dim=-1).unsqueeze(2)).squeeze(2)
        return fused, parts[0], ddca_attentions, cdca_attentions, word_attentions


def _name_in(names: set[str], name: str, renamings: list[WeightRenaming]) -> str:
    """The network's name for a weight of a checkpoint; the given name if the network has no such weight."""
    renamed = name if name in names else rename_source_key(name, renamings, [])[0]
    return renamed if renamed in names else name


@auto_docstring
class HiVAPreTrainedModel(PushesRemoteCode, PreTrainedModel):
    config: HiVAConfig
    base_model_prefix = "hiva"
    main_input_name = "pixel_values"
    input_modalities = ("image", "text")
    supports_gradient_checkpointing = True
    # The loss is a mean over the batch already: Trainer must not rescale it under gradient accumulation.
    accepts_loss_kwargs = False
    _no_split_modules = ["HiVAVisionModel", "HiVATextModel", "HiVAInteraction", "HiVAAUGraph"]
    _supports_sdpa = True
    _can_compile_fullgraph = True

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *model_args, use_safetensors=None, **kwargs):
        """Loads safetensors only; pickles (`.bin`, `.pth`) are rejected. See [`PreTrainedModel.from_pretrained`]."""
        if use_safetensors is False:
            raise ValueError(f"`use_safetensors=False` asks for a pickle. {_PICKLE_ADVICE}")
        try:
            return super().from_pretrained(pretrained_model_name_or_path, *model_args, use_safetensors=True, **kwargs)
        except OSError as error:
            if SAFE_WEIGHTS_NAME not in str(error):
                raise
            raise OSError(f"{error} {_PICKLE_ADVICE}") from error
        except RuntimeError as error:
            if "ignore_mismatched_sizes" not in str(error):
                raise
            raise RuntimeError(
                f"{error}\n{pretrained_model_name_or_path} has other AUs or layer sizes than this configuration: "
                "leave out `id2label`, `num_labels` and whatever else differs, or pass `ignore_mismatched_sizes=True` "
                "to start the layers that don't fit from random weights, which must then be trained."
            ) from error

    @staticmethod
    def _load_pretrained_model(model, state_dict, checkpoint_files, load_config, *args, **kwargs):
        # The index of a checkpoint in several files may name any file: pickles, and files elsewhere on the machine.
        for file in set(((load_config.sharded_metadata or {}).get("weight_map") or {}).values()):
            if os.path.basename(file) != file or "\\" in file or not file.endswith(".safetensors"):
                raise ValueError(
                    f"The index of {load_config.pretrained_model_name_or_path} names {file!r}, but weights are read from "
                    f"safetensors files beside it only. {_PICKLE_ADVICE}"
                )
        return PreTrainedModel._load_pretrained_model(
            model, state_dict, checkpoint_files, load_config, *args, **kwargs
        )

    def load_state_dict(self, state_dict, *args, **kwargs):
        """
        See [`torch.nn.Module.load_state_dict`]. Accepts the names of the network and those of its checkpoints, which
        Trainer restores a state by and which differ for DINOv2.
        """
        names = set(self.state_dict())
        if not names.issuperset(state_dict):
            renamings = [step for step in get_model_conversion_mapping(self) if isinstance(step, WeightRenaming)]
            state_dict = {_name_in(names, name, renamings): value for name, value in state_dict.items()}
        return super().load_state_dict(state_dict, *args, **kwargs)

    def get_input_embeddings(self) -> nn.Module | None:
        """None, as in timm's networks: an image model has no token embeddings."""
        return None

    def post_init(self):
        # Fields of the configuration can be changed after it was validated.
        self.config.validate_architecture()
        check_num_elements(self)
        super().post_init()

    def initialize_weights(self):
        super().initialize_weights()
        # Loading makes timm recompute its masks. `_init_weights` is not called for modules without tensors of their own.
        for module in self.modules():
            if isinstance(module, HiVAVisionBackbone):
                lower_masks(module.backbone)

    @torch.no_grad()
    def _init_weights(self, module):
        super()._init_weights(module)
        if isinstance(module, HiVAGroupedLinear):
            init.normal_(module.weight, mean=0.0, std=self.config.initializer_range)
            init.zeros_(module.bias)
        elif isinstance(module, HiVATextModel) and module.encoder is None:
            # The same vectors for every global seed and default device.
            generator = torch.Generator("cpu").manual_seed(0)
            states = torch.randn(module.random_states.shape, generator=generator, device="cpu")
            init.copy_(module.random_states, states)
        elif isinstance(module, HiVAForAUDetection) and module.text_memory is not None:
            init.zeros_(module.text_memory)
            init.zeros_(module.text_memory_mask)

    def _set_gradient_checkpointing(self, enable: bool = True, *args, **kwargs):
        super()._set_gradient_checkpointing(enable, *args, **kwargs)
        timm_model = getattr(self.vision_model.backbone, "timm_model", None)
        if timm_model is not None:
            # transformers' switch does not reach timm's modules.
            timm_model.set_grad_checkpointing(enable)

    def _check_labels(self, labels: torch.Tensor, logits: torch.Tensor):
        if labels.shape != logits.shape:
            raise ValueError(
                f"`labels` has the shape {tuple(labels.shape)}, but {tuple(logits.shape)} is needed: one row for each "
                f"image and one column for each of this model's {self.config.num_labels} AUs "
                f"({', '.join(self.config.au_labels)}), with {MISSING_LABEL} where a label is unknown."
            )
        # Checking labels on an accelerator would force a synchronisation.
        if labels.device.type == "cpu" and not torch.compiler.is_compiling():
            known = labels[labels != MISSING_LABEL]
            # Negated, so that NaN counts as wrong.
            wrong = known[~((known >= 0) & (known <= 1))]
            if len(wrong):
                raise ValueError(
                    f"`labels` has {wrong[0].item():g}, but 1 (present), 0 (absent), a value between them or "
                    f"{MISSING_LABEL} (unknown) is needed."
                )

    def _au_loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        self._check_labels(labels, logits)
        # With a device map, the parts of a network are on several devices.
        labels = labels.to(logits.device)
        return self.loss_function(logits, labels, self.config.label_weights, self.config.loss_reduction)


@auto_docstring(
    custom_intro="HiVA's stage 1: the visual side with the dynamic AU graph. Stage 2 starts from its vision weights."
)
class HiVAForPreTraining(HiVAPreTrainedModel):
    input_modalities = ("image",)
    _keys_to_ignore_on_load_unexpected = [r"^text_model\.", r"^interaction\.", r"^classifier\.", r"^text_memory"]

    def __init__(self, config: HiVAConfig):
        super().__init__(config)
        self.vision_model = HiVAVisionModel(config)
        self.graph = HiVAAUGraph(config)
        self.graph_classifier = HiVAGroupedLinear(config.num_labels, config.hidden_size, 1)
        self.loss_function = au_detection_loss
        self.post_init()

    @can_return_tuple
    @auto_docstring
    def forward(
        self,
        pixel_values: torch.FloatTensor,
        labels: torch.FloatTensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> HiVAForPreTrainingOutput:
        r"""
        labels (`torch.FloatTensor` of shape `(batch_size, num_labels)`, *optional*):
            1 where the AU is present, 0 where it is absent, -100 where it is unknown.
        """
        _, au_maps = self.vision_model(pixel_values)
        au_features = au_maps.mean(dim=2)
        updated_features, graph = self.graph(au_features)
        logits = self.graph_classifier(updated_features.unsqueeze(2)).flatten(1)
        loss = None if labels is None else self._au_loss(logits, labels)
        return HiVAForPreTrainingOutput(loss=loss, logits=logits, au_features=au_features, adjacency=graph)


@auto_docstring(
    custom_intro="""
    HiVA's stage 2, the detector: faces and descriptions of what each AU looks like -> one score for each AU.

    Without text inputs the model reads its cached text memory, which [`~HiVAForAUDetection.encode_descriptions`] fills.
    With `output_attentions=True` it also returns the attention maps of Figure 6: where each AU's description looks.
    [`~HiVAForAUDetection.fuse`] makes inference faster.
    """
)
class HiVAForAUDetection(FusesForInference, HiVAPreTrainedModel):
    _keys_to_ignore_on_load_unexpected = [r"^graph\.", r"^graph_classifier\."]

    def __init__(self, config: HiVAConfig):
        # Methods change it, and another model may be made from the same one.
        config = copy.deepcopy(config)
        super().__init__(config)
        self.vision_model = HiVAVisionModel(config)
        # CODEPATH: inference checkpoints (`drop_text_encoder`) and those of the ablation "baseline" have no text side.
        self.text_model = HiVATextModel(config) if config.uses_text and config.use_text_encoder else None
        self.interaction = HiVAInteraction(config)
        self.classifier = HiVAGroupedLinear(config.num_labels, config.hidden_size, 1)
        memory_shape = (config.num_labels, config.text_memory_length)
        self.text_memory = nn.Buffer(torch.zeros(*memory_shape, config.hidden_size))
        self.text_memory_mask = nn.Buffer(torch.zeros(memory_shape, dtype=torch.bool))
        # CODEPATH: training checkpoints saved before `encode_descriptions` have no text memory: the names of the
        # buffers stay taken, nothing is saved.
        if config.text_memory_length == 0:
            self.text_memory = self.text_memory_mask = None
        # Caches that the text memory was found not to be empty.
        self._found_text_memory = False
        self.fused_detector = None
        self.loss_function = au_detection_loss
        self.post_init()

    @classmethod
    def from_vision_text_pretrained(
        cls, vision_model_name_or_path: str, text_model_name_or_path: str, token: str | bool | None = None, **kwargs
    ) -> "HiVAForAUDetection":
        """
        A new detector from two pretrained towers; everything else is randomly initialised.

        Args:
            vision_model_name_or_path (`str`):
                Folder or Hub id of a vision model that `AutoModel` loads: Swin, ConvNeXt, DINOv2, any timm model.
            text_model_name_or_path (`str`):
                Folder or Hub id of a BERT or RoBERTa.
            token (`str` or `bool`, *optional*):
                Access token for towers in private repositories; defaults to the one that `hf auth login` stored.
            kwargs:
                Fields of [`HiVAConfig`], such as `id2label` and `image_size`.
        """
        config = HiVAConfig(
            backbone_config=AutoConfig.from_pretrained(vision_model_name_or_path, token=token),
            text_config=AutoConfig.from_pretrained(text_model_name_or_path, token=token),
            **kwargs,
        )
        model = cls(config)
        vision_model = AutoModel.from_pretrained(vision_model_name_or_path, use_safetensors=True, token=token)
        model.vision_model.backbone.load_state_dict(vision_model.state_dict())
        if model.text_model is not None and model.text_model.encoder is not None:
            text_model = AutoModel.from_pretrained(
                text_model_name_or_path, add_pooling_layer=False, use_safetensors=True, token=token
            )
            model.text_model.encoder.load_state_dict(text_model.state_dict())
        return model

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *model_args, **kwargs):
        """Loads a checkpoint, or an export ([`~HiVAForAUDetection.from_exported`]) where there are no weights."""
        try:
            return super().from_pretrained(pretrained_model_name_or_path, *model_args, **kwargs)
        except OSError:
            hub_arguments = {name: kwargs[name] for name in HUB_ARGUMENTS if kwargs.get(name) is not None}
            manifest = cached_file(
                pretrained_model_name_or_path,
                EXPORT_MANIFEST_FILE,
                _raise_exceptions_for_missing_entries=False,
                _raise_exceptions_for_connection_errors=False,
                _raise_exceptions_for_gated_repo=False,
                **hub_arguments,
            )
            if manifest is None:
                raise
        kwargs = {
            name: value for name, value in kwargs.items() if value is not None and name not in IGNORED_BY_EXPORTS
        }
        if kwargs.get("device_map") in ("auto", "cpu"):
            del kwargs["device_map"]
        return cls.from_exported(pretrained_model_name_or_path, **kwargs)

    @classmethod
    def from_exported(cls, name_or_path, **kwargs) -> "PreTrainedModel":
        """
        Loads an export of `hiva-hf export`: an OpenVINO, ONNX Runtime or torch.export program that is called in the
        same way as this class and has the same outputs. Needs the installed package.

        Args:
            name_or_path (`str` or `os.PathLike`):
                The folder, or a Hub repository that holds it.
            kwargs:
                See `hiva_hf.export.load_exported`: `trust_remote_code=True` for torch.export programs, which are
                pickles; `num_threads`; `revision`, `token` and the like for repositories; and `config`, or single
                fields of it that are not part of the program, such as `label_thresholds`.
        """
        try:
            export = importlib.import_module("hiva_hf.export")
        except ImportError as error:
            raise ImportError(f"Exported detectors need the package, not only its model files: {error}.") from error
        return export.load_exported(name_or_path, **kwargs)

    def freeze_text_encoder(self):
        """
        Turns off the gradients of the text encoder's embeddings and all but its last
        `config.num_trainable_text_layers` layers. Call it after loading, because `from_pretrained` makes every
        parameter trainable.
        """
        if self.text_model is not None:
            for module in self.text_model.frozen_modules:
                module.requires_grad_(False)

    def _default_descriptions(self) -> list[str]:
        units = [get_action_unit(label) for label in self.config.au_labels]
        # CODEPATH: checkpoints of the control "names_only" read names, all others descriptions.
        return [unit.name if self.config.variant == "names_only" else unit.description for unit in units]

    def _check_descriptions(self, tokenizer, descriptions: Sequence[str] | None) -> list[str]:
        if tokenizer is None:
            raise ValueError(
                "Descriptions need the text encoder's tokenizer: pass `tokenizer`, for example "
                '`AutoTokenizer.from_pretrained("google-bert/bert-large-uncased")`.'
            )
        descriptions = self._default_descriptions() if descriptions is None else list(descriptions)
        if len(descriptions) != self.config.num_labels:
            raise ValueError(
                f"`descriptions` has {len(descriptions)} entries, but the model has {self.config.num_labels} AUs: "
                f"{', '.join(self.config.au_labels)}."
            )
        return descriptions

    def _check_lengths(self, lengths: Sequence[int]):
        """Raises a `ValueError` if a description has more word pieces than the text encoder has positions for."""
        text_config = self.config.text_config
        limit = text_config.max_position_embeddings
        if text_config.model_type != "bert":
            # RoBERTa and similar models number positions from `pad_token_id + 1`.
            limit -= text_config.pad_token_id + 1
        for label, length in zip(self.config.au_labels, lengths, strict=True):
            if length > limit:
                raise ValueError(
                    f"The description of {label} has {length} word pieces, but the text encoder reads {limit} at most: "
                    "shorten it."
                )

    def keep_text_memory(self, text: HiVATextMemory, tokenizer=None, descriptions: Sequence[str] | None = None):
        """
        Stores a text memory in buffers, and its word pieces in the configuration.

        Args:
            text ([`HiVATextMemory`]):
                The text side's output for the descriptions.
            tokenizer ([`PreTrainedTokenizerBase`], *optional*):
                Tokenizer of the text encoder. Not needed by variants that read no descriptions.
            descriptions (`Sequence[str]`, *optional*):
                The descriptions, one for each AU in the order of `config.id2label`.
        """
        self.unfuse()
        pieces = None
        # CODEPATH: at the sentence level, and without descriptions, no key of the memory stands for a word.
        if descriptions is not None and self.config.text_level == "token":
            pieces = name_word_pieces(tokenizer, descriptions)
            # CODEPATH: each AU of the control "shuffled_descriptions" reads its neighbour's description.
            if pieces is not None and self.config.variant == "shuffled_descriptions":
                pieces = [pieces[-1], *pieces[:-1]]
        self.config.text_memory_length = text.memory.shape[1]
        self.config.description_pieces = pieces
        # Like the weights: in the model's dtype, and not as inference tensors, so that training can use it.
        with torch.inference_mode(False):
            self.text_memory = text.memory.detach().to(self.dtype, copy=True)
            self.text_memory_mask = text.mask.clone()

    @torch.no_grad()
    def encode_descriptions(self, tokenizer=None, descriptions: Sequence[str] | None = None):
        """
        Computes the text memory once and stores it in buffers, which are saved with the model. Call it again after
        further training of the text side.

        Args:
            tokenizer ([`PreTrainedTokenizerBase`], *optional*):
                Tokenizer of the text encoder. Not needed by variants that read no descriptions.
            descriptions (`Sequence[str]`, *optional*):
                One description for each AU in the order of `config.id2label`. Defaults to the canonical ones of
                [`hiva_hf.facs`].

        Raises:
            ValueError: if the model has no text side, the tokenizer is missing, or the number of descriptions is not
                the number of AUs.
        """
        # CODEPATH: checkpoints of the ablation "baseline" have no text memory.
        if not self.config.uses_text:
            return
        if self.text_model is None:
            raise ValueError(
                "This checkpoint has no text encoder (`drop_text_encoder` was called before it was saved), so its "
                "descriptions can't be encoded again. Load the training checkpoint instead."
            )
        input_ids = attention_mask = None
        # CODEPATH: checkpoints of the control "random_vectors" need no tokenizer.
        if self.config.reads_descriptions:
            descriptions = self._check_descriptions(tokenizer, descriptions)
            encoded = tokenizer(descriptions, padding=True, return_tensors="pt").to(self.device)
            self._check_lengths(encoded["attention_mask"].sum(dim=1).tolist())
            input_ids, attention_mask = encoded["input_ids"], encoded["attention_mask"]
        else:
            descriptions = None
        with evaluation_mode([self.text_model]), torch.autocast(self.device.type, enabled=False):
            text = self._encode_text(input_ids, attention_mask)
        self.keep_text_memory(text, tokenizer, descriptions)

    @property
    def has_text_memory(self) -> bool:
        """Whether descriptions have been encoded. The buffers exist but are empty if they come from another model's
        configuration, or are for AUs that the checkpoint has no memory of."""
        if self.text_memory is None:
            return False
        # Values can't be read while the network is compiled or exported; otherwise they are read only once, since
        # that synchronises with an accelerator.
        if not (self._found_text_memory or torch.compiler.is_compiling() or self.text_memory_mask.is_meta):
            # Key 0, the AU's contextual embedding, is always real.
            self._found_text_memory = bool(self.text_memory_mask[:, 0].all())
            return self._found_text_memory
        return True

    # Folded tensors must not become inference tensors: gradients with respect to the image pass through them.
    @torch.inference_mode(False)
    @torch.no_grad()
    def fuse(self) -> "HiVAForAUDetection":
        """
        Makes inference faster, in place: batch norms and the constant text memory are folded into the layers next to
        them, and timm's Swin runs with fewer copies. Outputs equal those of the plain network up to rounding. On an
        x86 CPU, calls without gradients (`torch.no_grad()` or `torch.inference_mode()`) in fp32 and bf16 run faster
        still, and keep a second copy of most linear layers in memory, packed for that CPU.

        The folded weights are not saved: `save_pretrained` writes the same checkpoint as before. They move with the
        model (`to`, `half`, `copy.deepcopy`). `train`, `load_state_dict` and `encode_descriptions` drop them; after
        other changes of the weights, such as assignments to single parameters or merging an adapter, call `fuse`
        again, and call `unfuse` before `torch.func.functional_call`. Calls with text inputs run the plain network. So
        must training, because folded weights pass gradients to the image, not to the parameters.

        Returns:
            The model itself.

        Raises:
            ValueError: if the model is in training mode, is spread over several devices, has adapters on layers to be
                folded, or reads text and has no text memory.

        Example:

        ```python
        >>> from hiva_hf import HiVAForAUDetection

        >>> model = HiVAForAUDetection.from_pretrained("path/to/checkpoint").fuse()
        ```"""
        self._check_fusible((self.vision_model, self.interaction, self.classifier))
        text = None
        # CODEPATH: checkpoints of the ablation "baseline" see the face alone.
        if self.config.uses_text:
            if not self.has_text_memory:
                raise ValueError(
                    "The model has no text memory, which `fuse` folds into the weights: call "
                    "`model.encode_descriptions(tokenizer)` first."
                )
            text = (self.text_memory, self.text_memory_mask)
        self.fused_detector = FusedDetector(self.vision_model, self.interaction, self.classifier, text).eval()
        return self

    def drop_text_encoder(self):
        """
        Turns the model into an inference checkpoint: removes the whole text side and keeps its cached output.
        """
        if self.config.uses_text and not self.has_text_memory:
            logger.warning(
                "The text encoder is dropped from a model without a text memory: this model can't detect AUs. Call "
                "`encode_descriptions(tokenizer)` first."
            )
        self.text_model = None
        self.config.use_text_encoder = False

    def _encode_text(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        text_hidden_states: torch.Tensor | None = None,
    ) -> HiVATextMemory:
        given = text_hidden_states if input_ids is None else input_ids
        if given is not None and given.shape[0] != self.config.num_labels:
            raise ValueError(
                f"There are {given.shape[0]} descriptions, but the model has {self.config.num_labels} AUs: pass one "
                f"for each of {', '.join(self.config.au_labels)}."
            )
        if attention_mask is None and given is not None:
            attention_mask = torch.ones(given.shape[:2], dtype=torch.long, device=given.device)
        if given is not None:
            self._check_attention_mask(attention_mask, given.shape[:2])
        if input_ids is not None:
            text_hidden_states = self.text_model.encode_frozen(input_ids, attention_mask)
        return self.text_model(text_hidden_states, attention_mask)

    def _check_attention_mask(self, attention_mask: torch.Tensor, shape: torch.Size):
        if attention_mask.shape != shape:
            raise ValueError(
                f"`attention_mask` has the shape {tuple(attention_mask.shape)}, but the descriptions have {tuple(shape)}."
            )
        # Values can't be read while compiling or exporting, and in training each step would wait for the accelerator.
        if self.training or torch.compiler.is_compiling() or attention_mask.is_meta:
            return
        for label, is_read in zip(self.config.au_labels, attention_mask.any(dim=1).tolist(), strict=True):
            if not is_read:
                raise ValueError(
                    f"`attention_mask` is 0 for the whole description of {label}: there is nothing to read."
                )

    def _get_text_memory(
        self,
        input_ids: torch.Tensor | None,
        attention_mask: torch.Tensor | None,
        text_hidden_states: torch.Tensor | None,
    ) -> HiVATextMemory | None:
        # CODEPATH: checkpoints of the ablation "baseline" see the face alone.
        if not self.config.uses_text:
            return None
        has_text_inputs = input_ids is not None or text_hidden_states is not None
        if has_text_inputs and self.text_model is None:
            raise ValueError(
                "Text inputs were passed to a checkpoint without a text encoder. Leave them out to use its cached "
                "text memory, or load the training checkpoint."
            )
        # CODEPATH: in checkpoints of the control "random_vectors" the text side has no inputs, but runs in training.
        if self.text_model is not None and not self.config.reads_descriptions:
            return self._encode_text()
        if has_text_inputs:
            return self._encode_text(input_ids, attention_mask, text_hidden_states)
        if not self.has_text_memory:
            raise ValueError(
                "The model has no text memory: call `model.encode_descriptions(tokenizer)` once, or pass `input_ids` "
                "with one description for each AU."
            )
        return HiVATextMemory(memory=self.text_memory, mask=self.text_memory_mask)

    @can_return_tuple
    @auto_docstring
    def forward(
        self,
        pixel_values: torch.FloatTensor,
        labels: torch.FloatTensor | None = None,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.LongTensor | None = None,
        text_hidden_states: torch.FloatTensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> HiVAAUDetectionOutput:
        r"""
        labels (`torch.FloatTensor` of shape `(batch_size, num_labels)`, *optional*):
            1 where the AU is present, 0 where it is absent, -100 where it is unknown.
        input_ids (`torch.LongTensor` of shape `(num_labels, sequence_length)`, *optional*):
            One tokenized description for each AU, the same for the whole batch. Without it the cached text memory is
            used.
        attention_mask (`torch.LongTensor` of shape `(num_labels, sequence_length)`, *optional*):
            1 for real tokens of the descriptions, 0 for padding.
        text_hidden_states (`torch.FloatTensor` of shape `(num_labels, sequence_length, text_hidden_size)`, *optional*):
            In place of `input_ids`: the descriptions after the frozen part of the text encoder, from
            `model.text_model.encode_frozen`, so that training runs that part once for each sentence.

        Examples:

        ```python
        >>> import torch
        >>> from transformers import AutoTokenizer
        >>> from hiva_hf import HiVAConfig, HiVAForAUDetection

        >>> model = HiVAForAUDetection(HiVAConfig()).eval()
        >>> model.encode_descriptions(AutoTokenizer.from_pretrained("google-bert/bert-large-uncased"))
        >>> with torch.no_grad():
        ...     logits = model(pixel_values=torch.rand(1, 3, 224, 224)).logits
        >>> logits.shape
        torch.Size([1, 12])
        ```"""
        # As everywhere in transformers, None means the configuration's value.
        if kwargs.get("output_attentions") is None:
            kwargs["output_attentions"] = self.config.output_attentions
        text = None
        self._unfuse_for_training()
        if self.is_fused and input_ids is None and text_hidden_states is None:
            logits, fused, visual, *attentions = self.fused_detector(self.vision_model, pixel_values)
            if not kwargs["output_attentions"]:
                attentions = (None, None, None)
        else:
            global_map, au_maps = self.vision_model(pixel_values)
            text = self._get_text_memory(input_ids, attention_mask, text_hidden_states)
            fused, visual, *attentions = self.interaction(global_map, au_maps, text, **kwargs)
            logits = self.classifier(fused.unsqueeze(2)).flatten(1)
        ddca_attentions, cdca_attentions, word_attentions = attentions

        loss = None
        if labels is not None:
            loss = self._au_loss(logits, labels)
            difference_weight = self.config.effective_difference_loss_weight
            if difference_weight > 0 and text is not None and text.description_embeddings is not None:
                difference_loss = description_difference_loss(text.description_embeddings)
                loss = loss + difference_weight * difference_loss.to(loss.device)

        return HiVAAUDetectionOutput(
            loss=loss,
            logits=logits,
            au_features=fused,
            ddca_attentions=ddca_attentions,
            cdca_attentions=cdca_attentions,
            word_attentions=word_attentions,
            visual_features=visual,
        )


__all__ = ["HiVAForAUDetection", "HiVAForPreTraining", "HiVAPreTrainedModel"]

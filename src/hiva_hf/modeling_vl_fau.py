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
"""PyTorch VL-FAU model.

"Towards End-to-End Explainable Facial Action Unit Recognition via Vision-Language Joint Learning" (2024). Its abstract
names the parts: a stem of several scales, AU features refined by attention at several levels, a language model that
writes about each AU, and one that writes about the face. Everything else is this package's interpretation, and marked
as such in its place. Shapes: B images, N AUs, T = h * w visual tokens, L words, d = `config.hidden_size`.
"""

import copy
import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from transformers import AutoConfig, AutoModel, GenerationConfig, GenerationMixin
from transformers.activations import ACT2FN
from transformers.cache_utils import Cache, DynamicCache, EncoderDecoderCache
from transformers.loss.loss_utils import ForCausalLMLoss
from transformers.masking_utils import create_causal_mask
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import CausalLMOutputWithCrossAttentions
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS, PreTrainedModel
from transformers.processing_utils import Unpack
from transformers.utils import ModelOutput, TransformersKwargs, auto_docstring
from transformers.utils.generic import can_return_tuple
from transformers.utils.output_capturing import OutputRecorder, capture_outputs

from .configuration_vl_fau import VLFAUConfig, VLFAUTextConfig
from .facs import MISSING_LABEL
from .fused_inference import FusesForInference
from .fused_vl_fau import FusedVLFAUVision
from .modeling_hiva import (
    HiVAGroupedLinear,
    HiVAPreTrainedModel,
    HiVAVisionBackbone,
    au_detection_loss,
    backbone_refusal,
    eager_attention_forward,
)


# Label of tokens without loss, as elsewhere in transformers.
IGNORED_TOKEN = -100
# transformers' name for the cache of keys and values: `past_key_values` up to 5.23.
_CACHE_NAME = "cache" if "cache" in inspect.signature(create_causal_mask).parameters else "past_key_values"


@auto_docstring(custom_intro="Output of [`VLFAUForAUDetection`].")
@dataclass
class VLFAUAUDetectionOutput(ModelOutput):
    r"""
    loss (`torch.FloatTensor` of shape `(1,)`, *optional*, returned when `labels` is provided):
        `L_au`, plus `config.local_loss_weight * L_local` with `local_labels`, plus
        `config.global_loss_weight * L_global` with `global_labels`.
    logits (`torch.FloatTensor` of shape `(batch_size, num_labels)`):
        AU scores before the sigmoid, in the order of `config.id2label`.
    local_logits (`torch.FloatTensor` of shape `(batch_size, num_labels, sequence_length, vocab_size)`, *optional*, returned when `local_labels` is provided):
        Next-word scores of the sentence about each AU.
    global_logits (`torch.FloatTensor` of shape `(batch_size, sequence_length, vocab_size)`, *optional*, returned when `global_labels` is provided):
        Next-word scores of the sentence about the face.
    au_features (`torch.FloatTensor` of shape `(batch_size, num_labels, hidden_size)`):
        The refined AU features that the heads read.
    au_maps (`torch.FloatTensor` of shape `(batch_size, num_labels, num_tokens, hidden_size)`):
        The refined map of each AU, row-major over the token grid.
    face_map (`torch.FloatTensor` of shape `(batch_size, num_tokens, hidden_size)`):
        The stem, the map of the whole face.
    spatial_attentions (`torch.FloatTensor` of shape `(batch_size, num_labels, num_tokens)`, *optional*, returned when `output_attentions=True`):
        Spatial attention of each AU on its own map, row-major; each weight lies between 0 and 1.
    """

    loss: torch.FloatTensor | None = None
    logits: torch.FloatTensor | None = None
    local_logits: torch.FloatTensor | None = None
    global_logits: torch.FloatTensor | None = None
    au_features: torch.FloatTensor | None = None
    au_maps: torch.FloatTensor | None = None
    face_map: torch.FloatTensor | None = None
    spatial_attentions: torch.FloatTensor | None = None


def sentence_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """
    Next-word cross entropy, averaged over the words that are not -100; 0 if there are none.

    Args:
        logits (`torch.Tensor` of shape `(..., sequence_length, vocab_size)`):
            Next-word scores.
        labels (`torch.LongTensor` of shape `(..., sequence_length)`):
            The sentence itself, not shifted.
    """
    vocab_size = logits.shape[-1]
    logits, labels = logits.flatten(0, -3), labels.flatten(0, -2)
    num_words = (labels[:, 1:] != IGNORED_TOKEN).sum().clamp(min=1)
    return ForCausalLMLoss(logits, labels, vocab_size=vocab_size, num_items_in_batch=num_words)


class VLFAUTextAttention(nn.Module):
    """Self-attention over the words so far, or cross-attention from them to the face."""

    def __init__(self, config: VLFAUTextConfig, layer_idx: int, is_cross_attention: bool = False):
        super().__init__()
        self.config = config
        self.layer_idx = layer_idx
        self.is_cross_attention = is_cross_attention
        self.is_causal = not is_cross_attention
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.scaling = self.head_dim**-0.5
        self.q_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.k_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.v_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.o_proj = nn.Linear(config.hidden_size, config.hidden_size)

    def _split_heads(self, states: torch.Tensor) -> torch.Tensor:
        return states.unflatten(-1, (-1, self.head_dim)).transpose(1, 2)

    def _keys_and_values(
        self, states: torch.Tensor, cache: EncoderDecoderCache | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if cache is None:
            return self._split_heads(self.k_proj(states)), self._split_heads(self.v_proj(states))
        if self.is_cross_attention and cache.is_updated.get(self.layer_idx):
            # The face stays the same from word to word.
            layer = cache.cross_attention_cache.layers[self.layer_idx]
            return layer.keys, layer.values
        key, value = self._split_heads(self.k_proj(states)), self._split_heads(self.v_proj(states))
        if self.is_cross_attention:
            cache.is_updated[self.layer_idx] = True
            return cache.cross_attention_cache.update(key, value, self.layer_idx)
        return cache.self_attention_cache.update(key, value, self.layer_idx)

    def forward(
        self,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        cache: EncoderDecoderCache | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        query = self._split_heads(self.q_proj(hidden_states))
        key, value = self._keys_and_values(encoder_hidden_states if self.is_cross_attention else hidden_states, cache)
        attention_interface: Callable = ALL_ATTENTION_FUNCTIONS.get_interface(
            self.config._attn_implementation, eager_attention_forward
        )
        attn_output, attn_weights = attention_interface(
            self,
            query,
            key,
            value,
            attention_mask,
            scaling=self.scaling,
            dropout=self.config.hidden_dropout_prob if self.training else 0.0,
            **kwargs,
        )
        return self.o_proj(attn_output.flatten(2)), attn_weights


class VLFAUTextLayer(GradientCheckpointingLayer):
    """A pre-norm Transformer decoder layer: the words so far, the face, feed-forward."""

    def __init__(self, config: VLFAUTextConfig, layer_idx: int):
        super().__init__()
        self.self_attention = VLFAUTextAttention(config, layer_idx)
        self.self_attention_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.cross_attention = VLFAUTextAttention(config, layer_idx, is_cross_attention=True)
        self.cross_attention_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size)
        self.feed_forward_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.activation = ACT2FN[config.hidden_act]
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(
        self,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        cache: EncoderDecoderCache | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> torch.Tensor:
        attended, _ = self.self_attention(
            self.self_attention_norm(hidden_states), attention_mask=attention_mask, cache=cache, **kwargs
        )
        hidden_states = hidden_states + self.dropout(attended)
        attended, _ = self.cross_attention(
            self.cross_attention_norm(hidden_states), encoder_hidden_states, cache=cache, **kwargs
        )
        hidden_states = hidden_states + self.dropout(attended)
        intermediate = self.activation(self.up_proj(self.feed_forward_norm(hidden_states)))
        return hidden_states + self.dropout(self.down_proj(intermediate))


@auto_docstring(
    custom_intro="""
    The lightweight language decoder of VL-FAU: features of a face -> a sentence. [`VLFAUForAUDetection`] has two, and
    its `generate` calls that of one of them.
    """
)
class VLFAUTextForCausalLM(PreTrainedModel, GenerationMixin):
    config: VLFAUTextConfig
    base_model_prefix = "decoder"
    input_modalities = ("text",)
    supports_gradient_checkpointing = True
    _no_split_modules = ["VLFAUTextLayer"]
    _supports_sdpa = True
    _can_record_outputs = {
        "hidden_states": VLFAUTextLayer,
        "attentions": OutputRecorder(VLFAUTextAttention, index=1, layer_name="self_attention"),
        "cross_attentions": OutputRecorder(VLFAUTextAttention, index=1, layer_name="cross_attention"),
    }

    def __init__(self, config: VLFAUTextConfig):
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size, padding_idx=config.pad_token_id)
        self.embed_positions = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.encoder_projection = nn.Linear(config.encoder_hidden_size, config.hidden_size)
        self.encoder_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.layers = nn.ModuleList([VLFAUTextLayer(config, index) for index in range(config.num_hidden_layers)])
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.gradient_checkpointing = False
        self.post_init()

    def _position_embeddings(self, input_ids: torch.Tensor, num_past: int) -> torch.Tensor:
        num_tokens = num_past + input_ids.shape[1]
        if num_tokens > self.config.max_position_embeddings:
            raise ValueError(
                f"A sentence of {num_tokens} tokens is longer than the {self.config.max_position_embeddings} that the "
                "decoder has positions for (`max_position_embeddings`): lower `max_new_tokens`, or shorten the labels."
            )
        return self.embed_positions(torch.arange(num_past, num_tokens, device=input_ids.device))

    @capture_outputs(tie_last_hidden_states=False)
    @auto_docstring
    def forward(
        self,
        input_ids: torch.LongTensor,
        encoder_hidden_states: torch.FloatTensor,
        attention_mask: torch.Tensor | None = None,
        cache: Cache | None = None,
        past_key_values: Cache | None = None,
        labels: torch.LongTensor | None = None,
        use_cache: bool | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> CausalLMOutputWithCrossAttentions:
        r"""
        encoder_hidden_states (`torch.FloatTensor` of shape `(batch_size, num_tokens, encoder_hidden_size)`):
            The features of the face that each sentence is about.
        cache (`Cache`, *optional*):
            Keys and values of the words before `input_ids`.
        past_key_values (`Cache`, *optional*):
            The name of `cache` in transformers up to 5.23.
        labels (`torch.LongTensor` of shape `(batch_size, sequence_length)`, *optional*):
            The sentences themselves, not shifted, with -100 for words without loss.
        """
        cache = past_key_values if cache is None else cache
        if use_cache is None:
            use_cache = self.config.use_cache and labels is None and not self.training
        if use_cache and not isinstance(cache, EncoderDecoderCache):
            # `generate` prepares a cache for self-attention only.
            words = DynamicCache(config=self.config) if cache is None else cache
            cache = EncoderDecoderCache(words, DynamicCache(config=self.config))

        num_past = 0 if cache is None else cache.get_seq_length()
        hidden_states = self.embed_tokens(input_ids) + self._position_embeddings(input_ids, num_past)
        hidden_states = self.dropout(hidden_states)
        mask = create_causal_mask(
            config=self.config, inputs_embeds=hidden_states, attention_mask=attention_mask, **{_CACHE_NAME: cache}
        )
        memory = self.encoder_norm(self.encoder_projection(encoder_hidden_states))
        for layer in self.layers:
            hidden_states = layer(hidden_states, memory, attention_mask=mask, cache=cache, **kwargs)
        logits = self.lm_head(self.norm(hidden_states))

        loss = None if labels is None else sentence_loss(logits, labels)
        return CausalLMOutputWithCrossAttentions(loss=loss, logits=logits, **{_CACHE_NAME: cache})


class VLFAUScale(nn.Module):
    """A feature map of the backbone, brought to the stem's grid and width."""

    def __init__(self, num_channels: int, hidden_size: int):
        super().__init__()
        self.projection = nn.Conv2d(num_channels, hidden_size, kernel_size=1, bias=False)
        self.norm = nn.BatchNorm2d(hidden_size)
        self.activation = nn.ReLU()

    def forward(self, feature_map: torch.Tensor, grid: torch.Size) -> torch.Tensor:
        # A linear projection of means is the mean of projections, at a fraction of the cost.
        pooled = nn.functional.adaptive_avg_pool2d(feature_map, grid)
        return self.activation(self.norm(self.projection(pooled)))


class VLFAUVisionModel(HiVAVisionBackbone):
    """
    Face crop -> the stem, made of three scales, and a map for each AU.

    The abstract speaks of a "multi-scale combined facial stem feature". Here each of three feature maps (stages 2 to
    4 of Swin) is averaged to the coarsest grid and projected to d, and the three are concatenated and merged by a 1x1
    convolution. Each AU has a branch of its own on the stem.
    """

    def __init__(self, config: VLFAUConfig):
        super().__init__(config)
        self.num_labels = config.num_labels
        num_channels = self._num_channels_of_maps()
        self.num_maps = len(num_channels)
        self.out_indices = self._choose_maps(config.backbone_out_indices, num_channels)
        hidden_size = config.hidden_size
        self.scales = nn.ModuleList([VLFAUScale(num_channels[index], hidden_size) for index in self.out_indices])
        self.stem = nn.Conv2d(len(self.scales) * hidden_size, hidden_size, kernel_size=1, bias=False)
        self.stem_norm = nn.BatchNorm2d(hidden_size)
        # All branches read the same map: N independent d -> d convolutions are one d -> N * d convolution.
        self.branches = nn.Conv2d(hidden_size, config.num_labels * hidden_size, kernel_size=1, bias=False)
        self.branches_norm = nn.BatchNorm2d(config.num_labels * hidden_size)
        self.activation = nn.ReLU()

    def _num_channels_of_maps(self) -> list[int]:
        """Number of channels of the map after each stage, or each layer, of the backbone."""
        timm_model = getattr(self.backbone, "timm_model", None)
        if timm_model is not None:
            channels = [stage["num_chs"] for stage in timm_model.feature_info]
            return [*channels[:-1], timm_model.num_features]
        config = self.backbone.config
        if getattr(config, "hidden_sizes", None):
            return list(config.hidden_sizes)
        if hasattr(config, "embed_dim") and hasattr(config, "depths"):
            # Swin: each stage but the last ends by merging patches, which doubles the width.
            last = len(config.depths) - 1
            return [config.embed_dim * 2 ** min(stage + 1, last) for stage in range(last + 1)]
        if not (hasattr(config, "hidden_size") and hasattr(config, "num_hidden_layers")):
            raise ValueError(backbone_refusal(config.model_type))
        return [config.hidden_size] * config.num_hidden_layers

    def _choose_maps(self, out_indices: list[int] | None, num_channels: list[int]) -> list[int]:
        num_maps = len(num_channels)
        if out_indices is not None:
            wrong = [index for index in out_indices if not 0 <= index < num_maps]
            if wrong:
                raise ValueError(
                    f"`backbone_out_indices` holds {wrong[0]}, but the backbone has {num_maps} feature maps, counted "
                    "from 0."
                )
            return list(out_indices)
        # The width grows over the stages of a hierarchical backbone and is constant over the layers of a ViT.
        if len(set(num_channels)) > 1:
            return list(range(num_maps))[-3:]
        return [math.ceil(num_maps * share / 3) - 1 for share in (1, 2, 3)]

    def feature_maps(self, backbone: Callable, pixel_values: torch.Tensor) -> list[torch.Tensor]:
        """
        The three maps `(batch_size, num_channels, height, width)`, each in its own grid, computed by `backbone`.
        """
        if hasattr(self.backbone, "timm_model"):
            outputs = backbone(pixel_values, output_hidden_states=self.out_indices)
            maps = list(outputs.hidden_states)
        else:
            outputs = backbone(pixel_values, output_hidden_states=True)
            # In most backbones the first hidden state is the patch embedding.
            num_before = len(outputs.hidden_states) - self.num_maps
            if num_before < 0:
                raise ValueError(backbone_refusal(self.backbone.config.model_type))
            maps = [self.to_feature_map(outputs.hidden_states[index + num_before]) for index in self.out_indices]
        if self.out_indices[-1] == self.num_maps - 1:
            # The last hidden state includes the final norm, which `hidden_states` lacks.
            maps[-1] = self.to_feature_map(outputs.last_hidden_state)
        # For some backbones the configuration of transformers gives other widths, or more maps, than there are.
        if any(maps[i].shape[1] != scale.projection.weight.shape[1] for i, scale in enumerate(self.scales)):
            raise ValueError(backbone_refusal(self.backbone.config.model_type))
        return maps

    @staticmethod
    def grid_of(feature_maps: list[torch.Tensor]) -> torch.Size:
        """Height and width of the coarsest map, which are those of the stem."""
        return min((feature_map.shape[-2:] for feature_map in feature_maps), key=lambda size: size[0] * size[1])

    def forward(self, pixel_values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Args:
            pixel_values (`torch.Tensor` of shape `(batch_size, 3, image_size, image_size)`).

        Returns:
            The stem `(batch_size, hidden_size, height, width)` and the AU maps
            `(batch_size, num_labels, height * width, hidden_size)`.
        """
        self.check_pixel_values(pixel_values)
        feature_maps = self.feature_maps(self.backbone, pixel_values)
        grid = self.grid_of(feature_maps)
        scales = [scale(feature_map, grid) for scale, feature_map in zip(self.scales, feature_maps, strict=True)]
        stem = self.activation(self.stem_norm(self.stem(torch.cat(scales, dim=1))))
        au_maps = self.activation(self.branches_norm(self.branches(stem)))
        return stem, au_maps.flatten(2).unflatten(1, (self.num_labels, -1)).transpose(2, 3)


class VLFAURefinement(nn.Module):
    """
    The dual-level refinement of each AU's map, with weights of that AU: which channels, then which places.

    The levels are those of CBAM (Woo et al., 2018). Channels: mean and maximum over the face pass through one
    two-layer network, and the sigmoid of the sum weights the channels. Places: the sigmoid of a convolution over mean
    and maximum of the channels weights the places.
    """

    def __init__(self, config: VLFAUConfig):
        super().__init__()
        num_labels, hidden_size = config.num_labels, config.hidden_size
        reduced_size = max(1, hidden_size // config.channel_reduction)
        self.channel_down = HiVAGroupedLinear(num_labels, hidden_size, reduced_size)
        self.channel_up = HiVAGroupedLinear(num_labels, reduced_size, hidden_size)
        self.spatial = nn.Conv2d(
            2 * num_labels,
            num_labels,
            kernel_size=config.spatial_kernel_size,
            padding=config.spatial_kernel_size // 2,
            groups=num_labels,
        )

    def _channel_scores(self, pooled: torch.Tensor) -> torch.Tensor:
        return self.channel_up(nn.functional.relu(self.channel_down(pooled)))

    def forward(self, au_maps: torch.Tensor, grid: torch.Size) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Args:
            au_maps (`torch.Tensor` of shape `(batch_size, num_labels, num_tokens, hidden_size)`).
            grid (`torch.Size`): Height and width, whose product is `num_tokens`.

        Returns:
            The refined maps in the same shape, and the spatial attention `(batch_size, num_labels, num_tokens)`.
        """
        channel_scores = self._channel_scores(au_maps.mean(dim=2, keepdim=True))
        channel_scores = channel_scores + self._channel_scores(au_maps.amax(dim=2, keepdim=True))
        au_maps = au_maps * channel_scores.sigmoid()
        # An AU's two planes are adjacent, as the grouped convolution expects.
        planes = torch.stack([au_maps.mean(dim=-1), au_maps.amax(dim=-1)], dim=2)
        attentions = self.spatial(planes.flatten(1, 2).unflatten(-1, grid)).sigmoid().flatten(2)
        return au_maps * attentions.unsqueeze(-1), attentions


@auto_docstring
class VLFAUPreTrainedModel(HiVAPreTrainedModel):
    config: VLFAUConfig
    base_model_prefix = "vl_fau"
    main_input_name = "pixel_values"
    input_modalities = ("image",)
    _no_split_modules = ["VLFAUVisionModel", "VLFAURefinement", "VLFAUTextForCausalLM"]
    # The backbone's hidden states are collected by hooks, which break the graph.
    _can_compile_fullgraph = False


@auto_docstring(
    custom_intro="""
    VL-FAU: a face -> a score for each AU, a sentence about each AU, and one about the face.

    `forward` computes the scores and writes no text, which costs nothing until it is requested. `generate` writes: it
    runs transformers' generation in one of the two language decoders, [`VLFAUTextForCausalLM`], as BLIP does. The
    local one is shared by all AUs and identifies the AU by an embedding added to its features; the global one reads
    the stem and the features of all AUs. [`~VLFAUForAUDetection.fuse`] makes the visual side faster.
    """
)
class VLFAUForAUDetection(FusesForInference, VLFAUPreTrainedModel, GenerationMixin):
    def __init__(self, config: VLFAUConfig):
        super().__init__(config)
        self.vision_model = VLFAUVisionModel(config)
        # CODEPATH: checkpoints of the ablation "no_refinement" have the maps of the branches as they are.
        self.refinement = VLFAURefinement(config) if config.refines else None
        self.classifier = HiVAGroupedLinear(config.num_labels, config.hidden_size, 1)
        self.au_embeddings = nn.Embedding(config.num_labels, config.hidden_size)
        config.text_config.encoder_hidden_size = config.hidden_size
        # CODEPATH: checkpoints of the ablation "no_local" write no sentences about single AUs.
        self.local_decoder = VLFAUTextForCausalLM(config.text_config) if config.writes_local_sentences else None
        # CODEPATH: checkpoints of the ablation "no_global" write no sentence about the face.
        self.global_decoder = VLFAUTextForCausalLM(config.text_config) if config.writes_global_sentence else None
        self.fused_detector = None
        self.loss_function = au_detection_loss
        self.post_init()

    @classmethod
    def from_vision_pretrained(
        cls, vision_model_name_or_path: str, tokenizer, token: str | bool | None = None, **kwargs
    ) -> "VLFAUForAUDetection":
        """
        A new detector on a pretrained vision tower; everything else is randomly initialised.

        Args:
            vision_model_name_or_path (`str`):
                Folder or Hub id of a vision model that `AutoModel` loads: Swin, ConvNeXt, DINOv2, any timm model.
            tokenizer ([`PreTrainedTokenizerBase`]):
                The tokenizer of the sentences (see [`~hiva_hf.language.tokenizer.build_state_tokenizer`]): the
                decoders get its vocabulary.
            token (`str` or `bool`, *optional*):
                Access token for a tower in a private repository; defaults to the one that `hf auth login` stored.
            kwargs:
                Fields of [`VLFAUConfig`], such as `id2label` and `image_size`. `text_config` is a [`VLFAUTextConfig`]
                or a dictionary of its fields.

        Raises:
            ValueError: if the tokenizer lacks a token that sentences need, and `text_config` does not give it.
        """
        text_config = kwargs.pop("text_config", None) or {}
        if isinstance(text_config, VLFAUTextConfig):
            # Only the values that were set: the defaults don't know the tokenizer.
            defaults = VLFAUTextConfig().to_dict()
            text_config = {name: value for name, value in text_config.to_dict().items() if value != defaults[name]}
        vocabulary = {name: getattr(tokenizer, name) for name in ("pad_token_id", "bos_token_id", "eos_token_id")}
        text_config = {"vocab_size": len(tokenizer)} | vocabulary | dict(text_config)
        missing = [name.removesuffix("_id") for name in vocabulary if text_config[name] is None]
        if missing:
            raise ValueError(
                f"The tokenizer has no {' and no '.join(f'`{name}`' for name in missing)}, but sentences begin, end and "
                "are padded with these tokens: set what is missing, as in `tokenizer.bos_token = tokenizer.cls_token`."
            )
        config = VLFAUConfig(
            backbone_config=AutoConfig.from_pretrained(vision_model_name_or_path, token=token),
            text_config=text_config,
            **kwargs,
        )
        model = cls(config)
        vision_model = AutoModel.from_pretrained(vision_model_name_or_path, use_safetensors=True, token=token)
        model.vision_model.backbone.load_state_dict(vision_model.state_dict())
        return model

    # Folded tensors must not become inference tensors: gradients with respect to the image pass through them.
    @torch.inference_mode(False)
    @torch.no_grad()
    def fuse(self) -> "VLFAUForAUDetection":
        """
        Makes the visual side faster, in place, as [`HiVAForAUDetection.fuse`] does: batch norms are folded into the
        convolutions before them, timm's Swin runs with fewer copies, and on an x86 CPU, in calls without gradients,
        linear layers have their weights packed once. Outputs equal those of the plain network up to rounding; decoders
        stay as they are.

        The folded weights are not saved. `train` and `load_state_dict` drop them; after other changes of the weights,
        such as merging an adapter, call `fuse` again.

        Returns:
            The model itself.

        Raises:
            ValueError: if the model is in training mode, its visual side is spread over several devices, or it has
                adapters on layers to be folded.
        """
        self._check_fusible([self.vision_model])
        self.fused_detector = FusedVLFAUVision(self.vision_model).eval()
        return self

    def _look(self, pixel_values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The stem and the AU maps, see [`VLFAUVisionModel`]."""
        self._unfuse_for_training()
        if self.is_fused:
            return self.fused_detector(self.vision_model, pixel_values)
        return self.vision_model(pixel_values)

    def _au_vectors(self, features: torch.Tensor) -> torch.Tensor:
        """The embeddings of all AUs `(num_labels, hidden_size)`, on the device of the features."""
        # Called rather than indexed: Accelerate moves offloaded weights when their module is called.
        indices = torch.arange(self.config.num_labels, device=features.device)
        return self.au_embeddings(indices).to(features.device)

    def _local_memory(self, au_features: torch.Tensor, au_maps: torch.Tensor) -> torch.Tensor:
        """What the local decoder reads: one row `(1 + num_tokens, hidden_size)` for each AU of each image."""
        memory = torch.cat([au_features.unsqueeze(2), au_maps], dim=2)
        return (memory + self._au_vectors(memory)[:, None]).flatten(0, 1)

    def _global_memory(self, au_features: torch.Tensor, face_map: torch.Tensor) -> torch.Tensor:
        """What the global decoder reads: one row `(num_tokens + num_labels, hidden_size)` for each image."""
        return torch.cat([face_map, au_features + self._au_vectors(au_features)], dim=1)

    def _read_sentences(
        self, decoder: nn.Module | None, name: str, labels: torch.Tensor, memory: torch.Tensor
    ) -> torch.Tensor:
        """Next-word scores of given sentences, `(rows, sequence_length, vocab_size)`."""
        if decoder is None:
            raise ValueError(
                f"`{name}_labels` were passed to a model without a {name} decoder (`variant` is "
                f"{self.config.variant!r})."
            )
        input_ids = labels.masked_fill(labels == IGNORED_TOKEN, self.config.text_config.pad_token_id)
        return decoder(input_ids, memory).logits

    def _check_sentence_labels(self, labels: torch.Tensor, name: str, shape: tuple[int, ...]):
        if labels.ndim != len(shape) + 1 or labels.shape[:-1] != shape:
            expected = ", ".join(map(str, shape))
            raise ValueError(
                f"`{name}` has the shape {tuple(labels.shape)}, but ({expected}, sequence_length) is needed: the ids "
                f"of one sentence {'for each AU of each' if len(shape) == 2 else 'for each'} image, with "
                f"{IGNORED_TOKEN} for padding."
            )

    @can_return_tuple
    @auto_docstring
    def forward(
        self,
        pixel_values: torch.FloatTensor,
        labels: torch.FloatTensor | None = None,
        local_labels: torch.LongTensor | None = None,
        global_labels: torch.LongTensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> VLFAUAUDetectionOutput:
        r"""
        labels (`torch.FloatTensor` of shape `(batch_size, num_labels)`, *optional*):
            1 where the AU is present, 0 where it is absent, -100 where it is unknown.
        local_labels (`torch.LongTensor` of shape `(batch_size, num_labels, sequence_length)`, *optional*):
            The sentence about each AU, as the tokenizer gives it (from `bos_token` to `eos_token`, not shifted), with
            -100 for padding. Sentences about AUs that are unknown in `labels` carry no loss.
        global_labels (`torch.LongTensor` of shape `(batch_size, sequence_length)`, *optional*):
            The sentence about the face, in the same form.

        Examples:

        ```python
        >>> import torch
        >>> from hiva_hf import VLFAUConfig, VLFAUForAUDetection

        >>> model = VLFAUForAUDetection(VLFAUConfig()).eval()
        >>> with torch.no_grad():
        ...     outputs = model(pixel_values=torch.rand(1, 3, 224, 224))
        >>> outputs.logits.shape
        torch.Size([1, 12])

        >>> # One sentence for each AU, from the same forward pass
        >>> model.generate(encoder_outputs=outputs, max_new_tokens=8).shape
        torch.Size([12, 9])
        ```"""
        output_attentions = kwargs.get("output_attentions")
        # As everywhere in transformers, None means the configuration's value.
        if output_attentions is None:
            output_attentions = self.config.output_attentions
        stem, au_maps = self._look(pixel_values)
        spatial_attentions = None
        if self.refinement is not None:
            au_maps, spatial_attentions = self.refinement(au_maps, stem.shape[-2:])
        au_features = au_maps.mean(dim=2)
        face_map = stem.flatten(2).transpose(1, 2)
        logits = self.classifier(au_features.unsqueeze(2)).flatten(1)

        loss = local_logits = global_logits = None
        if labels is not None:
            loss = self._au_loss(logits, labels)
        if local_labels is not None:
            self._check_sentence_labels(local_labels, "local_labels", tuple(logits.shape))
            if labels is not None:
                local_labels = local_labels.masked_fill((labels == MISSING_LABEL).unsqueeze(-1), IGNORED_TOKEN)
            memory = self._local_memory(au_features, au_maps)
            local_logits = self._read_sentences(self.local_decoder, "local", local_labels.flatten(0, 1), memory)
            local_logits = local_logits.unflatten(0, logits.shape)
        if global_labels is not None:
            self._check_sentence_labels(global_labels, "global_labels", tuple(logits.shape[:1]))
            memory = self._global_memory(au_features, face_map)
            global_logits = self._read_sentences(self.global_decoder, "global", global_labels, memory)
        if loss is not None and local_logits is not None:
            loss = loss + self.config.local_loss_weight * sentence_loss(local_logits, local_labels)
        if loss is not None and global_logits is not None:
            loss = loss + self.config.global_loss_weight * sentence_loss(global_logits, global_labels)

        return VLFAUAUDetectionOutput(
            loss=loss,
            logits=logits,
            local_logits=local_logits,
            global_logits=global_logits,
            au_features=au_features,
            au_maps=au_maps,
            face_map=face_map,
            spatial_attentions=spatial_attentions if output_attentions else None,
        )

    @torch.no_grad()
    def generate(
        self,
        pixel_values: torch.FloatTensor | None = None,
        encoder_outputs: VLFAUAUDetectionOutput | None = None,
        level: str = "local",
        generation_config: GenerationConfig | None = None,
        **kwargs,
    ) -> torch.LongTensor | ModelOutput:
        """
        Writes sentences about faces: greedily, or by beam search with `num_beams`.

        Args:
            pixel_values (`torch.FloatTensor` of shape `(batch_size, 3, image_size, image_size)`, *optional*):
                Face crops.
            encoder_outputs ([`VLFAUAUDetectionOutput`], *optional*):
                In place of `pixel_values`: the outputs of `forward` for them, so that scores and both kinds of
                sentences come from one forward pass.
            level (`str`, *optional*, defaults to `"local"`):
                `"local"` writes about each AU, `"global"` about the face.
            generation_config ([`GenerationConfig`], *optional*):
                Defaults to `model.generation_config`.
            kwargs:
                Everything that [`~transformers.GenerationMixin.generate`] takes, such as `num_beams` and
                `max_new_tokens`. Without a limit, sentences end at the decoder's last position at the latest.

        Returns:
            Token ids for the tokenizer's `batch_decode`, `(batch_size * num_labels, sequence_length)` at the local
            level, image by image (row `b * num_labels + i` is about AU i of image b), and
            `(batch_size, sequence_length)` at the global one; or a `ModelOutput` over the same rows with
            `return_dict_in_generate=True`.

        Raises:
            ValueError: if not exactly one of `pixel_values` and `encoder_outputs` is given, or the model has no
                decoder for the level.
        """
        decoders = {"local": self.local_decoder, "global": self.global_decoder}
        if level not in self.config.sentence_levels:
            raise ValueError(
                f"`level` is {level!r}, but this model (`variant` is {self.config.variant!r}) writes sentences of "
                f"level {' and '.join(map(repr, self.config.sentence_levels))}."
            )
        if (pixel_values is None) == (encoder_outputs is None):
            raise ValueError("Pass either `pixel_values` or `encoder_outputs`.")
        if encoder_outputs is None:
            encoder_outputs = self(pixel_values)
        au_features = encoder_outputs.au_features
        if level == "local":
            memory = self._local_memory(au_features, encoder_outputs.au_maps)
        else:
            memory = self._global_memory(au_features, encoder_outputs.face_map)
        generation_config = copy.deepcopy(self.generation_config if generation_config is None else generation_config)
        kwargs = generation_config.update(**kwargs)
        if generation_config.max_new_tokens is None and generation_config.max_length is None:
            generation_config.max_new_tokens = self.config.text_config.max_position_embeddings - 1
        start = torch.full(
            (memory.shape[0], 1), self.config.text_config.bos_token_id, dtype=torch.long, device=memory.device
        )
        return decoders[level].generate(
            start, generation_config=generation_config, encoder_hidden_states=memory, **kwargs
        )


__all__ = ["VLFAUForAUDetection", "VLFAUPreTrainedModel", "VLFAUTextForCausalLM"]

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
"""VL-FAU model configuration"""

import copy
from typing import Literal

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig
from transformers.configuration_utils import PreTrainedConfig, SubConfigSpec
from transformers.utils import auto_docstring

from .checkpoint_limits import check_fields, check_timm_tower, check_weight
from .configuration_au_detection import AUDetectionConfigMixin


VLFAUVariant = Literal["full", "no_local", "no_global", "no_refinement"]


@auto_docstring(
    custom_intro="""
    The configuration of a [`VLFAUTextForCausalLM`], the lightweight language decoder that writes VL-FAU's sentences.
    """
)
@strict
class VLFAUTextConfig(PreTrainedConfig):
    r"""
    vocab_size (`int`, *optional*, defaults to 512):
        Vocabulary size of the model's tokenizer (see [`~hiva_hf.language.tokenizer.build_state_tokenizer`]).
    hidden_size (`int`, *optional*, defaults to 256):
        Width of the decoder.
    num_hidden_layers (`int`, *optional*, defaults to 2):
        Layers of the decoder.
    num_attention_heads (`int`, *optional*, defaults to 4):
        Heads of its self-attention and of its cross-attention to the face.
    intermediate_size (`int`, *optional*, defaults to 512):
        Width of its feed-forward layers.
    hidden_act (`str`, *optional*, defaults to `"gelu"`):
        Activation of its feed-forward layers.
    hidden_dropout_prob (`float`, *optional*, defaults to 0.1):
        Dropout after embeddings, attentions and feed-forward layers.
    max_position_embeddings (`int`, *optional*, defaults to 256):
        Longest sentence, in tokens. The sentence about a face with all AUs of the catalogue fits.
    encoder_hidden_size (`int`, *optional*, defaults to 512):
        Width of the face features that the decoder reads: `hidden_size` of [`VLFAUConfig`].
    initializer_range (`float`, *optional*, defaults to 0.02):
        Standard deviation of the normal distribution that new weights are drawn from.
    layer_norm_eps (`float`, *optional*, defaults to 1e-05):
        Epsilon of the layer norms.
    use_cache (`bool`, *optional*, defaults to `True`):
        Whether the keys and values of earlier words are cached during generation.

    Example:

    ```python
    >>> from hiva_hf import VLFAUTextConfig, VLFAUTextForCausalLM

    >>> # Initializing a decoder (with random weights)
    >>> decoder = VLFAUTextForCausalLM(VLFAUTextConfig(vocab_size=300))

    >>> # Accessing the model configuration
    >>> configuration = decoder.config
    ```"""

    model_type = "vl_fau_text"
    base_config_key = "text_config"

    vocab_size: int = 512
    hidden_size: int = 256
    num_hidden_layers: int = 2
    num_attention_heads: int = 4
    intermediate_size: int = 512
    hidden_act: str = "gelu"
    hidden_dropout_prob: float | int = 0.1
    max_position_embeddings: int = 256
    encoder_hidden_size: int = 512
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-5
    use_cache: bool = True
    pad_token_id: int | None = 0
    bos_token_id: int | None = 1
    eos_token_id: int | list[int] | None = 2
    tie_word_embeddings: bool = False

    def validate_architecture(self):
        """Part of `@strict`-powered validation. Validates the architecture of the config."""
        check_fields(self)
        if self.hidden_size % self.num_attention_heads != 0:
            raise ValueError(
                f"`hidden_size` ({self.hidden_size}) is not a multiple of `num_attention_heads` "
                f"({self.num_attention_heads})."
            )
        for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
            token_ids = getattr(self, name)
            if token_ids is None and name != "eos_token_id":
                raise ValueError(f"`{name}` is None, but the decoder needs it: pass the tokenizer's.")
            for token_id in token_ids if isinstance(token_ids, list) else [token_ids]:
                if token_id is not None and not 0 <= token_id < self.vocab_size:
                    raise ValueError(f"`{name}` is {token_id}, but the vocabulary has {self.vocab_size} words.")
        if self.tie_word_embeddings:
            raise ValueError(
                "`tie_word_embeddings` is True, but the decoder has separate input and output embeddings: leave it at "
                "False."
            )


@auto_docstring(
    custom_intro="""
    The configuration of [`VLFAUForAUDetection`]. Its defaults give Swin-B, 12 AUs (those of BP4D) and decoders of two
    layers.

    The network follows "Towards End-to-End Explainable Facial Action Unit Recognition via Vision-Language Joint
    Learning" (2024) as far as its abstract describes it; what it leaves open was chosen for this package. `N`, the
    number of AUs, is `num_labels`, the length of `id2label`; `d` is `hidden_size`.

    Configuration objects inherit from [`PreTrainedConfig`] and can be used to control the model outputs. Read the
    documentation from [`PreTrainedConfig`] for more information.
    """
)
@strict
class VLFAUConfig(AUDetectionConfigMixin, PreTrainedConfig):
    r"""
    id2label (`dict[int, str]`, *optional*):
        The `N` AUs in the order of the logits, such as `{0: "AU1", 1: "AU2"}`. Defaults to the 12 AUs of BP4D.
    backbone_config (`dict` or `PreTrainedConfig`, *optional*):
        The vision backbone: any model that `AutoModel` builds and whose hidden states are square feature maps or the
        tokens of such maps (timm models through `TimmWrapperConfig`, Swin, DINOv2). Defaults to timm's Swin-B at 224
        pixels.
    text_config (`dict` or `PreTrainedConfig`, *optional*):
        The language decoders, local and global; see [`VLFAUTextConfig`]. `encoder_hidden_size` is set to
        `hidden_size`.
    backbone_out_indices (`list[int]`, *optional*):
        The three feature maps of the backbone that the stem combines, as indices of its stages or layers, counted from
        0. Defaults to the last three stages of a hierarchical backbone (the second to fourth of Swin), and to a third,
        two thirds and all of the depth of others (the fourth, eighth and twelfth layer of DINOv2-S).
    image_size (`int`, *optional*, defaults to 224):
        Height and width of the square face crop that the network reads, in pixels.
    hidden_size (`int`, *optional*, defaults to 512):
        `d`, the width that each scale is projected to, of the stem, and of the AU features.
    channel_reduction (`int`, *optional*, defaults to 16):
        Reduction ratio of the channel attention: its two linear layers have `d / channel_reduction` units in between.
    spatial_kernel_size (`int`, *optional*, defaults to 7):
        Kernel size of the convolution in the spatial attention, odd.
    variant (`str`, *optional*, defaults to `"full"`):
        One switch for the ablations. `"no_local"`: no local language decoder. `"no_global"`: no global one.
        `"no_refinement"`: the AU features are those of the branches, without channel and spatial attention.
    local_loss_weight (`float`, *optional*, defaults to 1.0):
        Weight of the loss of the local sentences relative to the AU loss.
    global_loss_weight (`float`, *optional*, defaults to 1.0):
        Weight of the loss of the global sentence relative to the AU loss.
    label_weights (`list[float]`, *optional*):
        Weights of the AUs in the AU loss, one for each AU (see
        [`~hiva_hf.training.label_weights.label_weights_from_positive_rates`]). `None` weighs all AUs alike.
    label_thresholds (`list[float]`, *optional*):
        Decision thresholds, one for each AU in the order of the logits, chosen on validation subjects: an AU is active
        if its probability reaches its threshold. `None` means 0.5 for all.
    experimental_labels (`list[str]`, *optional*):
        AUs, such as `["AU14"]`, whose detection is known to be unreliable on real photos. The network computes them
        like all others; the au-detection pipeline marks them.
    loss_reduction (`str`, *optional*, defaults to `"sum"`):
        How the AU loss is reduced over AUs, `"sum"` or `"mean"` over the labelled ones. Over the batch it is always
        the mean.
    initializer_range (`float`, *optional*, defaults to 0.02):
        Standard deviation of the normal distribution that new weights are drawn from.
    problem_type (`str`, *optional*, defaults to `"multi_label_classification"`):
        Several AUs can be present at once. No other value is supported.

    Example:

    ```python
    >>> from hiva_hf import VLFAUConfig, VLFAUForAUDetection

    >>> # Swin-B, 12 AUs, and language decoders of two layers
    >>> configuration = VLFAUConfig()

    >>> # Initializing a model (with random weights) from it
    >>> model = VLFAUForAUDetection(configuration)

    >>> # Accessing the model configuration
    >>> configuration = model.config
    ```"""

    model_type = "vl_fau"
    pretrained_entry = "VLFAUForAUDetection.from_vision_pretrained(vision, tokenizer)"
    sub_configs_defaults = {
        "backbone_config": SubConfigSpec(
            config_class=AutoConfig,
            model_type="timm_wrapper",
            init_kwargs={"architecture": "swin_base_patch4_window7_224", "do_pooling": False},
        ),
        "text_config": SubConfigSpec(config_class=VLFAUTextConfig),
    }
    # Outputs that Trainer does not gather in evaluation.
    keys_to_ignore_at_inference = [
        "local_logits",
        "global_logits",
        "au_features",
        "au_maps",
        "face_map",
        "spatial_attentions",
    ]

    id2label: dict[int, str] | dict[str, str] | None = None
    backbone_config: dict | PreTrainedConfig | None = None
    text_config: dict | PreTrainedConfig | None = None
    backbone_out_indices: list[int] | tuple[int, ...] | None = None
    image_size: int = 224
    hidden_size: int = 512
    channel_reduction: int = 16
    spatial_kernel_size: int = 7
    variant: VLFAUVariant = "full"
    local_loss_weight: float | int = 1.0
    global_loss_weight: float | int = 1.0
    label_weights: list[float | int] | tuple[float | int, ...] | None = None
    label_thresholds: list[float | int] | tuple[float | int, ...] | None = None
    experimental_labels: list[str] | tuple[str, ...] | None = None
    loss_reduction: Literal["sum", "mean"] = "sum"
    initializer_range: float = 0.02
    problem_type: str | None = "multi_label_classification"

    def __post_init__(self, **kwargs):
        self._prepare_fields(kwargs, towers=("backbone_config", "text_config"))
        super().__post_init__(**kwargs)
        # A copy: the given decoder configuration may also be used by a network of another width.
        self.text_config = copy.deepcopy(self.text_config)
        self.text_config.encoder_hidden_size = self.hidden_size

    @property
    def writes_local_sentences(self) -> bool:
        """Whether the network has a decoder for the sentences of single AUs."""
        return self.variant != "no_local"

    @property
    def writes_global_sentence(self) -> bool:
        """Whether the network has a decoder for the sentence about the whole face."""
        return self.variant != "no_global"

    @property
    def sentence_levels(self) -> tuple[str, ...]:
        """The levels at which the network writes: `"local"` (about each AU) and `"global"` (about the face)."""
        levels = {"local": self.writes_local_sentences, "global": self.writes_global_sentence}
        return tuple(level for level, is_written in levels.items() if is_written)

    @property
    def refines(self) -> bool:
        """Whether the AU maps pass through channel and spatial attention."""
        return self.variant != "no_refinement"

    def validate_architecture(self):
        """Part of `@strict`-powered validation. Validates the architecture of the config."""
        check_fields(self)
        if self.backbone_config.model_type == "timm_wrapper":
            check_timm_tower(self.backbone_config.to_dict())
        self._check_aus()
        if not isinstance(self.text_config, VLFAUTextConfig):
            raise ValueError(
                f"`text_config` is a {self.text_config.model_type!r}, but VL-FAU has its own decoders: "
                "pass a VLFAUTextConfig."
            )
        indices = self.backbone_out_indices
        if indices is not None and (len(indices) != 3 or list(indices) != sorted(set(indices))):
            raise ValueError(
                f"`backbone_out_indices` is {list(indices)}, but the stem is made of three feature maps, in the order "
                "of the backbone."
            )
        if not 1 <= self.channel_reduction <= self.hidden_size:
            raise ValueError(
                f"`channel_reduction` is {self.channel_reduction}, but it must be between 1 and `hidden_size` "
                f"({self.hidden_size})."
            )
        if self.spatial_kernel_size < 1 or self.spatial_kernel_size % 2 == 0:
            raise ValueError(
                f"`spatial_kernel_size` is {self.spatial_kernel_size}, but it must be odd, so that the attention map "
                "keeps its size."
            )
        for name in ("local_loss_weight", "global_loss_weight"):
            check_weight(name, getattr(self, name))


__all__ = ["VLFAUConfig", "VLFAUTextConfig"]

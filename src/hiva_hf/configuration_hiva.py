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
"""HiVA model configuration"""

from typing import Literal

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig
from transformers.configuration_utils import PreTrainedConfig, SubConfigSpec
from transformers.utils import auto_docstring

from .checkpoint_limits import check_fields, check_timm_tower, check_weight
from .configuration_au_detection import AUDetectionConfigMixin


# Text encoders with BERT's layout: `embeddings`, then the layers `encoder.layer`, with nothing between or after them.
TEXT_MODEL_TYPES = ("bert", "roberta", "xlm-roberta", "camembert")

Variant = Literal[
    "full",
    "no_augmentation",
    "no_difference_loss",
    "no_augmentation_no_difference_loss",
    "no_ddca",
    "no_cdca",
    "no_attention",
    "baseline",
    "shuffled_descriptions",
    "random_vectors",
    "names_only",
]


@auto_docstring(
    custom_intro="""
    The configuration of [`HiVAForAUDetection`] and [`HiVAForPreTraining`]. Its defaults give the paper's network for
    BP4D: Swin-B, BERT-large and `N` = 12 AUs.

    Symbols and equation numbers are those of "Hierarchical Vision-Language Interaction for Facial Action Unit
    Detection" (arXiv 2602.14425). `N`, the number of AUs, is `num_labels`, the length of `id2label`.

    Configuration objects inherit from [`PreTrainedConfig`] and can be used to control the model outputs. Read the
    documentation from [`PreTrainedConfig`] for more information.
    """
)
@strict
class HiVAConfig(AUDetectionConfigMixin, PreTrainedConfig):
    r"""
    id2label (`dict[int, str]`, *optional*):
        The `N` AUs in the order of the logits, such as `{0: "AU1", 1: "AU2"}`. Defaults to the 12 AUs of BP4D.
    backbone_config (`dict` or `PreTrainedConfig`, *optional*):
        The vision backbone that `X_g` is computed from: any model that `AutoModel` builds and whose last hidden state
        is a square feature map or the tokens of one (timm models through `TimmWrapperConfig`, Swin, DINOv2). Defaults
        to timm's Swin-B at 224 pixels.
    text_config (`dict` or `PreTrainedConfig`, *optional*):
        The text encoder that computes `H`, with BERT's layout. Defaults to BERT-large (24 layers of width 1024).
    image_size (`int`, *optional*, defaults to 224):
        Height and width of the square face crop that the network reads, in pixels. With the default backbone, 224
        pixels give `T` = 7 x 7 visual tokens.
    hidden_size (`int`, *optional*, defaults to 512):
        `d`, the width of the face map `X_g`, the AU features `U`, the text memory `[Z ; W]` and both cross attentions.
    num_attention_heads (`int`, *optional*, defaults to 8):
        Heads of the contextual text encoder, the Transformer encoder over the AUs that turns `H` into `Z`. The cross
        attentions DDCA and CDCA have one head.
    intermediate_size (`int`, *optional*, defaults to 2048):
        Width of the feed-forward layers of the contextual text encoder (`H` to `Z`).
    num_context_layers (`int`, *optional*, defaults to 3):
        Layers of the contextual text encoder (`H` to `Z`).
    hidden_dropout_prob (`float`, *optional*, defaults to 0.1):
        Dropout in the contextual text encoder (`H` to `Z`). The visual side and the cross attentions have none.
    num_trainable_text_layers (`int`, *optional*, defaults to 2):
        How many of the last layers of the text encoder are trained (layers 23 and 24 of BERT-large). Everything below
        is frozen, so its output for a sentence is a constant that is computed once.
    num_neighbors (`int`, *optional*, defaults to 4):
        `K`, the neighbours of each AU in the stage-1 graph, itself included (4 for BP4D and GFT, 3 for DISFA).
    text_level (`str`, *optional*, defaults to `"token"`):
        `M_i`, what the visual tokens `F_i` of an AU attend to in DDCA (Eq. 5). `"token"`: the AU's contextual
        embedding `Z_i` and the word pieces `W_i` of its description. `"sentence"`: `Z_i` alone, the equation as
        written; the softmax over a single key is 1, so this direction reduces to a learned bias, and its query and key
        projections get no gradient.
    variant (`str`, *optional*, defaults to `"full"`):
        One switch for the paper's ablations (Tables IV to VI) and for three controls. `"no_augmentation"`: training
        sees the canonical descriptions only. `"no_difference_loss"`: lambda = 0.
        `"no_augmentation_no_difference_loss"`: both. `"no_ddca"`: fusion on `[U_i ; C_i]`. `"no_cdca"`: fusion on
        `[U_i ; D_i]`. `"no_attention"`: text without attention, `D_i = U_i + Z_i`, `C_i = mean(X_g) + Z_i`.
        `"baseline"`: no text, fusion on `[U_i ; mean(X_g)]`. Controls: `"shuffled_descriptions"` (each AU reads its
        neighbour's description), `"random_vectors"` (a fixed random vector for each AU in place of the text encoder's
        output) and `"names_only"` (the AU's name as its description).
    difference_loss_weight (`float`, *optional*, defaults to 1e-05):
        `lambda`, the weight of `L_diff` (Eq. 1) in the stage-2 loss.
    label_weights (`list[float]`, *optional*):
        `w_i` of the AU loss, one for each AU (see
        [`~hiva_hf.training.label_weights.label_weights_from_positive_rates`]). `None` weighs all AUs alike.
    label_thresholds (`list[float]`, *optional*):
        Decision thresholds, one for each AU in the order of the logits, chosen on validation subjects: an AU is active
        if its probability reaches its threshold. `None` means 0.5 for all, as in the paper.
    experimental_labels (`list[str]`, *optional*):
        AUs, such as `["AU14"]`, whose detection is known to be unreliable on real photos. The network computes them
        like all others; the au-detection pipeline marks them.
    loss_reduction (`str`, *optional*, defaults to `"sum"`):
        How the AU loss is reduced over AUs, `"sum"` (Eq. 4 as written) or `"mean"` over the labelled ones. Over the
        batch it is always the mean.
    use_text_encoder (`bool`, *optional*, defaults to `True`):
        Whether the model has the text side. `False` after [`HiVAForAUDetection.drop_text_encoder`]: the model then
        uses its cached text memory.
    text_memory_length (`int`, *optional*, defaults to 0):
        Keys per AU of the cached text memory `M`: at the token level 1 + `L`, with `L` the word pieces of the longest
        description; 1 at the sentence level; 0 without a cache. Set by [`HiVAForAUDetection.encode_descriptions`].
    description_pieces (`list[str]`, *optional*):
        The word pieces that the keys of the cached text memory after the first stand for, one string for each AU, such
        as `"[CLS] lip ##s pu ##cker . [SEP]"`. Explanations take their words from it. Set together with the text
        memory at the token level; `None` in older checkpoints.
    initializer_range (`float`, *optional*, defaults to 0.02):
        Standard deviation of the normal distribution that new weights are drawn from.
    layer_norm_eps (`float`, *optional*, defaults to 1e-05):
        Epsilon of the layer norms `LN` in the contextual text encoder and in Eq. 5 and 6.
    problem_type (`str`, *optional*, defaults to `"multi_label_classification"`):
        Several AUs can be present at once. No other value is supported.

    Example:

    ```python
    >>> from hiva_hf import HiVAConfig, HiVAForAUDetection

    >>> # The paper's network for BP4D: Swin-B, BERT-large, 12 AUs
    >>> configuration = HiVAConfig()

    >>> # Initializing a model (with random weights) from it
    >>> model = HiVAForAUDetection(configuration)

    >>> # Accessing the model configuration
    >>> configuration = model.config
    ```"""

    model_type = "hiva"
    pretrained_entry = "HiVAForAUDetection.from_vision_text_pretrained(vision, text)"
    sub_configs_defaults = {
        "backbone_config": SubConfigSpec(
            config_class=AutoConfig,
            model_type="timm_wrapper",
            init_kwargs={"architecture": "swin_base_patch4_window7_224", "do_pooling": False},
        ),
        "text_config": SubConfigSpec(
            config_class=AutoConfig,
            model_type="bert",
            init_kwargs={
                "hidden_size": 1024,
                "num_hidden_layers": 24,
                "num_attention_heads": 16,
                "intermediate_size": 4096,
            },
        ),
    }

    # Outputs that Trainer does not gather in evaluation.
    keys_to_ignore_at_inference = [
        "au_features",
        "adjacency",
        "ddca_attentions",
        "cdca_attentions",
        "word_attentions",
        "visual_features",
    ]

    id2label: dict[int, str] | dict[str, str] | None = None
    backbone_config: dict | PreTrainedConfig | None = None
    text_config: dict | PreTrainedConfig | None = None
    image_size: int = 224
    hidden_size: int = 512
    num_attention_heads: int = 8
    intermediate_size: int = 2048
    num_context_layers: int = 3
    hidden_dropout_prob: float | int = 0.1
    num_trainable_text_layers: int = 2
    num_neighbors: int = 4
    text_level: Literal["token", "sentence"] = "token"
    variant: Variant = "full"
    difference_loss_weight: float | int = 1e-5
    label_weights: list[float | int] | tuple[float | int, ...] | None = None
    label_thresholds: list[float | int] | tuple[float | int, ...] | None = None
    experimental_labels: list[str] | tuple[str, ...] | None = None
    loss_reduction: Literal["sum", "mean"] = "sum"
    use_text_encoder: bool = True
    text_memory_length: int = 0
    description_pieces: list[str] | tuple[str, ...] | None = None
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-5
    problem_type: str | None = "multi_label_classification"

    def __post_init__(self, **kwargs):
        self._prepare_fields(kwargs, towers=("backbone_config", "text_config"))
        super().__post_init__(**kwargs)

    @property
    def uses_text(self) -> bool:
        """Whether the network has a text memory at all."""
        return self.variant != "baseline"

    @property
    def reads_descriptions(self) -> bool:
        """Whether the text memory comes from sentences that a text encoder reads."""
        return self.variant not in ("baseline", "random_vectors")

    @property
    def uses_ddca(self) -> bool:
        """Whether each AU's map and description attend to each other (Eq. 5)."""
        return self.variant not in ("no_ddca", "no_attention", "baseline")

    @property
    def uses_cdca(self) -> bool:
        """Whether the whole face and all descriptions attend to each other (Eq. 6)."""
        return self.variant not in ("no_cdca", "no_attention", "baseline")

    @property
    def augments_descriptions(self) -> bool:
        """Whether training samples among the variants of each description."""
        return self.reads_descriptions and self.variant not in (
            "no_augmentation",
            "no_augmentation_no_difference_loss",
            "names_only",
        )

    @property
    def effective_difference_loss_weight(self) -> float:
        """`lambda` with the ablation switch applied."""
        without = ("no_difference_loss", "no_augmentation_no_difference_loss", "random_vectors", "baseline")
        return 0.0 if self.variant in without else float(self.difference_loss_weight)

    def validate_architecture(self):
        """Part of `@strict`-powered validation. Validates the architecture of the config."""
        check_fields(self)
        if self.backbone_config.model_type == "timm_wrapper":
            check_timm_tower(self.backbone_config.to_dict())
        self._check_aus()
        if not 1 <= self.num_neighbors <= self.num_labels:
            raise ValueError(
                f"`num_neighbors` is {self.num_neighbors}, but a graph over {self.num_labels} AUs keeps between 1 and "
                f"{self.num_labels} neighbours for each AU (itself included)."
            )
        if self.text_config.model_type not in TEXT_MODEL_TYPES:
            raise ValueError(
                f"`text_config` is a {self.text_config.model_type!r}, but the text encoder must have BERT's layout, "
                f"because its frozen layers run apart from its trained ones. Use one of {', '.join(TEXT_MODEL_TYPES)}."
            )
        num_text_layers = self.text_config.num_hidden_layers
        if not 0 <= self.num_trainable_text_layers <= num_text_layers:
            raise ValueError(
                f"`num_trainable_text_layers` is {self.num_trainable_text_layers}, but the text encoder has "
                f"{num_text_layers} layers."
            )
        if self.hidden_size % self.num_attention_heads != 0:
            raise ValueError(
                f"`hidden_size` ({self.hidden_size}) is not a multiple of `num_attention_heads` "
                f"({self.num_attention_heads})."
            )
        check_weight("difference_loss_weight", self.difference_loss_weight)
        if self.text_level == "sentence" and self.text_memory_length > 1:
            raise ValueError("A sentence-level text memory has one key per AU: `text_memory_length` must be 0 or 1.")
        self._check_description_pieces()

    def _check_description_pieces(self):
        """Checks that there is a key of the text memory for each word piece."""
        if self.description_pieces is None:
            return
        if len(self.description_pieces) != self.num_labels:
            raise ValueError(
                f"`description_pieces` has {len(self.description_pieces)} entries, but the model has "
                f"{self.num_labels} AUs."
            )
        # Key 0 is the AU's contextual embedding.
        num_words = self.text_memory_length - 1
        longest = max(len(line.split()) for line in self.description_pieces)
        if longest > num_words:
            raise ValueError(
                f"`description_pieces` has an entry of {longest} word pieces, but a text memory of "
                f"{self.text_memory_length} keys has room for {max(0, num_words)}."
            )


__all__ = ["HiVAConfig"]

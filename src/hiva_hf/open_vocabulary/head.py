"""A head that scores any facial movement from the sentence that describes it.

Its weights are shared by all Action Units, so that it can score one that it was never trained on, as far as what it
learned from other sentences generalises.
"""

from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.utils import ModelOutput


class TextConditionedAUConfig(PreTrainedConfig):
    """Configuration of a [`TextConditionedAUHead`].

    Args:
        num_patches: Number P of patch tokens of a face.
        vision_hidden_size: Size V of a patch token.
        text_hidden_size: Size T of a sentence embedding.
        num_patterns: Number K of patterns that faces are compared with, one for each AU of training.
        vision_layer: See `FrozenTowers`.
        image_size: Side in pixels of the aligned face crop from which the patch tokens are computed.
        vision_model_name_or_path: Tower of the patch tokens; None is the packaged DINOv2.
        text_model_name_or_path: Tower of the sentences; None is the packaged MiniLM.
        trained_aus: Labels of the AUs that the head was trained on.
    """

    model_type = "hiva_text_conditioned_head"

    num_patches: int = 49
    vision_hidden_size: int = 384
    text_hidden_size: int = 384
    num_patterns: int = 20
    vision_layer: int = 8
    image_size: int = 98
    vision_model_name_or_path: str | None = None
    text_model_name_or_path: str | None = None
    trained_aus: list[str] | tuple[str, ...] = ()


@dataclass
class TextConditionedAUOutput(ModelOutput):
    """Output of [`TextConditionedAUHead`].

    Attributes:
        logits: `[batch_size, num_sentences]`.
    """

    logits: torch.FloatTensor | None = None


def standardize(patch_tokens: torch.Tensor, mean: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Faces `[n, num_patches, V]` as rows `[n, num_patches * V]`."""
    return ((patch_tokens.to(mean.dtype) - mean) / scale).flatten(1)


class TextConditionedAUHead(PreTrainedModel):
    """Scores S sentences on B faces, bilinear in both: logit = x' W M (s - mean), W `[P V, K]` and M `[K, T]`.

    x are the patch tokens of a face, each patch standardised over the training faces: aligned faces have their parts
    in the same places. A column of W is the pattern of one AU of training, and M gives the weight of each pattern for
    a sentence (Romera-Paredes and Torr, 2015, "An embarrassingly simple approach to zero-shot learning").
    """

    config_class = TextConditionedAUConfig
    base_model_prefix = "head"
    main_input_name = "patch_tokens"

    def __init__(self, config: TextConditionedAUConfig):
        super().__init__(config)
        self.register_buffer("token_mean", torch.zeros(config.num_patches, config.vision_hidden_size))
        self.register_buffer("token_scale", torch.ones(config.vision_hidden_size))
        self.register_buffer("text_mean", torch.zeros(config.text_hidden_size))
        self.patterns = nn.Parameter(torch.zeros(config.num_patches * config.vision_hidden_size, config.num_patterns))
        self.readout = nn.Parameter(torch.zeros(config.num_patterns, config.text_hidden_size))
        self.post_init()

    def _init_weights(self, module: nn.Module):
        """Does nothing: the weights are the solutions of two least-squares problems (`fit_head`)."""

    def forward(
        self, patch_tokens: torch.Tensor, sentence_embeddings: torch.Tensor, return_dict: bool | None = None
    ) -> TextConditionedAUOutput | tuple[torch.Tensor]:
        """
        Args:
            patch_tokens: `[B, num_patches, V]`.
            sentence_embeddings: `[S, T]`, of unit length.
            return_dict: False returns a tuple.
        """
        faces = standardize(patch_tokens, self.token_mean, self.token_scale)
        asked = (sentence_embeddings - self.text_mean) @ self.readout.T
        logits = (faces @ self.patterns) @ asked.T
        return (logits,) if return_dict is False else TextConditionedAUOutput(logits=logits)

"""Fit a text-conditioned head to labelled Action Units: two ridge regressions, solved exactly."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from ..facs import MISSING_LABEL, get_action_unit
from ..facs_states import state_sentences
from .head import TextConditionedAUConfig, TextConditionedAUHead, standardize


@dataclass(frozen=True)
class Ridges:
    """Regularisation of both ridge regressions.

    Attributes:
        face: Ridge of the patterns, relative to the mean squared length of a face.
        text: Ridge of the readout; sentences have unit length.
    """

    face: float = 0.1
    text: float = 0.3


def training_sentences(au: int | str) -> list[str]:
    """The sentences for an Action Unit that is present: its canonical description, its variants, its state sentences.

    Raises:
        ValueError: If there is no such Action Unit in the catalogue.
    """
    unit = get_action_unit(au)
    return [unit.description, *unit.variants, *state_sentences(unit.number, present=True)]


def fit_head(
    config: TextConditionedAUConfig,
    patch_tokens: torch.Tensor,
    labels: torch.Tensor,
    sentences: Mapping[str, torch.Tensor],
    ridges: Ridges | None = None,
) -> TextConditionedAUHead:
    """Fits a head.

    Args:
        config: Configuration of the head; its sizes must fit, `num_patterns` and `trained_aus` are set here.
        patch_tokens: `[n, num_patches, V]`, of the training faces.
        labels: `[n, N]`, 1 present, 0 absent, -100 unknown.
        sentences: Sentence embeddings `[number, T]` by AU label, in the order of the columns of `labels`; their mean
            is used.
        ridges: Regularisation of the regressions.

    Returns:
        The head, in evaluation mode.

    Raises:
        ValueError: If shapes do not fit, there are fewer than two AUs, or one has no positive or no negative label.
    """
    ridges = ridges or Ridges()
    _check(config, patch_tokens, labels, sentences)
    return make_head(config, fit_patterns(patch_tokens, labels, ridges.face), sentences, ridges.text)


@dataclass(frozen=True, eq=False)
class Patterns:
    """The pattern of each of N AUs, and what faces are standardised by before they are compared with it.

    Attributes:
        weights: `[num_patches * V, N]`.
        token_mean: Mean of each patch, `[num_patches, V]`.
        token_scale: Standard deviation around it, `[V]`.
    """

    weights: torch.Tensor
    token_mean: torch.Tensor
    token_scale: torch.Tensor

    def score(self, patch_tokens: torch.Tensor) -> torch.Tensor:
        """Scores `[n, N]` of faces `[n, num_patches, V]`."""
        return standardize(patch_tokens, self.token_mean, self.token_scale) @ self.weights


def fit_patterns(patch_tokens: torch.Tensor, labels: torch.Tensor, ridge: float) -> Patterns:
    """The pattern of each AU: ridge regression of its label, standardised, on standardised faces.

    Each AU's pattern depends only on its own labels, so that leaving out an AU does not change those of the others.

    Args:
        patch_tokens: `[n, num_patches, V]`.
        labels: `[n, N]`; unknown labels count as the AU's mean.
        ridge: Relative to the mean squared length of a face.
    """
    tokens = patch_tokens.float()
    mean = tokens.mean(dim=0)
    scale = (tokens - mean).square().mean(dim=(0, 1)).sqrt().clamp(min=1e-6)
    faces = standardize(tokens, mean, scale)
    known = labels != MISSING_LABEL
    rate = ((labels == 1).sum(dim=0) / known.sum(dim=0)).float()
    targets = torch.where(known, labels.float() - rate, 0.0) / (rate * (1 - rate)).sqrt()
    # There are fewer faces (n) than features (D), so it is solved in the dual form.
    products = faces @ faces.T
    size = products.diagonal().mean()
    products.diagonal().add_(ridge * size)
    return Patterns(faces.T @ torch.cholesky_solve(targets, torch.linalg.cholesky(products)), mean, scale)


def fit_readout(texts: torch.Tensor, ridge: float) -> torch.Tensor:
    """The weight of each AU's pattern for a sentence: ridge regression of patterns on sentences `[N, T]`.

    Returns:
        `[N, T]`, to be applied to a sentence minus the mean of `texts`.
    """
    centered = texts - texts.mean(dim=0)
    identity = torch.eye(len(texts), dtype=texts.dtype)
    return torch.linalg.solve(centered @ centered.T + ridge * identity, centered)


def make_head(
    config: TextConditionedAUConfig, patterns: Patterns, sentences: Mapping[str, torch.Tensor], text_ridge: float
) -> TextConditionedAUHead:
    """A head of patterns that are fitted already; see [`fit_head`]."""
    config.num_patterns, config.trained_aus = len(sentences), list(sentences)
    head = TextConditionedAUHead(config)
    texts = torch.stack([each.mean(dim=0) for each in sentences.values()])
    with torch.no_grad():
        head.token_mean.copy_(patterns.token_mean)
        head.token_scale.copy_(patterns.token_scale)
        head.text_mean.copy_(texts.mean(dim=0))
        # Solutions may be in column-major order, and products with these round differently from those of a saved head.
        head.patterns.copy_(patterns.weights)
        head.readout.copy_(fit_readout(texts, text_ridge))
    return head.eval()


def _check(config: TextConditionedAUConfig, patch_tokens: torch.Tensor, labels: torch.Tensor, sentences: Mapping):
    expected = (config.num_patches, config.vision_hidden_size)
    if patch_tokens.shape[1:] != expected or labels.shape != (len(patch_tokens), len(sentences)):
        raise ValueError(
            f"The head needs patch tokens [n, {expected[0]}, {expected[1]}] and labels [n, {len(sentences)}], got "
            f"{list(patch_tokens.shape)} and {list(labels.shape)}."
        )
    if len(sentences) < 2:
        raise ValueError("The head needs at least two AUs: it learns what distinguishes their sentences.")
    check_labels(labels, list(sentences))
    for label, texts in sentences.items():
        if texts.ndim != 2 or texts.shape[1] != config.text_hidden_size or len(texts) == 0:
            raise ValueError(f"{label} needs sentences [number, {config.text_hidden_size}], got {list(texts.shape)}.")


def check_labels(labels: torch.Tensor, au_labels: Sequence[str]):
    """Raises a `ValueError` if an AU has no positive or no negative label."""
    for column, label in enumerate(au_labels):
        if not (labels[:, column] == 1).any() or not (labels[:, column] == 0).any():
            raise ValueError(f"{label} can't be learned: it needs faces with and without it.")

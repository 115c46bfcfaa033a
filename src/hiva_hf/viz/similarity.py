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
"""Draw the similarity of the AUs' descriptions after the text encoder."""

import os
from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import ArrayLike, NDArray
from transformers import PreTrainedTokenizerBase

from ..facs import get_action_unit
from ..modeling_hiva import HiVAForAUDetection, evaluation_mode
from .style import (
    COLUMN_WIDTH,
    MEDIUM,
    PNG_DPI,
    SMALL,
    TINY,
    Theme,
    ThemeName,
    add_axes,
    check_path,
    finish,
    get_theme,
)


# Inches.
LABELS_SIZE, TITLE_HEIGHT, BAR_WIDTH, MARGIN = 0.36, 0.3, 0.62, 0.08
# Cells of at least this size show their value.
MIN_NUMBER_CELL = 0.19


def draw_similarity(
    similarity: ArrayLike | torch.Tensor | HiVAForAUDetection,
    labels: Sequence[str] | None = None,
    path: str | os.PathLike | None = None,
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    descriptions: Sequence[str] | None = None,
    title: str | None = None,
    width: float = COLUMN_WIDTH,
    theme: ThemeName | Theme = "light",
    dpi: int = PNG_DPI,
) -> Figure:
    """Draw the matrix of cosine similarities between the descriptions of the AUs, as in Figure 5 of the paper.

    Args:
        similarity: The matrix `[N, N]`, or a model, whose descriptions are compared: with `tokenizer`, the embeddings
            of its text encoder; without it, those in its text memory, which inference checkpoints have, too.
        labels: The N AUs; by default those of the model.
        path: Where to save the figure; its extension gives the format (".png", ".svg", ".pdf").
        tokenizer: Tokenizer of the model's text encoder.
        descriptions: One for each AU, instead of the canonical ones; needs `tokenizer`.
        title: Title above the matrix, before the mean of all pairs.
        width: Width of the figure in inches; by default that of a journal column. Wide cells show their value.
        theme: "light", "dark" or "print" (black ink only).
        dpi: Resolution of a PNG.

    Returns:
        The figure.

    Raises:
        ValueError: The matrix or an argument is invalid, or the model has no text memory or no text encoder.
    """
    theme, _ = get_theme(theme), check_path(path)
    if isinstance(similarity, HiVAForAUDetection):
        labels = similarity.config.au_labels if labels is None else labels
        similarity = cosine_similarity(_embeddings(similarity, tokenizer, descriptions))
    elif isinstance(similarity, torch.nn.Module):
        raise ValueError(
            f"A {type(similarity).__name__} has no descriptions to compare: pass a `HiVAForAUDetection`, or for an "
            "export the checkpoint that it was made from."
        )
    elif tokenizer is not None or descriptions is not None:
        raise ValueError("`tokenizer` and `descriptions` are for a model; a matrix is drawn as it is.")
    matrix = _checked(similarity, labels)
    side = width - LABELS_SIZE - BAR_WIDTH - MARGIN
    figure = theme.figure(width, TITLE_HEIGHT + side + LABELS_SIZE)
    axes = add_axes(figure, LABELS_SIZE, TITLE_HEIGHT, side, side)
    others = off_diagonal(matrix)
    cell = side / len(labels)
    shown = show_similarity(axes, matrix, labels, others.min(), theme, min(SMALL, max(TINY - 1, 60 * cell)))
    if cell >= MIN_NUMBER_CELL:
        _write_numbers(axes, matrix, shown, cell)
    mean = f"mean {_number(others.mean())} without the diagonal"
    heading = f"{title}: {mean}" if title else mean[0].upper() + mean[1:]
    figure.text(
        LABELS_SIZE / width,
        1 - 0.5 * TITLE_HEIGHT / figure.get_size_inches()[1],
        heading,
        fontsize=min(MEDIUM, SMALL + 0.5),
        va="center",
    )
    bar = figure.colorbar(shown, cax=add_axes(figure, width - BAR_WIDTH, TITLE_HEIGHT, 0.09, side))
    bar.set_label("Cosine similarity", fontsize=SMALL, labelpad=2)
    bar.ax.tick_params(labelsize=SMALL, length=2, pad=2)
    return finish(figure, theme, path, dpi)


def show_similarity(
    axes: Axes, matrix: NDArray[np.floating], labels: Sequence[str], lowest: float, theme: Theme, fontsize: float
) -> AxesImage:
    """Draws a matrix `[N, N]` on a scale from `lowest` to 1, with these labels on both axes."""
    shown = axes.imshow(matrix, cmap=theme.similarity, vmin=lowest, vmax=1)
    axes.set_xticks(range(len(labels)), labels, fontsize=fontsize, rotation=90)
    axes.set_yticks(range(len(labels)), labels, fontsize=fontsize)
    axes.tick_params(length=1.5, pad=1)
    return shown


def _write_numbers(axes: Axes, matrix: NDArray[np.floating], shown: AxesImage, cell: float):
    """Writes each value into its cell, which is `cell` inches wide."""
    for (row, column), value in np.ndenumerate(matrix):
        # Relative luminance; black and white have the same contrast to .18.
        linear = np.power(shown.cmap(shown.norm(value))[:3], 2.2)
        color = "white" if linear @ (0.2126, 0.7152, 0.0722) < 0.18 else "black"
        text = _number(value) if cell >= 0.3 else _number(value).replace("0.", ".", 1)
        axes.text(column, row, text, ha="center", va="center", fontsize=min(SMALL, 25 * cell), color=color)


def _number(value: float) -> str:
    return f"{round(float(value), 2) + 0.0:.2f}"


def cosine_similarity(embeddings: NDArray[np.floating]) -> NDArray[np.float64]:
    """Cosine similarity [N, N] of the rows of [N, d]."""
    rows = np.asarray(embeddings, dtype=np.float64)
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return rows @ rows.T


def off_diagonal(matrix: NDArray[np.floating]) -> NDArray[np.floating]:
    """The entries [N * (N - 1)] of a matrix [N, N] that are not on its diagonal."""
    return matrix[~np.eye(len(matrix), dtype=bool)]


@torch.no_grad()
def _embeddings(
    model: HiVAForAUDetection, tokenizer: PreTrainedTokenizerBase | None, descriptions: Sequence[str] | None
) -> NDArray[np.floating]:
    """The model's embedding of each AU's description, [N, d]; the model is not changed."""
    if tokenizer is None:
        if descriptions is not None:
            raise ValueError("`descriptions` need the text encoder's `tokenizer`: pass it, too.")
        if not model.has_text_memory:
            raise ValueError(
                "The model has no text memory: call `encode_descriptions(tokenizer)`, or pass `tokenizer`."
            )
        return model.text_memory[:, 0].float().cpu().numpy()
    if model.text_model is None or not model.config.reads_descriptions:
        raise ValueError(
            "This checkpoint can't encode descriptions (`drop_text_encoder` was called before it was saved, or its "
            "variant has none): omit `tokenizer` to compare its text memory, or load a training checkpoint."
        )
    units = [get_action_unit(label) for label in model.config.au_labels]
    sentences = [unit.description for unit in units] if descriptions is None else list(descriptions)
    if len(sentences) != len(units):
        raise ValueError(f"`descriptions` has {len(sentences)} entries, but the model has {len(units)} AUs.")
    inputs = tokenizer(sentences, padding=True, return_tensors="pt").to(model.device)
    with evaluation_mode([model.text_model]):
        hidden_states = model.text_model.encode_frozen(inputs["input_ids"], inputs["attention_mask"])
        text = model.text_model(hidden_states, inputs["attention_mask"])
    return text.description_embeddings.float().cpu().numpy()


def _checked(similarity: ArrayLike | torch.Tensor, labels: Sequence[str] | None) -> NDArray[np.float64]:
    if isinstance(similarity, torch.Tensor):
        similarity = similarity.detach().float().cpu().numpy()
    matrix = np.asarray(similarity, dtype=np.float64)
    if labels is None:
        raise ValueError("`labels` is needed: the AUs of the matrix, in order.")
    if matrix.shape != (len(labels), len(labels)) or len(labels) < 2:
        raise ValueError(
            f"Expected a matrix of {len(labels)} x {len(labels)} AUs, at least 2, got {list(matrix.shape)}."
        )
    if not np.isfinite(matrix).all() or np.abs(matrix).max() > 1 + 1e-6:
        raise ValueError("Cosine similarities lie between -1 and 1, but the matrix has other values.")
    return matrix

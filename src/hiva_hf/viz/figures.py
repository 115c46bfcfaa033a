"""Figures 4 to 7 of the paper, from arrays: gains per AU, description similarity, attention maps, AU graphs.

Colours are Okabe and Ito's, which every kind of colour vision tells apart; what a colour says, a shape, a hatch or a
word says too, so that the figures survive a grey print.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from PIL import Image

from .faces import ACTIVE_COLOR, EDGE_COLOR, HEAT


LOSS_COLOR = "#D55E00"
PUBLISHED_COLOR = "#000000"
# The width of two columns of a journal, in inches.
PAGE_WIDTH = 7.2
TINY, SMALL, MEDIUM = 5.5, 7, 8.5
PNG_DPI = 200


@dataclass(frozen=True, eq=False)
class AttentionExample:
    """One row of Figure 6.

    Attributes:
        face: The face as the network sees it.
        name: Whose face it is.
        titles: One for each DDCA map, such as "AU12 (0.93)".
        ddca_maps: [k, h, w], each summing to 1.
        cdca_map: [h, w], the mean of the same AUs' CDCA maps.
    """

    face: Image.Image
    name: str
    titles: tuple[str, ...]
    ddca_maps: NDArray[np.float32]
    cdca_map: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class GraphExample:
    """One graph of Figure 7.

    Attributes:
        graph: [N, N], 0/1, row i marks the AUs that AU i is connected to; no self-connections.
        labels: [N], 1 present, 0 absent, -100 unknown.
        found: [N], whether the network found the AU.
    """

    graph: NDArray[np.bool_]
    labels: NDArray[np.int64]
    found: NDArray[np.bool_]


def save_figure(figure: Figure, path_without_ending: str | os.PathLike) -> list[Path]:
    """Saves a figure as PNG and as SVG and returns both paths."""
    stem = Path(path_without_ending)
    stem.parent.mkdir(parents=True, exist_ok=True)
    paths = [stem.with_name(stem.name + ending) for ending in (".png", ".svg")]
    for path in paths:
        figure.savefig(path, dpi=PNG_DPI)
    return paths


def draw_gains(
    au_labels: Sequence[str],
    gains: NDArray[np.float64],
    intervals: NDArray[np.float64],
    positive_rates: NDArray[np.float64],
    title: str,
    rank_correlation: float,
    published_gains: NDArray[np.float64] | None = None,
) -> Figure:
    """Figure 4: what a method gains over another in F1, AU by AU, the rarest first.

    Args:
        au_labels: The N AUs.
        gains: [N], in points (x 100).
        intervals: [N, 2], in points.
        positive_rates: [N], how often the AU is present, 0 to 1.
        title: Says whose gains these are.
        rank_correlation: Spearman's rho of gain and positive rate.
        published_gains: [N], the same from published tables, in points.
    """
    order = np.argsort(positive_rates, kind="stable")
    positions = np.arange(len(order))
    figure = Figure(figsize=(PAGE_WIDTH, 2.9), layout="constrained")
    axes = figure.add_subplot()
    is_gain = gains[order] >= 0
    bars = axes.bar(
        positions,
        gains[order],
        color=[ACTIVE_COLOR if gain else "white" for gain in is_gain],
        edgecolor=[ACTIVE_COLOR if gain else LOSS_COLOR for gain in is_gain],
        hatch=["" if gain else "////" for gain in is_gain],
        linewidth=0.8,
        width=0.7,
    )
    bars.set_label("ours (blue: gain, hatched: loss), 95% bootstrap interval")
    low, high = intervals[order].T
    axes.vlines(positions, low, high, color=EDGE_COLOR, linewidth=1)
    if published_gains is not None:
        marks = {"marker": "D", "s": 22, "facecolor": "white", "edgecolor": PUBLISHED_COLOR, "zorder": 3}
        axes.scatter(positions, published_gains[order], label="published", **marks)
    axes.axhline(0, color=EDGE_COLOR, linewidth=0.8)
    names = [f"{au_labels[index]}\n{100 * positive_rates[index]:.0f}%" for index in order]
    axes.set_xticks(positions, names, fontsize=SMALL)
    axes.set_xlabel("AU and its positive rate, rarest first", fontsize=MEDIUM)
    axes.set_ylabel("F1 gain (points)", fontsize=MEDIUM)
    rho = "undefined" if np.isnan(rank_correlation) else f"{rank_correlation:+.2f}"
    axes.set_title(f"{title}; Spearman's rho with the rate: {rho}", fontsize=MEDIUM, loc="left")
    axes.legend(fontsize=SMALL, frameon=False, loc="best")
    axes.set_xlim(-0.6, len(order) - 0.4)
    axes.tick_params(length=2, labelsize=SMALL)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def draw_description_similarities(
    methods: Mapping[str, Mapping[str, NDArray[np.float64]]], au_labels: Sequence[str], title: str
) -> Figure:
    """Figure 5: how alike the AUs' descriptions are to the text encoder, moment by moment of training.

    Args:
        methods: For each method, cosine similarity [N, N] at each moment.
        au_labels: The N AUs.
        title: Says what was trained.
    """
    num_columns = max(len(moments) for moments in methods.values())
    side = min(2.3, (PAGE_WIDTH - 0.6) / num_columns)
    size = (max(4.2, side * num_columns + 1.0), (side + 0.35) * len(methods) + 0.3)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(len(methods), num_columns, squeeze=False)
    lowest = min(matrix.min() for moments in methods.values() for matrix in moments.values())
    for row, (method, moments) in zip(grid, methods.items(), strict=True):
        for axes in row[len(moments) :]:
            axes.set_axis_off()
        for axes, (moment, matrix) in zip(row, moments.items(), strict=False):
            shown = axes.imshow(matrix, cmap="cividis", vmin=lowest, vmax=1)
            others = ~np.eye(len(matrix), dtype=bool)
            axes.set_title(f"{moment}\nmean {matrix[others].mean():.4f}", fontsize=SMALL, pad=3)
            numbers = [label.removeprefix("AU") for label in au_labels]
            axes.set_xticks(range(len(numbers)), numbers, fontsize=TINY, rotation=90)
            axes.set_yticks(range(len(numbers)), numbers, fontsize=TINY)
            axes.tick_params(length=1.5, pad=1)
        row[0].set_ylabel(method, fontsize=MEDIUM)
    bar = figure.colorbar(shown, ax=grid, shrink=0.8)
    bar.set_label("Cosine similarity", fontsize=SMALL)
    bar.ax.tick_params(labelsize=SMALL)
    figure.suptitle(f"{title} (mean: without the diagonal)", fontsize=MEDIUM)
    return figure


def draw_attention_examples(examples: Sequence[AttentionExample], title: str) -> Figure:
    """Figure 6: where the descriptions of three AUs look, in DDCA each on its own map, in CDCA on the whole face's.

    Attention is a multiple of what evenly spread attention would be, on one scale for all faces.

    Args:
        examples: One row each, all with the same number of maps.
        title: Says what was trained.
    """
    num_maps = len(examples[0].ddca_maps)
    side = (PAGE_WIDTH - 0.7) / (num_maps + 2)
    figure = Figure(figsize=(PAGE_WIDTH, (side + 0.22) * len(examples) + 0.35), layout="constrained")
    grid = figure.subplots(len(examples), num_maps + 2, squeeze=False)
    all_maps = [np.concatenate([example.ddca_maps, example.cdca_map[None]]) for example in examples]
    # Attention without any focus must not look as if it had one.
    scale = max(2.0, *(float(maps.max()) * maps[0].size for maps in all_maps))
    for row, example, maps in zip(grid, examples, all_maps, strict=True):
        grey = example.face.convert("L")
        row[0].imshow(example.face, extent=(0, 1, 1, 0))
        row[0].set_title(example.name, fontsize=SMALL)
        for axes, name, values in zip(row[1:], (*example.titles, "CDCA, mean of these"), maps, strict=True):
            axes.imshow(grey, cmap="gray", vmin=0, vmax=255, extent=(0, 1, 1, 0))
            heat = axes.imshow(
                values * values.size,
                cmap=HEAT,
                vmin=0,
                vmax=scale,
                extent=(0, 1, 1, 0),
                interpolation="bicubic",
                interpolation_stage="data",
            )
            axes.set_title(name, fontsize=SMALL)
        for axes in row:
            axes.set_axis_off()
    bar = figure.colorbar(heat, ax=grid, shrink=0.6)
    bar.locator = MaxNLocator(5)
    bar.set_label("Attention (1 = evenly spread)", fontsize=SMALL)
    bar.ax.tick_params(labelsize=SMALL)
    figure.suptitle(title, fontsize=MEDIUM)
    return figure


def draw_graph_examples(
    faces: Sequence[Image.Image],
    methods: Mapping[str, Sequence[GraphExample]],
    au_labels: Sequence[str],
    row_notes: Mapping[str, str],
    title: str,
) -> Figure:
    """Figure 7: the AUs that each AU is connected to, on the same faces for each method.

    Args:
        faces: The faces, one column each.
        methods: For each method, its graph on each face.
        au_labels: The N AUs.
        row_notes: For each method what holds over many faces, such as its mean in-degree.
        title: Says what was trained.
    """
    side = min(2.3, PAGE_WIDTH / len(faces))
    # In inches: the faces, a graph with its heading for each method, the legend.
    heights = [1.0, *[side + 0.25] * len(methods), 0.5]
    figure = Figure(figsize=(PAGE_WIDTH, 0.3 + sum(heights)), layout="constrained")
    face_row, *method_rows, legend_row = figure.subfigures(len(heights), 1, height_ratios=heights)
    for axes, face in zip(face_row.subplots(1, len(faces), squeeze=False)[0], faces, strict=True):
        axes.imshow(face)
        axes.set_axis_off()
    for row, (method, examples) in zip(method_rows, methods.items(), strict=True):
        row.suptitle(f"{method}: {row_notes[method]}", fontsize=SMALL, x=0.01, ha="left")
        for axes, example in zip(row.subplots(1, len(faces), squeeze=False)[0], examples, strict=True):
            _draw_graph(axes, example, au_labels)
    legend_row.legend(handles=_graph_legend(), loc="center", ncols=3, fontsize=SMALL, frameon=False)
    figure.suptitle(title, fontsize=MEDIUM)
    return figure


def _draw_graph(axes: Axes, example: GraphExample, au_labels: Sequence[str]) -> None:
    """AUs on a circle, clockwise from the top; a node grows with the AUs that are connected to it."""
    angles = np.pi / 2 - 2 * np.pi * np.arange(len(au_labels)) / len(au_labels)
    points = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    both_ways = example.graph & example.graph.T
    for start, end in np.argwhere(example.graph):
        if both_ways[start, end] and start > end:
            continue
        is_mutual = both_ways[start, end]
        axes.add_patch(
            FancyArrowPatch(
                points[start],
                points[end],
                arrowstyle="-" if is_mutual else "-|>",
                mutation_scale=5,
                shrinkA=4,
                shrinkB=4,
                linewidth=1.3 if is_mutual else 0.5,
                color="#404040" if is_mutual else "#A0A0A0",
                zorder=1,
            )
        )
    present = example.labels == 1
    is_wrong = (example.labels >= 0) & (present != example.found)
    axes.scatter(
        *points.T,
        s=12 + 9 * example.graph.sum(axis=0),
        facecolor=[ACTIVE_COLOR if active else "white" for active in present],
        edgecolor=[LOSS_COLOR if wrong else EDGE_COLOR for wrong in is_wrong],
        linewidth=[1.6 if wrong else 0.8 for wrong in is_wrong],
        zorder=2,
    )
    for label, point, active, wrong in zip(au_labels, points, present, is_wrong, strict=True):
        axes.text(
            *(1.3 * point),
            label.removeprefix("AU") + ("\N{MULTIPLICATION SIGN}" if wrong else ""),
            ha="center",
            va="center",
            fontsize=SMALL,
            fontweight="bold" if active else "normal",
            color=LOSS_COLOR if wrong else "black",
        )
    axes.set_xlim(-1.45, 1.45)
    axes.set_ylim(-1.45, 1.45)
    axes.set_aspect("equal")
    axes.set_axis_off()


def _graph_legend() -> list[Patch | Line2D]:
    node = {"marker": "o", "linestyle": "none", "markersize": 6}
    return [
        Line2D([], [], markerfacecolor=ACTIVE_COLOR, markeredgecolor=EDGE_COLOR, label="AU is present (bold)", **node),
        Line2D([], [], markerfacecolor="white", markeredgecolor=EDGE_COLOR, label="AU is absent or unknown", **node),
        Line2D(
            *([], []),
            markerfacecolor="white",
            markeredgecolor=LOSS_COLOR,
            markeredgewidth=1.6,
            label="wrongly predicted (12\N{MULTIPLICATION SIGN})",
            **node,
        ),
        Line2D([], [], color="#404040", linewidth=1.3, label="both among the other's neighbours"),
        Line2D([], [], color="#A0A0A0", linewidth=0.8, marker=">", markersize=4, label="one way only"),
        Line2D([], [], linestyle="none", label="node size: AUs connected to it"),
    ]

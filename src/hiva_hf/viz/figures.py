"""Figures 4 to 7 of the paper, from arrays: gains per AU, description similarity, attention maps, AU graphs.

They use the light theme and share code with the other figures of this package.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from PIL import Image

from .attention import add_attention_bar, attention_peak, show_attention
from .graph import draw_graph, graph_handles
from .similarity import off_diagonal, show_similarity
from .style import MEDIUM, PAGE_WIDTH, SMALL, THEMES, TINY, write_figure


LIGHT = THEMES["light"]


@dataclass(frozen=True, eq=False)
class AttentionExample:
    """One row of Figure 6.

    Attributes:
        face: The aligned face.
        name: Title of the face, such as its subject.
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
        found: [N], whether the network detected the AU.
    """

    graph: NDArray[np.bool_]
    labels: NDArray[np.int64]
    found: NDArray[np.bool_]


def save_figure(figure: Figure, path_without_ending: str | os.PathLike) -> list[Path]:
    """Saves a figure as PNG and as SVG and returns both paths."""
    stem = Path(path_without_ending)
    return [write_figure(figure, stem.with_name(stem.name + ending)) for ending in (".png", ".svg")]


def draw_gains(
    au_labels: Sequence[str],
    gains: NDArray[np.float64],
    intervals: NDArray[np.float64],
    positive_rates: NDArray[np.float64],
    title: str,
    rank_correlation: float,
    published_gains: NDArray[np.float64] | None = None,
) -> Figure:
    """Figure 4: the gain in F1 of one method over another for each AU, the rarest first.

    Args:
        au_labels: The N AUs.
        gains: [N], in points (x 100).
        intervals: [N, 2], in points; NaN where there is none.
        positive_rates: [N], how often the AU is present, 0 to 1.
        title: Title, such as the two methods.
        rank_correlation: Spearman's rho of gain and positive rate.
        published_gains: [N], the same from published tables, in points.
    """
    order = np.argsort(positive_rates, kind="stable")
    positions = np.arange(len(order))
    figure = LIGHT.figure(PAGE_WIDTH, 2.9, layout="constrained")
    axes = figure.add_subplot()
    is_gain = gains[order] >= 0
    bars = axes.bar(
        positions,
        gains[order],
        color=[LIGHT.active if gain else "white" for gain in is_gain],
        edgecolor=[LIGHT.active if gain else LIGHT.alert for gain in is_gain],
        hatch=["" if gain else "////" for gain in is_gain],
        linewidth=0.8,
        width=0.7,
    )
    interval = "no interval" if np.isnan(intervals).all() else "95% bootstrap interval"
    bars.set_label(f"ours (blue: gain, hatched: loss), {interval}")
    low, high = intervals[order].T
    axes.vlines(positions, low, high, color=LIGHT.muted, linewidth=1)
    if published_gains is not None:
        marks = {"marker": "D", "s": 22, "facecolor": "white", "edgecolor": LIGHT.ink, "zorder": 3}
        axes.scatter(positions, published_gains[order], label="published", **marks)
    axes.axhline(0, color=LIGHT.muted, linewidth=0.8)
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
    """Figure 5: similarity of the AUs' descriptions after the text encoder, at several moments of training.

    Args:
        methods: For each method, cosine similarity [N, N] at each moment.
        au_labels: The N AUs.
        title: Title, such as what was trained.
    """
    num_columns = max(len(moments) for moments in methods.values())
    side = min(2.3, (PAGE_WIDTH - 0.6) / num_columns)
    size = (max(4.2, side * num_columns + 1.0), (side + 0.35) * len(methods) + 0.3)
    figure = LIGHT.figure(*size, layout="constrained")
    grid = figure.subplots(len(methods), num_columns, squeeze=False)
    lowest = min(matrix.min() for moments in methods.values() for matrix in moments.values())
    numbers = [label.removeprefix("AU") for label in au_labels]
    for row, (method, moments) in zip(grid, methods.items(), strict=True):
        for axes in row[len(moments) :]:
            axes.set_axis_off()
        for axes, (moment, matrix) in zip(row, moments.items(), strict=False):
            shown = show_similarity(axes, matrix, numbers, lowest, LIGHT, TINY)
            axes.set_title(f"{moment}\nmean {off_diagonal(matrix).mean():.4f}", fontsize=SMALL, pad=3)
        row[0].set_ylabel(method, fontsize=MEDIUM)
    bar = figure.colorbar(shown, ax=grid, shrink=0.8)
    bar.set_label("Cosine similarity", fontsize=SMALL)
    bar.ax.tick_params(labelsize=SMALL)
    figure.suptitle(f"{title} (mean: without the diagonal)", fontsize=MEDIUM)
    return figure


def draw_attention_examples(examples: Sequence[AttentionExample], title: str) -> Figure:
    """Figure 6: attention of the descriptions of some AUs, in DDCA to the AU's own map, in CDCA to the whole face's.

    Attention is given as a multiple of evenly spread attention, on one scale for all faces.

    Args:
        examples: One row each, all with the same number of maps.
        title: Title, such as what was trained.
    """
    num_maps = len(examples[0].ddca_maps)
    side = (PAGE_WIDTH - 0.7) / (num_maps + 2)
    figure = LIGHT.figure(PAGE_WIDTH, (side + 0.22) * len(examples) + 0.35, layout="constrained")
    grid = figure.subplots(len(examples), num_maps + 2, squeeze=False)
    all_maps = [np.concatenate([example.ddca_maps, example.cdca_map[None]]) for example in examples]
    peak = attention_peak(values for maps in all_maps for values in maps)
    for row, example, maps in zip(grid, examples, all_maps, strict=True):
        row[0].imshow(example.face, extent=(0, 1, 1, 0))
        row[0].set_axis_off()
        row[0].set_title(example.name, fontsize=SMALL)
        for axes, name, values in zip(row[1:], (*example.titles, "CDCA, mean of these"), maps, strict=True):
            heat = show_attention(axes, example.face, values, peak, LIGHT)
            axes.set_title(name, fontsize=SMALL)
    add_attention_bar(figure, heat, LIGHT, ax=grid, shrink=0.6)
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
        row_notes: For each method, a statistic over many faces, such as its mean in-degree.
        title: Title, such as what was trained.
    """
    side = min(2.3, PAGE_WIDTH / len(faces))
    # In inches: the faces, a graph with its heading for each method, the legend.
    heights = [1.0, *[side + 0.25] * len(methods), 0.5]
    figure = LIGHT.figure(PAGE_WIDTH, 0.3 + sum(heights), layout="constrained")
    face_row, *method_rows, legend_row = figure.subfigures(len(heights), 1, height_ratios=heights)
    for axes, face in zip(face_row.subplots(1, len(faces), squeeze=False)[0], faces, strict=True):
        axes.imshow(face)
        axes.set_axis_off()
    for row, (method, examples) in zip(method_rows, methods.items(), strict=True):
        row.suptitle(f"{method}: {row_notes[method]}", fontsize=SMALL, x=0.01, ha="left")
        for axes, example in zip(row.subplots(1, len(faces), squeeze=False)[0], examples, strict=True):
            present = example.labels == 1
            is_wrong = (example.labels >= 0) & (present != example.found)
            names = [
                label.removeprefix("AU") + ("\N{MULTIPLICATION SIGN}" if wrong else "")
                for label, wrong in zip(au_labels, is_wrong, strict=True)
            ]
            draw_graph(axes, example.graph, names, present, 0.9 * side, LIGHT, alerts=is_wrong)
    legend_row.legend(handles=_graph_legend(), loc="center", ncols=3, fontsize=SMALL, frameon=False)
    figure.suptitle(title, fontsize=MEDIUM)
    return figure


def _graph_legend() -> list[Line2D]:
    node = {"marker": "o", "linestyle": "none", "markersize": 6}
    wrong = {**node, "markeredgecolor": LIGHT.alert, "markeredgewidth": 1.6}
    return [
        Line2D([], [], markerfacecolor=LIGHT.active, markeredgecolor=LIGHT.muted, label="present (bold)", **node),
        Line2D([], [], markerfacecolor="white", markeredgecolor=LIGHT.muted, label="absent or unknown", **node),
        Line2D([], [], markerfacecolor="white", label="wrongly predicted (12\N{MULTIPLICATION SIGN})", **wrong),
        Line2D([], [], color=LIGHT.active, linewidth=1.8, label="between present AUs"),
        *graph_handles(LIGHT),
    ]

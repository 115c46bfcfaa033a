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
"""Draw the dynamic graph over the AUs of one face: from which AUs each AU receives information."""

import os
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch
from numpy.typing import ArrayLike, NDArray

from ..modeling_hiva import adjacency
from .style import (
    COLUMN_WIDTH,
    EXPERIMENTAL_MARK,
    EXPERIMENTAL_NOTE,
    MEDIUM,
    PNG_DPI,
    SMALL,
    Theme,
    ThemeName,
    add_axes,
    check_path,
    finish,
    get_theme,
)


# Inches.
MARGIN, TITLE_HEIGHT, LEGEND_LINE = 0.08, 0.26, 0.145
# The circle of AUs has radius 1; labels stand outside it.
LABEL_RADIUS, EXTENT = 1.26, 1.42


def draw_au_graph(
    graph: ArrayLike | torch.Tensor | dict[str, Any],
    labels: Sequence[str] | None = None,
    active: Collection[str] | None = None,
    path: str | os.PathLike | None = None,
    *,
    num_neighbors: int | None = None,
    experimental: Collection[str] = (),
    title: str | None = None,
    width: float = COLUMN_WIDTH,
    theme: ThemeName | Theme = "light",
    dpi: int = PNG_DPI,
) -> Figure:
    """Draw the graph over the AUs of one face, as in Figure 7 of the paper.

    AUs are on a circle, clockwise from the top. Active ones are filled and bold, and connections between two of them
    are highlighted; the size of a node grows with its in-degree, the number of AUs that listen to it. A line without
    an arrowhead goes both ways.

    Args:
        graph: A 0/1 matrix `[N, N]` whose row i marks the AUs that AU i listens to (`adjacency` of
            [`HiVAForPreTraining`]'s output; its diagonal is ignored); or AU features `[N, d]`, together with
            `num_neighbors`; or a face from the au-detection pipeline, called with `return_features=True`, together
            with `num_neighbors`: its labels and active AUs are the defaults.
        labels: The N AUs, such as "AU12".
        active: Labels of the active AUs.
        path: Where to save the figure; its extension gives the format (".png", ".svg", ".pdf").
        num_neighbors: K, the number of AUs that an AU listens to, including itself; `model.config.num_neighbors` is
            what training used.
        experimental: Labels of AUs that are marked as unreliable.
        title: Title above the graph.
        width: Width of the figure in inches; by default that of a journal column.
        theme: "light", "dark" or "print" (black ink only).
        dpi: Resolution of a PNG.

    Returns:
        The figure.

    Raises:
        ValueError: The graph or an argument is invalid.
    """
    theme, _ = get_theme(theme), check_path(path)
    if isinstance(graph, dict):
        if "visual_features" not in graph:
            raise ValueError(
                "The face has no visual features: call the pipeline with `return_features=True`. An old export that "
                "lacks them has to be made again."
            )
        aus = graph["aus"]
        labels = [au["label"] for au in aus] if labels is None else labels
        active = [au["label"] for au in aus if au["active"]] if active is None else active
        experimental = experimental or [au["label"] for au in aus if au.get("experimental")]
        graph = graph["visual_features"]
        if num_neighbors is None:
            raise ValueError(
                "A graph of a face's features needs `num_neighbors`, such as `model.config.num_neighbors`."
            )
    if labels is None:
        raise ValueError("`labels` is needed: the AUs of the graph, in order.")
    connected = _connections(graph, labels, num_neighbors)
    active = set(active or ())
    if unknown := sorted((active | set(experimental)) - set(labels)):
        raise ValueError(f"`active` or `experimental` has unknown AUs: {unknown}. There are {labels}.")

    has_experimental = bool(set(experimental))
    legend_height = LEGEND_LINE * (3 + has_experimental) + 0.06
    top = TITLE_HEIGHT if title else MARGIN
    side = width - 2 * MARGIN
    figure = theme.figure(width, top + side + legend_height + MARGIN)
    axes = add_axes(figure, MARGIN, top, side, side)
    is_active = np.array([label in active for label in labels])
    names = [label + EXPERIMENTAL_MARK * (label in experimental) for label in labels]
    draw_graph(axes, connected, names, is_active, side, theme)
    if title:
        axes.set_title(title, fontsize=MEDIUM, pad=2)
    figure.legend(
        handles=_legend(theme, has_experimental),
        loc="lower center",
        ncols=2,
        fontsize=SMALL - 0.5,
        frameon=False,
        handlelength=1.4,
        columnspacing=1.2,
        borderaxespad=0.2,
    )
    return finish(figure, theme, path, dpi)


def draw_graph(
    axes: Axes,
    graph: NDArray[np.bool_],
    names: Sequence[str],
    active: NDArray[np.bool_],
    side: float,
    theme: Theme,
    alerts: NDArray[np.bool_] | None = None,
):
    """Draws AUs on a circle; the size of a node grows with its in-degree.

    Args:
        axes: Axes to draw on.
        graph: [N, N], row i marks the AUs that AU i is connected to; no self-connections.
        names: [N], label of each node.
        active: [N], which are filled and bold.
        side: Side of the axes in inches.
        theme: Colours.
        alerts: [N], which nodes are highlighted with a ring.
    """
    angles = np.pi / 2 - 2 * np.pi * np.arange(len(names)) / len(names)
    points = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    scale = 72 * side / (2 * EXTENT)
    # Neighbours on the circle are `spacing` points apart; the largest node leaves space to them and to its label.
    spacing = 2 * np.pi * scale / len(names)
    radii = _node_radii(graph.sum(axis=0), min(0.42 * spacing, 0.1 * scale))
    _draw_edges(axes, graph, points, active, radii, theme)
    alerts = np.zeros(len(names), dtype=bool) if alerts is None else alerts
    axes.scatter(
        *points.T,
        s=(2 * radii) ** 2,
        facecolor=[theme.active if on else theme.background for on in active],
        edgecolor=[theme.alert if alert else theme.muted for alert in alerts],
        linewidth=[1.6 if alert else 0.8 for alert in alerts],
        zorder=3,
    )
    for name, point, on, alert in zip(names, points, active, alerts, strict=True):
        axes.text(
            *(LABEL_RADIUS * point),
            name,
            ha="center",
            va="center",
            fontsize=SMALL,
            fontweight="bold" if on else "normal",
            color=theme.alert if alert else theme.ink,
        )
    axes.set_xlim(-EXTENT, EXTENT)
    axes.set_ylim(-EXTENT, EXTENT)
    axes.set_aspect("equal")
    axes.set_axis_off()


def graph_handles(theme: Theme) -> list[Line2D]:
    """Legend entries for lines and node sizes."""
    return [
        Line2D([], [], color=theme.muted, linewidth=1.4, label="both ways"),
        Line2D([], [], color=theme.muted, linewidth=0.6, marker=">", markersize=3.5, label="one way: listens to"),
        Line2D([], [], linestyle="none", label="large node: many listen to it"),
    ]


def _connections(graph: ArrayLike | torch.Tensor, labels: Sequence[str], num_neighbors: int | None) -> NDArray:
    values = graph.detach().float().cpu().numpy() if isinstance(graph, torch.Tensor) else np.asarray(graph)
    if values.ndim == 3 and len(values) == 1:
        values = values[0]
    if values.ndim != 2 or len(values) != len(labels):
        raise ValueError(
            f"Expected the graph or the features of one face with {len(labels)} AUs, got the shape "
            f"{list(values.shape)}."
        )
    if num_neighbors is not None:
        if not 1 <= num_neighbors <= len(labels):
            raise ValueError(f"`num_neighbors` must lie between 1 and {len(labels)}, got {num_neighbors}.")
        values = adjacency(torch.as_tensor(values, dtype=torch.float32)[None], num_neighbors)[0].numpy()
    if values.shape != (len(labels), len(labels)) or not np.isin(values, (0, 1)).all():
        raise ValueError(
            "A graph must be a square matrix of 0 and 1. For AU features, pass `num_neighbors`, too; got the shape "
            f"{list(values.shape)}."
        )
    return values.astype(bool) & ~np.eye(len(labels), dtype=bool)


def _node_radii(in_degrees: NDArray[np.int64], largest: float) -> NDArray[np.float64]:
    """Radii in points; the area grows with the in-degree."""
    return largest * np.sqrt((1 + in_degrees) / (1 + in_degrees.max()))


def _draw_edges(
    axes: Axes,
    graph: NDArray[np.bool_],
    points: NDArray[np.float64],
    active: NDArray[np.bool_],
    radii: NDArray[np.float64],
    theme: Theme,
):
    both_ways = graph & graph.T
    for start, end in np.argwhere(graph):
        if both_ways[start, end] and start > end:
            continue
        is_mutual = both_ways[start, end]
        is_active = active[start] and active[end]
        axes.add_patch(
            FancyArrowPatch(
                points[start],
                points[end],
                arrowstyle="-" if is_mutual else "-|>",
                mutation_scale=5,
                shrinkA=radii[start],
                shrinkB=radii[end],
                linewidth=(1.4 if is_mutual else 0.6) * (1.4 if is_active else 1),
                color=theme.active if is_active else theme.muted,
                alpha=1 if is_active else 0.55,
                zorder=2 if is_active else 1,
            )
        )


def _legend(theme: Theme, has_experimental: bool) -> list[Line2D]:
    node = {"marker": "o", "linestyle": "none", "markersize": 5, "markeredgecolor": theme.muted}
    handles = [
        Line2D([], [], markerfacecolor=theme.active, label="active (bold)", **node),
        Line2D([], [], markerfacecolor=theme.background, label="not active", **node),
        Line2D([], [], color=theme.active, linewidth=1.8, label="between active AUs"),
        *graph_handles(theme),
    ]
    if has_experimental:
        handles.append(Line2D([], [], linestyle="none", label=EXPERIMENTAL_NOTE))
    return handles

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
"""Draw the results of the au-detection pipeline for a photo."""

import os
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import Normal, Stroke
from PIL import Image

from ..image_loading import ImageSource, load_image
from .attention import add_attention_bar, aligned_view, attention_peak, attention_shares, show_attention
from .style import (
    ACTIVE_MARK,
    EXPERIMENTAL_ACTIVE_MARK,
    EXPERIMENTAL_NOTE,
    HATCH,
    MEDIUM,
    PAGE_WIDTH,
    PNG_DPI,
    SMALL,
    Theme,
    ThemeName,
    active_mark,
    add_axes,
    au_title,
    check_path,
    experimental_mark,
    finish,
    get_theme,
    text_width,
    thresholds_by_label,
)


MAX_PHOTO_SIZE = 1200

# All lengths are in inches.
MARGIN = 0.12
# Narrower figures have one column.
MIN_TWO_COLUMNS = 5.0
MAX_PHOTO_HEIGHT = 3.4
TITLE_HEIGHT, AXIS_HEIGHT, NOTE_HEIGHT = 0.3, 0.42, 0.13
BAR_HEIGHT, MAX_LABELS_SHARE = 0.165, 0.55
MAP_TITLE_HEIGHT, MIN_MAP_SIZE, MAX_MAP_SIZE, BAR_WIDTH = 0.34, 1.2, 1.4, 0.55


@dataclass(frozen=True)
class _Place:
    """Position of a part of the figure, in inches from the upper left corner."""

    left: float
    top: float
    width: float
    height: float


def draw_faces(
    image: ImageSource,
    faces: list[dict[str, Any]],
    path: str | os.PathLike | None = None,
    *,
    thresholds: float | Sequence[float] | Mapping[str, float] | None = None,
    landmarks: bool = False,
    attention: bool = True,
    num_maps: int = 3,
    max_faces: int = 6,
    width: float = PAGE_WIDTH,
    theme: ThemeName | Theme = "light",
    dpi: int = PNG_DPI,
) -> Figure:
    """Draw a photo with its faces, their AUs and attention maps.

    Each face gets a bar per AU with its probability (active AUs bold and marked, experimental ones hollow, with a
    dagger), and, if the faces have attention maps (`return_attention=True`), the DDCA maps of its most probable AUs
    over the aligned face, and the mean of the same AUs' CDCA maps. Attention is given as a multiple of evenly spread
    attention, on one scale per face; [`draw_attention`] shows all AUs.

    Args:
        image: The photo, anything that [`load_image`] reads.
        faces: The result of the au-detection pipeline for it.
        path: Where to save the figure; its extension gives the format (".png", ".svg", ".pdf").
        thresholds: Lowest probability at which an AU is active, drawn as a tick on its bar: one for all AUs, one per
            AU in order, or by label. Pass the pipeline's; it doesn't change which AUs are shown as active.
        landmarks: Whether to draw the five landmarks of each face.
        attention: Whether to draw attention maps.
        num_maps: Number of AUs whose attention is shown.
        max_faces: Number of largest faces that get bars; all faces are marked in the photo.
        width: Width of the figure in inches; by default that of a journal page, 3.5 is one column.
        theme: "light", "dark" or "print" (black ink only).
        dpi: Resolution of a PNG.

    Returns:
        The figure.

    Raises:
        ImageLoadError: The photo can't be used.
        ValueError: An argument is invalid, or `landmarks` is set and the faces have none.
    """
    theme, _ = get_theme(theme), check_path(path)
    if num_maps < 1 or max_faces < 1:
        raise ValueError(f"num_maps and max_faces must be at least 1, got {num_maps} and {max_faces}.")
    if landmarks and any(face.get("landmarks") is None for face in faces):
        raise ValueError("`landmarks=True` needs faces with `landmarks`, which the au-detection pipeline returns.")
    photo = np.asarray(load_image(image))
    shown = faces[:max_faces]
    ticks = thresholds_by_label(thresholds, [au["label"] for au in shown[0]["aus"]] if shown else [])
    panels = [_panels(face, num_maps) if attention else [] for face in shown]
    height, photo_place, bar_places, map_places = _lay_out(photo.shape[0] / photo.shape[1], shown, panels, width)
    figure = theme.figure(width, height)
    _draw_photo(_axes_at(figure, photo_place), photo, faces, landmarks, theme)
    for number, (face, maps) in enumerate(zip(shown, panels, strict=True), start=1):
        _draw_bars(figure, bar_places[number - 1], face["aus"], f"Face {number}", ticks, theme)
        if maps:
            view = Image.fromarray(aligned_view(photo, face))
            _draw_maps(figure, map_places[number - 1], view, maps, theme)
    return finish(figure, theme, path, dpi)


def _panels(face: dict[str, Any], num_maps: int) -> list[tuple[str, np.ndarray]]:
    """Titles and attention maps `[height, width]`, each of which sums to 1."""
    aus = face["aus"]
    top = sorted(range(len(aus)), key=lambda index: -aus[index]["score"])[:num_maps]
    panels = []
    if "ddca_attention" in face:
        for index in top:
            state = "" if aus[index]["active"] else "\nnot active"
            title = f"DDCA {aus[index]['label']} ({aus[index]['score']:.2f}){state}"
            panels.append((title, face["ddca_attention"][index]))
    if "spatial_attention" in face:
        for index in top:
            shares = attention_shares(face["spatial_attention"][index])
            panels.append((f"Spatial {aus[index]['label']} ({aus[index]['score']:.2f})", shares))
    if "cdca_attention" in face:
        labels = textwrap.shorten(", ".join(aus[index]["label"] for index in sorted(top)), 22, placeholder=" ...")
        panels.append((f"CDCA, mean of\n{labels}", face["cdca_attention"][top].mean(axis=0)))
    return panels


def _bars_height(face: dict[str, Any]) -> float:
    note = NOTE_HEIGHT * any(au.get("experimental") for au in face["aus"])
    # The block is at least six AUs high: with fewer AUs, the bars would become too thick.
    return TITLE_HEIGHT + BAR_HEIGHT * max(6, len(face["aus"])) + AXIS_HEIGHT + note


def _map_grid(num_maps: int, width: float) -> tuple[int, float]:
    """Number of maps in a row, and their side."""
    columns = max(1, min(num_maps, int((width - BAR_WIDTH) // (MIN_MAP_SIZE + MARGIN))))
    return columns, min(MAX_MAP_SIZE, (width - BAR_WIDTH) / columns - MARGIN)


def _maps_height(panels: list, width: float) -> float:
    columns, side = _map_grid(len(panels), width)
    return -(-len(panels) // columns) * (MAP_TITLE_HEIGHT + side)


def _lay_out(
    ratio: float, faces: list[dict[str, Any]], panels: list[list], width: float
) -> tuple[float, _Place, list[_Place], list[_Place]]:
    """Computes the height of the figure and the positions of photo, bars and maps.

    With one column, all parts are stacked. With two, a single face has its bars beside the photo and its maps below
    both; several faces are below the photo, each with a row of bars and maps, or half a row without maps.

    Args:
        ratio: Height of the photo divided by its width.
        faces: The faces that get bars.
        panels: The attention maps of each face; empty if it has none.
        width: Width of the figure.
    """
    is_narrow = width < MIN_TWO_COLUMNS
    half = width - 2 * MARGIN if is_narrow else (width - 3 * MARGIN) / 2
    right = MARGIN if is_narrow else 2 * MARGIN + half
    top = MARGIN if faces else TITLE_HEIGHT
    is_single = len(faces) == 1 and not is_narrow
    photo_width = half if is_single else width - 2 * MARGIN
    photo_height = min(photo_width * ratio, MAX_PHOTO_HEIGHT)
    photo = _Place(MARGIN, top, photo_width, photo_height)
    if not faces:
        return top + photo_height + MARGIN, photo, [], []
    below = top + photo_height + MARGIN / 2
    if is_single:
        bars = _Place(right, 0, half, _bars_height(faces[0]))
        below = max(below, bars.height)
        maps = _Place(MARGIN, below, width - 2 * MARGIN, _maps_height(panels[0], width - 2 * MARGIN))
        return below + maps.height + MARGIN, photo, [bars], [maps]
    bar_places, map_places = [], []
    has_maps = any(panels)
    row_height = 0.0
    for number, (face, maps) in enumerate(zip(faces, panels, strict=True)):
        is_right = not is_narrow and not has_maps and number % 2 == 1
        if not is_right:
            below += row_height
            row_height = 0.0
        bars = _Place(right if is_right else MARGIN, below, half, _bars_height(face))
        beside = _Place(right, below + (bars.height if is_narrow else 0), half, _maps_height(maps, half))
        bar_places.append(bars)
        map_places.append(beside)
        row_height = max(row_height, bars.height, beside.top + beside.height - below + MARGIN * bool(maps))
    return below + row_height + MARGIN / 2, photo, bar_places, map_places


def _axes_at(figure: Figure, place: _Place) -> Axes:
    return add_axes(figure, place.left, place.top, place.width, place.height)


def _draw_photo(axes: Axes, photo: np.ndarray, faces: list[dict[str, Any]], landmarks: bool, theme: Theme) -> None:
    """Draw the photo `[height, width, 3]` with numbered boxes."""
    height, width = photo.shape[:2]
    preview = Image.fromarray(photo)
    preview.thumbnail((MAX_PHOTO_SIZE, MAX_PHOTO_SIZE))
    axes.imshow(preview, extent=(0, width, height, 0))
    axes.set_axis_off()
    if not faces:
        axes.set_title("No face found", fontsize=MEDIUM, fontweight="bold")
    # Converts points to pixels, so that the number stays inside the photo for a face at its edge.
    size_per_point = width / (72 * axes.get_position().width * axes.figure.get_size_inches()[0])
    # A light line with a dark outline: one of them stands out from any photo.
    outline = [Stroke(linewidth=3.2, foreground="#000000"), Normal()]
    for number, face in enumerate(faces, start=1):
        box = face["box"]
        corner, size = (box["xmin"], box["ymin"]), (box["xmax"] - box["xmin"], box["ymax"] - box["ymin"])
        axes.add_patch(Rectangle(corner, *size, fill=False, edgecolor="white", linewidth=1.6, path_effects=outline))
        axes.text(
            max(box["xmin"], 0),
            max(box["ymin"], 11 * size_per_point),
            str(number),
            color="black",
            fontsize=SMALL,
            fontweight="bold",
            verticalalignment="bottom",
            bbox={"facecolor": "white", "edgecolor": "black", "linewidth": 0.8, "pad": 1.5},
        )
        if landmarks and face["landmarks"] is not None:
            x, y = np.asarray(face["landmarks"], dtype=float).T
            axes.scatter(x, y, s=7, facecolor="white", edgecolor="black", linewidth=0.7, zorder=3)


def _draw_bars(
    figure: Figure, place: _Place, aus: list[dict[str, Any]], title: str, ticks: Mapping[str, float], theme: Theme
) -> None:
    """Draw one bar per AU, in the order given from top to bottom."""
    labels = [_bar_label(au) for au in aus]
    labels_width = max(text_width(label, SMALL) for label in labels) + 0.08
    if labels_width > MAX_LABELS_SHARE * place.width:
        labels = [f"{au['label']}{experimental_mark(au)}" for au in aus]
        labels_width = max(text_width(label, SMALL) for label in labels) + 0.08
    has_experimental = any(au.get("experimental") for au in aus)
    bars_height = place.height - TITLE_HEIGHT - AXIS_HEIGHT - NOTE_HEIGHT * has_experimental
    axes = add_axes(
        figure, place.left + labels_width, place.top + TITLE_HEIGHT, place.width - labels_width, bars_height
    )
    positions = np.arange(len(aus))
    for position, au in zip(positions, aus, strict=True):
        _draw_bar(axes, position, au, 0.7 * min(1, len(aus) / 6), ticks.get(au["label"]), theme)
    axes.set_yticks(positions, labels, fontsize=SMALL)
    for au, text in zip(aus, axes.get_yticklabels(), strict=True):
        text.set_fontweight("bold" if au["active"] else "normal")
    axes.set_ylim(len(aus) - 0.4, -0.6)
    # Space for the numbers after a full bar.
    room = 0.34 / (place.width - labels_width - 0.34)
    axes.set_xlim(0, 1 + room)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", ".25", ".5", ".75", "1"], fontsize=SMALL)
    # The legend is the widest text: it starts below the labels, so that it fits.
    axes.annotate(
        _bars_legend(aus, ticks),
        (-labels_width / (place.width - labels_width), 0),
        xycoords="axes fraction",
        xytext=(0, -14),
        textcoords="offset points",
        va="top",
        fontsize=SMALL,
        color=theme.ink,
        gid="legend",
    )
    axes.set_title(title, loc="left", fontsize=MEDIUM, fontweight="bold", pad=4)
    axes.grid(axis="x", color=theme.faint, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, pad=2)
    axes.spines[["top", "right", "bottom"]].set_visible(False)


def _bar_label(au: dict[str, Any]) -> str:
    title = au_title(au["label"], au["name"])
    return title.replace(au["label"], au["label"] + experimental_mark(au), 1)


def _draw_bar(
    axes: Axes, position: int, au: dict[str, Any], height: float, threshold: float | None, theme: Theme
) -> None:
    color = theme.active if au["active"] else theme.inactive
    is_hollow = bool(au.get("experimental"))
    axes.barh(
        position,
        au["score"],
        height=height,
        facecolor=theme.background if is_hollow else color,
        edgecolor=theme.active if au["active"] else theme.muted,
        hatch=HATCH if is_hollow and au["active"] else "",
        linewidth=0.7,
    )
    weight = "bold" if au["active"] else "normal"
    at = au["score"]
    if threshold is not None:
        axes.vlines(threshold, position - 0.45, position + 0.45, color=theme.alert, linewidth=1.1, zorder=3)
        # A tick that would cross the number: the number goes to the right of it.
        if at <= threshold < at + 0.2:
            at = threshold
    axes.annotate(
        f"{au['score']:.2f}{active_mark(au)}",
        (at, position),
        xytext=(2.5, 0),
        textcoords="offset points",
        va="center",
        fontsize=SMALL - 0.5,
        fontweight=weight,
        color=theme.ink,
    )


def _bars_legend(aus: list[dict[str, Any]], ticks: Mapping[str, float]) -> str:
    has_experimental = any(au.get("experimental") for au in aus)
    marks = [f"{ACTIVE_MARK} {EXPERIMENTAL_ACTIVE_MARK} active" if has_experimental else f"{ACTIVE_MARK} active"]
    marks += ["| threshold"] if ticks else []
    return f"Probability ({', '.join(marks)})" + (f"\n{EXPERIMENTAL_NOTE}" if has_experimental else "")


def _draw_maps(
    figure: Figure, place: _Place, view: Image.Image, panels: list[tuple[str, np.ndarray]], theme: Theme
) -> None:
    """Draw attention maps over `view`, the face as the network saw it."""
    peak = attention_peak(values for _, values in panels)
    columns, side = _map_grid(len(panels), place.width)
    for index, (title, values) in enumerate(panels):
        line, column = divmod(index, columns)
        top = place.top + MAP_TITLE_HEIGHT + line * (side + MAP_TITLE_HEIGHT)
        axes = add_axes(figure, place.left + column * (side + MARGIN), top, side, side)
        heat = show_attention(axes, view, values, peak, theme)
        axes.set_title(title, fontsize=SMALL, pad=3)
    bar_left = place.left + columns * (side + MARGIN)
    cax = add_axes(figure, bar_left, place.top + MAP_TITLE_HEIGHT, 0.08, side)
    add_attention_bar(figure, heat, theme, cax=cax)

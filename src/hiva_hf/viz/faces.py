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
"""Draw what the au-detection pipeline found in a photo."""

import os
import textwrap
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import Normal, Stroke
from matplotlib.ticker import MaxNLocator
from PIL import Image

from ..face_alignment import warp_face
from ..image_loading import ImageSource, load_image


# Okabe and Ito's blue, which every kind of colour vision tells from grey; active AUs are also bold and marked.
ACTIVE_COLOR = "#0072B2"
INACTIVE_COLOR = "#D9D9D9"
EDGE_COLOR = "#595959"
# More attention is darker, in a print without colour too; where there is none the face shows.
HEAT = ListedColormap([(*colormaps["YlOrRd"](step)[:3], 0.7 * step**0.7) for step in np.linspace(0, 1, 256)])
VIEW_SIZE = 224
MAX_PHOTO_SIZE = 1200

# All lengths in inches.
MARGIN = 0.15
PHOTO_WIDTH, MAX_PHOTO_HEIGHT = 4.2, 5.0
TITLE_HEIGHT, AXIS_HEIGHT = 0.4, 0.5
LABELS_WIDTH, BARS_WIDTH, BAR_HEIGHT = 2.2, 2.3, 0.21
MAP_SIZE, COLORBAR_WIDTH = 1.75, 0.8
MAPS_PER_LINE = 2


def draw_faces(
    image: ImageSource,
    faces: list[dict[str, Any]],
    path: str | os.PathLike | None = None,
    *,
    attention: bool = True,
    num_maps: int = 3,
    max_faces: int = 6,
    dpi: int = 150,
) -> Figure:
    """Draw a photo with its faces, their AUs and where the network looked.

    Each face gets a row: a bar per AU with its probability (active AUs bold and marked), and, if the faces come with
    attention maps (`return_attention=True`), the DDCA maps of its most probable AUs over the aligned face, and the
    mean of the same AUs' CDCA maps. Attention is a multiple of what evenly spread attention would be, on one scale
    per face.

    Args:
        image: The photo, anything that [`load_image`] reads.
        faces: What the au-detection pipeline returned for it.
        path: Where to save the picture; the ending tells the format (".png", ".pdf", ".svg").
        attention: Whether to draw attention maps.
        num_maps: Number of AUs whose attention is shown.
        max_faces: Rows are drawn for this many of the largest faces; all faces are marked in the photo.
        dpi: Resolution of the saved picture.

    Returns:
        The figure.

    Raises:
        ImageLoadError: The photo cannot be used.
        ValueError: `num_maps` or `max_faces` is below 1.
    """
    if num_maps < 1 or max_faces < 1:
        raise ValueError(f"num_maps and max_faces must be at least 1, got {num_maps} and {max_faces}.")
    photo = np.asarray(load_image(image))
    rows = faces[:max_faces]
    panels = [_panels(face, num_maps) if attention else [] for face in rows]
    heights = [_row_height(face, maps) for face, maps in zip(rows, panels, strict=True)]
    figure, photo_axes, left, top = _lay_out(photo, heights, with_maps=any(panels))
    _draw_photo(photo_axes, photo, faces)
    for number, (face, maps, height) in enumerate(zip(rows, panels, heights, strict=True), start=1):
        bars_height = height - TITLE_HEIGHT - AXIS_HEIGHT
        bars = _add_axes(figure, left + LABELS_WIDTH, top + TITLE_HEIGHT, BARS_WIDTH, bars_height)
        _draw_bars(bars, face["aus"], f"Face {number}")
        if maps:
            view = warp_face(photo, face["view_matrix"] * VIEW_SIZE, VIEW_SIZE)
            _draw_maps(figure, left + LABELS_WIDTH + BARS_WIDTH + 2 * MARGIN, top, view, maps)
        top += height
    if path is not None:
        figure.savefig(path, dpi=dpi)
    return figure


def _panels(face: dict[str, Any], num_maps: int) -> list[tuple[str, np.ndarray]]:
    """Titles and attention maps `[height, width]`, as multiples of evenly spread attention."""
    aus = face["aus"]
    top = sorted(range(len(aus)), key=lambda index: -aus[index]["score"])[:num_maps]
    panels = []
    if "ddca_attention" in face:
        for index in top:
            state = "" if aus[index]["active"] else ", not active"
            title = f"DDCA {aus[index]['label']} ({aus[index]['score']:.2f}{state})"
            panels.append((title, face["ddca_attention"][index]))
    if "cdca_attention" in face:
        labels = textwrap.shorten(", ".join(aus[index]["label"] for index in sorted(top)), 26, placeholder=" ...")
        panels.append((f"CDCA, mean of\n{labels}", face["cdca_attention"][top].mean(axis=0)))
    return [(title, values * values.size) for title, values in panels]


def _row_height(face: dict[str, Any], panels: list[tuple[str, np.ndarray]]) -> float:
    lines = -(-len(panels) // MAPS_PER_LINE)
    bars_height = TITLE_HEIGHT + BAR_HEIGHT * len(face["aus"]) + AXIS_HEIGHT
    return max(bars_height, lines * (TITLE_HEIGHT + MAP_SIZE) + MARGIN)


def _lay_out(photo: np.ndarray, heights: list[float], with_maps: bool) -> tuple[Figure, Axes, float, float]:
    """Put a single face beside the photo, and several below it.

    Args:
        photo: Array `[height, width, 3]`.
        heights: The height of each face's row.
        with_maps: Whether any face has attention maps.

    Returns:
        The figure, the axes of the photo, and the left and the top of the rows.
    """
    ratio = photo.shape[0] / photo.shape[1]
    maps_width = MAPS_PER_LINE * (MAP_SIZE + MARGIN) + COLORBAR_WIDTH + MARGIN if with_maps else 0
    row_width = LABELS_WIDTH + BARS_WIDTH + 2 * MARGIN + maps_width
    if len(heights) < 2:
        photo_height = min(PHOTO_WIDTH * ratio, MAX_PHOTO_HEIGHT)
        left = PHOTO_WIDTH + 2 * MARGIN
        width = left + row_width if heights else left
        # Without a face there is a title instead.
        top = 0.0 if heights else TITLE_HEIGHT
        figure = Figure(figsize=(width, max([photo_height + top + 2 * MARGIN, *heights])))
        return figure, _add_axes(figure, MARGIN, top + MARGIN, PHOTO_WIDTH, photo_height), left, top
    photo_height = min((row_width - 2 * MARGIN) * ratio, MAX_PHOTO_HEIGHT)
    top = photo_height + 2 * MARGIN
    figure = Figure(figsize=(row_width, top + sum(heights)))
    return figure, _add_axes(figure, MARGIN, MARGIN, row_width - 2 * MARGIN, photo_height), 0.0, top


def _add_axes(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Add axes by inches from the figure's upper left corner."""
    full_width, full_height = figure.get_size_inches()
    return figure.add_axes(
        (left / full_width, 1 - (top + height) / full_height, width / full_width, height / full_height)
    )


def _draw_photo(axes: Axes, photo: np.ndarray, faces: list[dict[str, Any]]) -> None:
    """Draw the photo `[height, width, 3]` with numbered boxes."""
    height, width = photo.shape[:2]
    preview = Image.fromarray(photo)
    preview.thumbnail((MAX_PHOTO_SIZE, MAX_PHOTO_SIZE))
    axes.imshow(preview, extent=(0, width, height, 0))
    axes.set_axis_off()
    if not faces:
        axes.set_title("No face found", fontsize=11, fontweight="bold")
    outline = [Stroke(linewidth=4, foreground="white"), Normal()]
    for number, face in enumerate(faces, start=1):
        box = face["box"]
        corner, size = (box["xmin"], box["ymin"]), (box["xmax"] - box["xmin"], box["ymax"] - box["ymin"])
        axes.add_patch(Rectangle(corner, *size, fill=False, edgecolor=ACTIVE_COLOR, linewidth=2, path_effects=outline))
        axes.annotate(
            str(number),
            corner,
            color="white",
            fontsize=10,
            fontweight="bold",
            verticalalignment="bottom",
            bbox={"facecolor": ACTIVE_COLOR, "edgecolor": "white", "pad": 2},
        )


def _draw_bars(axes: Axes, aus: list[dict[str, Any]], title: str) -> None:
    """Draw one bar per AU, in the order given from top to bottom."""
    positions = np.arange(len(aus))
    active = [au["active"] for au in aus]
    axes.barh(
        positions,
        [au["score"] for au in aus],
        # A few AUs have room for bars that would look clumsy.
        height=0.72 * min(1, len(aus) / 12),
        color=[ACTIVE_COLOR if on else INACTIVE_COLOR for on in active],
        edgecolor=[ACTIVE_COLOR if on else EDGE_COLOR for on in active],
        linewidth=0.6,
    )
    labels = [au["label"] if au["name"] == au["label"] else f"{au['label']}  {au['name']}" for au in aus]
    axes.set_yticks(positions, labels, fontsize=8.5)
    for au, text, position in zip(aus, axes.get_yticklabels(), positions, strict=True):
        weight = "bold" if au["active"] else "normal"
        text.set_fontweight(weight)
        mark = " \N{BLACK CIRCLE}" if au["active"] else ""
        axes.text(au["score"] + 0.015, position, f"{au['score']:.2f}{mark}", va="center", fontsize=8, weight=weight)
    axes.set_ylim(len(aus) - 0.4, -0.6)
    axes.set_xlim(0, 1.22)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", ".25", ".5", ".75", "1"], fontsize=8)
    axes.set_xlabel("Probability (\N{BLACK CIRCLE} active)", fontsize=8.5)
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold")
    axes.grid(axis="x", color="#E8E8E8", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    axes.spines[["top", "right", "bottom"]].set_visible(False)


def _draw_maps(
    figure: Figure, left: float, top: float, view: np.ndarray, panels: list[tuple[str, np.ndarray]]
) -> None:
    """Draw attention maps over `view`, the face as the network saw it, `[VIEW_SIZE, VIEW_SIZE, 3]`."""
    grey = Image.fromarray(view).convert("L")
    # Attention without any focus must not look as if it had one.
    scale = max(2.0, *(values.max() for _, values in panels))
    for index, (title, values) in enumerate(panels):
        line, column = divmod(index, MAPS_PER_LINE)
        map_top = top + TITLE_HEIGHT + line * (MAP_SIZE + TITLE_HEIGHT)
        axes = _add_axes(figure, left + column * (MAP_SIZE + MARGIN), map_top, MAP_SIZE, MAP_SIZE)
        axes.imshow(grey, cmap="gray", vmin=0, vmax=255, extent=(0, 1, 1, 0))
        heat = axes.imshow(
            values,
            cmap=HEAT,
            vmin=0,
            vmax=scale,
            extent=(0, 1, 1, 0),
            interpolation="bicubic",
            interpolation_stage="data",
        )
        axes.set_title(title, fontsize=8.5, pad=4)
        axes.set_axis_off()
    bar_left = left + min(len(panels), MAPS_PER_LINE) * (MAP_SIZE + MARGIN)
    bar = figure.colorbar(heat, cax=_add_axes(figure, bar_left, top + TITLE_HEIGHT, 0.1, MAP_SIZE))
    bar.locator = MaxNLocator(5)
    bar.set_label("Attention (1 = evenly spread)", fontsize=8)
    bar.ax.tick_params(labelsize=8)

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
"""Draw DDCA and CDCA attention maps over the aligned face."""

import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colorbar import Colorbar
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from PIL import Image

from ..face_alignment import warp_face
from ..image_loading import ImageSource, load_image
from .style import (
    EXPERIMENTAL_NOTE,
    PAGE_WIDTH,
    PNG_DPI,
    SMALL,
    Theme,
    ThemeName,
    active_mark,
    add_axes,
    check_path,
    chosen_labels,
    experimental_mark,
    finish,
    fitting_text,
    get_theme,
)


VIEW_SIZE = 224
KINDS = {"ddca": "DDCA: on the\nAU's own map", "cdca": "CDCA: on the\nwhole face's map"}
# Inches.
MAP_SIZE, MAX_MAP_SIZE, GAP, CELL_GAP, MARGIN = 0.9, 1.3, 0.05, 0.14, 0.12
TITLE_HEIGHT, BAR_LENGTH, BAR_HEIGHT, FOOTER_HEIGHT, NOTE_HEIGHT = 0.36, 2.2, 0.08, 0.55, 0.2
MIN_WIDTH = 2.6


def draw_attention(
    image: ImageSource,
    face: dict[str, Any],
    aus: Sequence[str | int] | None = None,
    path: str | os.PathLike | None = None,
    *,
    kinds: Sequence[str] = ("ddca", "cdca"),
    width: float = PAGE_WIDTH,
    theme: ThemeName | Theme = "light",
    dpi: int = PNG_DPI,
) -> Figure:
    """Draw the attention of each AU's description over the aligned face.

    DDCA maps show the attention to the AU's own feature map, CDCA maps that to the feature map of the whole face.
    Attention is given as a multiple of evenly spread attention, on one scale for all maps. The first cell shows the
    face alone.

    Args:
        image: The photo, anything that [`load_image`] reads.
        face: One face from the au-detection pipeline, called with `return_attention=True`.
        aus: The AUs to show and their order, as labels or numbers; all by default.
        path: Where to save the figure; its extension gives the format (".png", ".svg", ".pdf").
        kinds: "ddca", "cdca" or both; a kind that the model does not have is omitted.
        width: Largest width of the figure in inches; by default that of a journal page, 3.5 is one column.
        theme: "light", "dark" or "print" (black ink only).
        dpi: Resolution of a PNG.

    Returns:
        The figure.

    Raises:
        ImageLoadError: The photo can't be used.
        ValueError: The face has no attention maps, or an argument is invalid.
    """
    theme, _ = get_theme(theme), check_path(path)
    kinds = _kinds_of(face, kinds)
    labels = [au["label"] for au in face["aus"]]
    rows = [labels.index(label) for label in chosen_labels(aus, labels)]
    shown = [face["aus"][row] for row in rows]
    maps = [[np.asarray(face[f"{kind}_attention"][row]) for kind in kinds] for row in rows]
    peak = attention_peak(values for pair in maps for values in pair)
    view = Image.fromarray(aligned_view(np.asarray(load_image(image)), face))

    columns, side = _grid(len(rows) + 1, len(kinds), width)
    cell_width = len(kinds) * (side + GAP) - GAP
    grid_height = -(-(len(rows) + 1) // columns) * (side + TITLE_HEIGHT)
    note = EXPERIMENTAL_NOTE if any(au.get("experimental") for au in shown) else ""
    figure = theme.figure(
        max(MIN_WIDTH, 2 * MARGIN + columns * (cell_width + CELL_GAP) - CELL_GAP),
        MARGIN + grid_height + FOOTER_HEIGHT + NOTE_HEIGHT * bool(note),
    )
    for number in range(len(rows) + 1):
        line, column = divmod(number, columns)
        left = MARGIN + column * (cell_width + CELL_GAP)
        top = MARGIN + line * (side + TITLE_HEIGHT) + TITLE_HEIGHT - 0.05
        cell = [add_axes(figure, left + place * (side + GAP), top, side, side) for place in range(len(kinds))]
        if number == 0:
            _draw_key(cell, view, kinds, theme)
            continue
        for axes, kind, values in zip(cell, kinds, maps[number - 1], strict=True):
            heat = show_attention(axes, view, values, peak, theme)
            axes.set_gid(f"{kind} {shown[number - 1]['label']}")
        _add_title(cell[0], shown[number - 1], cell_width)
    bar_top = MARGIN + grid_height + 0.1
    add_attention_bar(figure, heat, theme, cax=add_axes(figure, MARGIN, bar_top, BAR_LENGTH, BAR_HEIGHT))
    if note:
        y = (0.4 * NOTE_HEIGHT) / figure.get_size_inches()[1]
        figure.text(MARGIN / figure.get_size_inches()[0], y, note, fontsize=SMALL, va="bottom")
    return finish(figure, theme, path, dpi)


def aligned_view(photo: NDArray[np.uint8], face: dict[str, Any]) -> NDArray[np.uint8]:
    """The aligned face that the network saw, `[VIEW_SIZE, VIEW_SIZE, 3]`, from the photo `[height, width, 3]`."""
    return warp_face(photo, face["view_matrix"] * VIEW_SIZE, VIEW_SIZE)


def attention_peak(maps: Iterable[NDArray[np.floating]]) -> float:
    """The end of the scale: the largest multiple of evenly spread attention in maps that each sum to 1.

    It is at least 2, so that attention without focus does not appear focused.
    """
    return max(2.0, *(float(values.max()) * values.size for values in maps))


def attention_shares(weights: NDArray[np.floating]) -> NDArray[np.floating]:
    """Scales maps `[..., h, w]` to sum to 1 each, which those of a VL-FAU don't: each of their weights is up to 1."""
    return weights / weights.sum(axis=(-2, -1), keepdims=True)


def show_attention(
    axes: Axes, view: Image.Image, values: NDArray[np.floating], peak: float, theme: Theme
) -> AxesImage:
    """Draws a map `[h, w]`, which sums to 1, over the face in grey."""
    low, high = (255 * level for level in theme.face_range)
    grey = np.asarray(view.convert("L"), dtype=np.float32)
    paled = low + grey * (high - low) / 255
    axes.imshow(paled.round().astype(np.uint8), cmap="gray", vmin=0, vmax=255, extent=(0, 1, 1, 0))
    heat = axes.imshow(
        values * values.size,
        cmap=theme.heat,
        vmin=0,
        vmax=peak,
        extent=(0, 1, 1, 0),
        interpolation="bicubic",
        interpolation_stage="data",
    )
    axes.set_axis_off()
    return heat


def add_attention_bar(figure: Figure, heat: AxesImage, theme: Theme, **place: Any) -> Colorbar:
    """Adds the colour bar of `show_attention`; `place` goes to `Figure.colorbar` (`cax`, or `ax` and `shrink`)."""
    cax = place.get("cax")
    is_wide = cax is not None and cax.get_position().width * figure.get_size_inches()[0] > 1
    bar = figure.colorbar(heat, orientation="horizontal" if is_wide else "vertical", **place)
    bar.locator = MaxNLocator(5)
    bar.set_label("Attention (1 = evenly spread)", fontsize=SMALL, labelpad=2)
    bar.ax.tick_params(labelsize=SMALL, length=2, pad=2)
    # A grey background, like the face that shows through where there is little attention.
    bar.solids.set_zorder(1)
    bar.ax.axvspan(*bar.ax.get_xlim(), color=str(0.6 * theme.face_range[1] + 0.4 * theme.face_range[0]), zorder=0)
    return bar


def _kinds_of(face: dict[str, Any], kinds: Sequence[str]) -> list[str]:
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        raise ValueError(f"`kinds` may contain 'ddca' and 'cdca', got {unknown[0]!r}.")
    found = [kind for kind in kinds if f"{kind}_attention" in face]
    if not found and "spatial_attention" in face:
        raise ValueError("The maps of a VL-FAU belong to no description: use `draw_faces` to draw them.")
    if not found:
        raise ValueError(
            f"The face has no maps of {' or '.join(kinds) or 'any kind'}: call the pipeline with "
            "`return_attention=True`. Some models lack one kind or both."
        )
    return found


def _grid(num_cells: int, num_kinds: int, width: float) -> tuple[int, float]:
    """Number of cells in a row, and the side of a map, such that the rows fill the width."""
    usable = width - 2 * MARGIN + CELL_GAP
    columns = min(num_cells, max(1, round(usable / (num_kinds * (MAP_SIZE + GAP) + CELL_GAP))))
    side = ((usable / columns) - CELL_GAP + GAP) / num_kinds - GAP
    return columns, min(MAX_MAP_SIZE, side)


def _draw_key(cell: list[Axes], view: Image.Image, kinds: Sequence[str], theme: Theme):
    """Draws the first cell: the face, and beside it what the left and right maps of the other cells show."""
    cell[0].imshow(view, extent=(0, 1, 1, 0))
    cell[0].set_title("The face", fontsize=SMALL, pad=3, loc="left")
    for axes in cell:
        axes.set_axis_off()
    if len(kinds) == 1:
        return
    left, right = (KINDS[kind] for kind in kinds)
    text = f"left\n{left}\n\nright\n{right}"
    cell[1].text(0.06, 0.5, text, fontsize=SMALL - 0.5, va="center", color=theme.ink, transform=cell[1].transAxes)


def _add_title(axes: Axes, au: dict[str, Any], width: float):
    """Adds label, probability and mark, and below them the name, shortened to fit."""
    first = f"{au['label']}{experimental_mark(au)}  {au['score']:.2f}{active_mark(au)}"
    name = "" if au["name"] == au["label"] else fitting_text(au["name"], SMALL, width)
    axes.set_title(
        f"{first}\n{name}", fontsize=SMALL, pad=3, loc="left", fontweight="bold" if au["active"] else "normal"
    )

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
"""Shared by all figures: colours, sizes, names of AUs, layout and saving.

Colours are Okabe and Ito's, which people with any kind of colour vision can distinguish; every colour is paired with a
mark, a hatch or a word, so that figures also work in greyscale. Sizes are in inches and points at the printed size.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal

import matplotlib
import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, ListedColormap
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath

from ..facs import au_name


ThemeName = Literal["light", "dark", "print"]

# The widths of one and of two columns of a journal.
COLUMN_WIDTH, PAGE_WIDTH = 3.5, 7.2
TINY, SMALL, MEDIUM = 5.5, 7, 8.5
PNG_DPI = 200
ENDINGS = (".png", ".svg", ".pdf")
ACTIVE_MARK, EXPERIMENTAL_ACTIVE_MARK, EXPERIMENTAL_MARK = "\N{BLACK CIRCLE}", "\N{WHITE CIRCLE}", "\N{DAGGER}"
EXPERIMENTAL_NOTE = f"{EXPERIMENTAL_MARK} experimental: unreliable on real photos"
HATCH = "//////"


def _see_through(name: str, strongest: float) -> ListedColormap:
    """A colour map to overlay on a face: larger values are darker and less transparent; 0 is fully transparent.

    The lightest third is omitted: it would lighten the face.
    """
    steps = np.linspace(0, 1, 256)
    return ListedColormap([(*colormaps[name](0.33 + 0.67 * step)[:3], strongest * step**0.7) for step in steps])


@dataclass(frozen=True)
class Theme:
    """The colours of a figure.

    Attributes:
        name: Name by which functions take it.
        background: Background of the figure.
        ink: Text and important marks.
        muted: Secondary text, edges and axes; still readable.
        faint: Grid lines and other aids to orientation.
        active: Active AUs.
        inactive: Fill of inactive AUs.
        alert: Thresholds, errors and losses.
        heat: Colour map of attention over a grey face.
        face_range: Grey levels, 0 to 1, to which black and white of a face under attention are mapped.
        similarity: Colour map of similarity matrices.
    """

    name: str
    background: str
    ink: str
    muted: str
    faint: str
    active: str
    inactive: str
    alert: str
    heat: Colormap
    face_range: tuple[float, float]
    similarity: str

    def figure(self, width: float, height: float, layout: str | None = None) -> Figure:
        """An empty figure of `width` x `height` inches."""
        return Figure(figsize=(width, height), facecolor=self.background, layout=layout)

    def apply(self, figure: Figure):
        """Gives the axes, ticks, titles and legends of a figure this theme's colours.

        Matplotlib's global settings are not used, since other threads and the user's own style change them.
        """
        figure.patch.set_facecolor(self.background)
        for text in filter(None, (figure._suptitle, *figure.texts)):
            text.set_color(self.ink)
        for axes in figure.axes:
            axes.patch.set_facecolor(self.background)
            axes.tick_params(which="both", color=self.muted, labelcolor=self.ink)
            for spine in axes.spines.values():
                spine.set_edgecolor(self.muted)
            for text in (axes.title, axes._left_title, axes._right_title, axes.xaxis.label, axes.yaxis.label):
                text.set_color(self.ink)
        for legend in [*figure.legends, *(axes.get_legend() for axes in figure.axes)]:
            if legend is not None:
                for text in (*legend.get_texts(), legend.get_title()):
                    text.set_color(self.ink)


THEMES = {
    theme.name: theme
    for theme in (
        Theme(
            "light",
            background="#FFFFFF",
            ink="#1A1A1A",
            muted="#595959",
            faint="#E4E4E4",
            active="#0072B2",
            inactive="#D9D9D9",
            alert="#D55E00",
            heat=_see_through("YlOrRd", 0.7),
            face_range=(0.0, 1.0),
            similarity="cividis",
        ),
        Theme(
            "dark",
            background="#15181C",
            ink="#F2F2F2",
            muted="#A6ACB3",
            faint="#343A40",
            active="#56B4E9",
            inactive="#4A5058",
            alert="#E69F00",
            heat=_see_through("YlOrRd", 0.7),
            face_range=(0.0, 1.0),
            similarity="cividis",
        ),
        # Black ink only. Faces are lightened, so that dark areas are attention.
        Theme(
            "print",
            background="#FFFFFF",
            ink="#000000",
            muted="#4D4D4D",
            faint="#C8C8C8",
            active="#333333",
            inactive="#FFFFFF",
            alert="#000000",
            heat=_see_through("Greys", 0.85),
            face_range=(0.6, 1.0),
            similarity="Greys",
        ),
    )
}


def get_theme(theme: ThemeName | Theme) -> Theme:
    """Looks up a theme by its name.

    Raises:
        ValueError: If the name is unknown.
    """
    if isinstance(theme, Theme):
        return theme
    if theme not in THEMES:
        raise ValueError(f"`theme` must be one of {', '.join(map(repr, THEMES))}, got {theme!r}.")
    return THEMES[theme]


def finish(figure: Figure, theme: Theme, path: str | os.PathLike | None, dpi: int) -> Figure:
    """Colours a figure and saves it if there is a path."""
    theme.apply(figure)
    if path is not None:
        write_figure(figure, path, dpi)
    return figure


def write_figure(figure: Figure, path: str | os.PathLike, dpi: int = PNG_DPI) -> Path:
    """Saves a figure in the format given by the path's extension. Creates folders; text in a PDF stays text."""
    path = check_path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context({"pdf.fonttype": 42}):
        figure.savefig(path, dpi=dpi)
    return path


def check_path(path: str | os.PathLike | None) -> Path | None:
    """Checks the extension of a path; called before anything is drawn.

    Raises:
        ValueError: If the extension is not one of `ENDINGS`.
    """
    if path is None:
        return None
    if Path(path).suffix.lower() not in ENDINGS:
        raise ValueError(f"The extension of `path` must be one of {', '.join(ENDINGS)}, got {str(path)!r}.")
    return Path(path)


def add_axes(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Adds axes at a position in inches from the figure's upper left corner."""
    full_width, full_height = figure.get_size_inches()
    return figure.add_axes(
        (left / full_width, 1 - (top + height) / full_height, width / full_width, height / full_height)
    )


def text_width(text: str, size: float) -> float:
    """The width of a line of bold text of `size` points, in inches, before there is a figure to measure it in."""
    path = TextPath((0, 0), text, size=size, prop=FontProperties(weight="bold"))
    return float(path.get_extents().x1) / 72 if text.strip() else 0.0


def fitting_text(text: str, size: float, width: float) -> str:
    """The text, shortened with an ellipsis if it is wider than `width` inches."""
    if text_width(text, size) <= width:
        return text
    while text and text_width(text + "\N{HORIZONTAL ELLIPSIS}", size) > width:
        text = text[:-1].rstrip()
    return text + "\N{HORIZONTAL ELLIPSIS}"


def active_mark(au: Mapping[str, Any]) -> str:
    """The mark after the probability of an active AU of the pipeline: a filled dot, hollow if experimental."""
    if not au["active"]:
        return ""
    return f" {EXPERIMENTAL_ACTIVE_MARK if au.get('experimental') else ACTIVE_MARK}"


def experimental_mark(au: Mapping[str, Any]) -> str:
    """The mark after the label of an experimental AU."""
    return EXPERIMENTAL_MARK if au.get("experimental") else ""


def au_title(label: str, name: str | None = None) -> str:
    """An AU with its name, such as "AU12  Lip Corner Puller"; only the label if it is no known AU."""
    name = au_name(label) if name is None else name
    return label if name == label else f"{label}  {name}"


def thresholds_by_label(
    thresholds: float | Sequence[float] | Mapping[str, float] | None, labels: Sequence[str]
) -> dict[str, float]:
    """Thresholds by label, from one for all AUs, a list in order, or a dict, which may omit labels.

    Raises:
        ValueError: If their number is wrong, one does not lie between 0 and 1, or an AU is unknown.
    """
    if thresholds is None:
        return {}
    if isinstance(thresholds, Mapping):
        if unknown := sorted(thresholds.keys() - set(labels)):
            raise ValueError(f"`thresholds` has unknown AUs: {unknown}. There are {list(labels)}.")
        named = dict(thresholds)
    elif isinstance(thresholds, Real):
        named = dict.fromkeys(labels, thresholds)
    else:
        if len(thresholds) != len(labels):
            raise ValueError(f"`thresholds` has {len(thresholds)} entries for {len(labels)} AUs.")
        named = dict(zip(labels, thresholds, strict=True))
    for label, value in named.items():
        if not 0 <= value <= 1:
            raise ValueError(f"`thresholds` must lie between 0 and 1, got {value!r} for {label}.")
    return {label: float(value) for label, value in named.items()}


def chosen_labels(aus: Sequence[str | int] | None, labels: Sequence[str]) -> list[str]:
    """The labels to show, in the order of `aus`, which may also contain numbers (12 for "AU12"); all by default.

    Raises:
        ValueError: If an AU is unknown, or `aus` is empty.
    """
    if aus is None:
        return list(labels)
    named = [f"AU{au}" if isinstance(au, Integral) else str(au) for au in aus]
    if unknown := [label for label in named if label not in labels]:
        raise ValueError(f"`aus` has unknown AUs: {unknown}. There are {', '.join(labels)}.")
    if not named:
        raise ValueError("`aus` is empty; omit it to show all AUs.")
    return named

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
"""Draw the test scores of a detector, AU by AU."""

import os
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from .style import (
    COLUMN_WIDTH,
    MEDIUM,
    PAGE_WIDTH,
    PNG_DPI,
    SMALL,
    Theme,
    ThemeName,
    add_axes,
    au_title,
    check_path,
    finish,
    get_theme,
)


# In inches.
ROW_HEIGHT, LABEL_WIDTH, TITLE_HEIGHT, LEGEND_HEIGHT, RIGHT_MARGIN = 0.19, 1.6, 0.32, 0.55, 0.15


def draw_results(
    results: Mapping[str, object],
    au_labels: Sequence[str],
    path: str | os.PathLike | None = None,
    *,
    title: str = "",
    prefix: str = "test_",
    width: float = PAGE_WIDTH,
    theme: ThemeName | Theme = "light",
    dpi: int = PNG_DPI,
) -> Figure:
    """Draw F1 and ROC-AUC of each AU, how often it is present, and the means.

    Args:
        results: Flat results, as in a run's `all_results.json`; other keys are ignored.
        au_labels: The AUs to show, from top to bottom.
        path: Where to save the figure; its extension gives the format (".png", ".svg", ".pdf").
        title: Title of the figure, such as the detector and its test set.
        prefix: Prefix of the keys, for example "test_" for `test_f1_AU12`.
        width: Width of the figure in inches.
        theme: "light", "dark" or "print" (black ink only).
        dpi: Resolution of a PNG.

    Returns:
        The figure. An undefined score (None or NaN) has no mark.

    Raises:
        ValueError: An argument is invalid, or `results` lacks a score of an AU.
    """
    theme, _ = get_theme(theme), check_path(path)
    f1 = _scores(results, [f"{prefix}f1_{label}" for label in au_labels] + [f"{prefix}mean_f1"])
    roc_auc = _scores(results, [f"{prefix}roc_auc_{label}" for label in au_labels] + [f"{prefix}mean_roc_auc"])
    rates = _scores(results, [f"{prefix}positive_rate_{label}" for label in au_labels])
    rows = np.arange(len(au_labels) + 1)
    height = ROW_HEIGHT * len(rows)
    figure = theme.figure(width, TITLE_HEIGHT + height + LEGEND_HEIGHT)
    axes = add_axes(figure, LABEL_WIDTH, TITLE_HEIGHT, width - LABEL_WIDTH - RIGHT_MARGIN, height)
    axes.grid(axis="x", color=theme.faint, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.hlines(rows, f1, roc_auc, color=theme.faint, linewidth=3, zorder=1)
    axes.scatter(rates, rows[:-1], marker="|", s=50, color=theme.alert, zorder=2, label="positive rate")
    axes.scatter(f1, rows, marker="o", s=24, color=theme.active, zorder=3, label="F1")
    diamond = {"marker": "D", "s": 20, "facecolor": theme.background, "edgecolor": theme.ink, "linewidth": 0.9}
    axes.scatter(roc_auc, rows, zorder=3, label="ROC-AUC (chance: 0.5)", **diamond)
    axes.axhline(len(au_labels) - 0.5, color=theme.muted, linewidth=0.8)
    axes.set_yticks(rows, [*map(au_title, au_labels), "Mean"])
    axes.set_xticks(np.linspace(0, 1, 11 if width > COLUMN_WIDTH else 6))
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(len(au_labels) + 0.5, -0.5)
    axes.tick_params(length=2, labelsize=SMALL)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(title, fontsize=MEDIUM, loc="left")
    figure.legend(loc="lower center", ncols=3, fontsize=SMALL, frameon=False)
    return finish(figure, theme, path, dpi)


def _scores(results: Mapping[str, object], keys: Sequence[str]) -> NDArray[np.float64]:
    missing = [key for key in keys if key not in results]
    if missing:
        raise ValueError(f"`results` has no {missing[0]!r}: check `au_labels` and `prefix`.")
    return np.array([np.nan if results[key] is None else results[key] for key in keys], dtype=np.float64)

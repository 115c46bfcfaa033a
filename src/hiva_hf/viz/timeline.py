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
"""Draw AU probabilities over a video, one lane for each AU."""

import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from .style import (
    EXPERIMENTAL_MARK,
    EXPERIMENTAL_NOTE,
    HATCH,
    MEDIUM,
    PAGE_WIDTH,
    PNG_DPI,
    SMALL,
    Theme,
    ThemeName,
    add_axes,
    au_title,
    check_path,
    chosen_labels,
    finish,
    get_theme,
    text_width,
    thresholds_by_label,
)


if TYPE_CHECKING:
    from pandas import DataFrame

DECISION_SUFFIX = "_c"
# The columns of `find_events` of `hiva_hf.inference` that are drawn.
EVENT_COLUMNS = ("face_id", "au", "onset_timestamp", "apex_timestamp", "offset_timestamp")
# Inches.
MARGIN, TITLE_HEIGHT, AXIS_HEIGHT, LEGEND_LINE, RIGHT = 0.06, 0.26, 0.4, 0.14, 0.12
# The lanes' labels include the names of AUs if that leaves this share of the width to the lanes.
MIN_LANES_SHARE = 0.65
# Height of the probability 1 in a lane, as a share; events are drawn above it.
FULL = 0.78
EVENT_LEVEL = 0.89
# More points per inch of the figure could hardly be distinguished.
BINS_PER_INCH = 150
# After more than this many frame periods without rows, a face counts as absent, even if the table lacks the frames
# in between.
LONGEST_STEP = 5
TICK_STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200)
# From this many seconds on, ticks also show minutes.
MINUTES_FROM = 120


@dataclass(frozen=True, eq=False)
class Track:
    """One face over time, reduced to the resolution of the figure. Rows of NaN separate segments with the face.

    Attributes:
        times: [n], seconds.
        low, mean, high: [n, N], minimum, mean and maximum of each AU's probabilities around each time.
        active: [n, N], whether any decision around that time was positive.
        gaps: Spans, in seconds, in which the video continues without the face.
        num_frames: Number of rows before the reduction.
        is_reduced: Whether a time represents several frames.
    """

    times: NDArray[np.float64]
    low: NDArray[np.float64]
    mean: NDArray[np.float64]
    high: NDArray[np.float64]
    active: NDArray[np.bool_]
    gaps: list[tuple[float, float]]
    num_frames: int
    is_reduced: bool


def draw_timeline(
    table: "DataFrame",
    path: str | os.PathLike | None = None,
    *,
    aus: Sequence[str | int] | None = None,
    face_ids: Sequence[int] | None = None,
    source: str | None = None,
    thresholds: float | Sequence[float] | Mapping[str, float] | None = None,
    events: "DataFrame | None" = None,
    experimental: Collection[str] | None = None,
    start: float | None = None,
    end: float | None = None,
    max_faces: int = 3,
    width: float = PAGE_WIDTH,
    lane_height: float = 0.21,
    theme: ThemeName | Theme = "light",
    dpi: int = PNG_DPI,
) -> Figure:
    """Draw the probability of each AU over a video, face by face.

    Each AU has a lane whose height is the probability from 0 to 1. Times at which the AU counts as active are shaded
    and underlined; times without the face are hatched, and the line is interrupted. Where there are more frames than
    can be distinguished, the line is their mean, and the band around it ranges from the smallest to the largest value.

    Args:
        table: A table that `hiva-hf detect` or `hiva_hf.detect` made, with the columns `timestamp` (seconds),
            `face_id`, probabilities (`AU01`, ...) and, to show activity, decisions (`AU01_c`, ...).
        path: Where to save the figure; its extension gives the format (".png", ".svg", ".pdf").
        aus: The AUs to show and their order, as labels ("AU12") or numbers; all by default.
        face_ids: The faces to show and their order; those with the most frames by default.
        source: The video to show, if the table has several.
        thresholds: Lowest probability at which an AU is active, drawn as a line: one for all AUs, one per AU in the
            table's order, or by label ("AU12").
        events: A table with the columns `face_id`, `au` ("AU01"), `onset_timestamp`, `apex_timestamp` and
            `offset_timestamp` (seconds): each event is drawn as a line over its lane, its apex as a triangle.
        experimental: Labels of AUs that are marked as unreliable; by default those in the table's
            `attrs["experimental_labels"]`, which `hiva_hf.detect` sets.
        start: Start of the part to show, in seconds.
        end: End of the part to show, in seconds.
        max_faces: Number of faces to show without `face_ids`. The title says if there are more.
        width: Width of the figure in inches; by default that of a journal page, 3.5 is one column.
        lane_height: Height of each AU's lane in inches.
        theme: "light", "dark" or "print" (black ink only).
        dpi: Resolution of a PNG.

    Returns:
        The figure.

    Raises:
        ValueError: The table lacks columns, timestamps or faces, has several videos, or an argument is invalid.
    """
    theme, _ = get_theme(theme), check_path(path)
    columns = _au_columns(table)
    # Labels may be given as "AU1" or as the table's columns, "AU01".
    aus = None if aus is None else [_label(au) for au in aus]
    if isinstance(thresholds, Mapping):
        thresholds = {_label(au): value for au, value in thresholds.items()}
    experimental = _experimental_labels(table, columns, experimental)
    labels = chosen_labels(aus, list(columns))
    limits = thresholds_by_label(thresholds, list(columns))
    table = _one_video(table, source)
    # Also set for a table with one video, to select its events.
    source = table["source"].iloc[0] if source is None and "source" in table and len(table) else source
    table = _cut(table, start, end)
    shown, num_faces = _chosen_faces(table, face_ids, max_faces)
    frame_times = np.unique(table["timestamp"].to_numpy(dtype=float))
    period = float(np.median(np.diff(frame_times))) if len(frame_times) > 1 else 0.04
    span = (frame_times[0] - period / 2, frame_times[-1] + period / 2)

    lane_labels = _lane_labels(labels, experimental, width)
    left = MARGIN + max(text_width(label, SMALL) for label in lane_labels) + 0.06
    lanes_width = width - left - RIGHT
    panel_height = TITLE_HEIGHT + lane_height * len(labels)
    tracks = [
        make_track(_rows_of(table, face_id), columns, labels, frame_times, period, int(lanes_width * BINS_PER_INCH))
        for face_id in shown
    ]
    handles = _legend_handles(
        theme,
        limits,
        is_reduced=any(track.is_reduced for track in tracks),
        has_events=events is not None,
        has_experimental=not experimental.isdisjoint(labels),
    )
    legend_columns = max(1, int(width / 2.3))
    axis_height = AXIS_HEIGHT + LEGEND_LINE * (span[1] >= MINUTES_FROM)
    footer = axis_height + LEGEND_LINE * -(-len(handles) // legend_columns) + MARGIN
    figure = theme.figure(width, panel_height * len(shown) + footer)
    for number, (face_id, track) in enumerate(zip(shown, tracks, strict=True)):
        axes = add_axes(figure, left, panel_height * number + TITLE_HEIGHT, lanes_width, panel_height - TITLE_HEIGHT)
        axes.set_gid(f"face {face_id}")
        _draw_lanes(axes, track, lane_labels, [limits.get(label) for label in labels], span, period, theme)
        if events is not None:
            _draw_events(axes, _events_of(events, face_id, source), labels, span, theme)
        left_out = f"; {num_faces - len(shown)} more in the table" if number == 0 and num_faces > len(shown) else ""
        axes.set_title(
            f"Face {face_id}: {track.num_frames:,} frames{left_out}", loc="left", fontsize=MEDIUM, pad=3, weight="bold"
        )
        _set_time_axis(axes, span, lanes_width, is_last=number == len(shown) - 1)
    _add_legend(figure, handles, legend_columns)
    return finish(figure, theme, path, dpi)


def make_track(
    rows: "DataFrame",
    columns: Mapping[str, str],
    labels: Sequence[str],
    frame_times: NDArray[np.float64],
    period: float,
    max_points: int,
) -> Track:
    """Reduces the rows of one face to about `max_points` times.

    Args:
        rows: Rows of the face, in order of time.
        columns: Column of each AU's probabilities, by label.
        labels: The N AUs to show.
        frame_times: Times of all frames in the table, including those without the face.
        period: Median time from frame to frame in seconds.
        max_points: Tracks with no more rows than this are not reduced.
    """
    times = rows["timestamp"].to_numpy(dtype=float)
    values = np.stack([rows[columns[label]].to_numpy(dtype=float, na_value=np.nan) for label in labels], axis=1)
    decisions = np.zeros(values.shape, dtype=bool)
    for index, label in enumerate(labels):
        if (column := columns[label] + DECISION_SUFFIX) in rows:
            decisions[:, index] = rows[column].to_numpy(dtype=float, na_value=0.0) > 0
    is_break = np.diff(np.searchsorted(frame_times, times)) > 1
    is_break |= np.diff(times) > LONGEST_STEP * period
    segments = np.concatenate([[0], np.cumsum(is_break)])

    bins = np.arange(len(times))
    if len(times) > max_points:
        bins = np.floor((times - frame_times[0]) / (np.ptp(frame_times) + period) * max_points).astype(int)
    starts = np.flatnonzero(np.concatenate([[True], (np.diff(bins) > 0) | is_break]))
    sizes = np.diff([*starts, len(times)])
    counts = np.add.reduceat(~np.isnan(values), starts, axis=0)
    with np.errstate(invalid="ignore"):
        mean = np.add.reduceat(np.nan_to_num(values), starts, axis=0) / np.where(counts > 0, counts, np.nan)
    reduced = {
        "times": np.add.reduceat(times, starts) / sizes,
        "low": np.fmin.reduceat(values, starts, axis=0),
        "mean": mean,
        "high": np.fmax.reduceat(values, starts, axis=0),
        "active": np.logical_or.reduceat(decisions, starts, axis=0),
    }
    first, last = (
        times[np.flatnonzero(np.diff(segments, prepend=-1))],
        times[np.flatnonzero(np.diff(segments, append=-1))],
    )
    parts = _with_edges(reduced, segments[starts], first - period / 2, last + period / 2)
    edges = [frame_times[0] - period / 2, *np.stack([first - period / 2, last + period / 2], 1).ravel()]
    edges.append(frame_times[-1] + period / 2)
    gaps = [(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if b - a > 0.5 * period]
    return Track(**parts, gaps=gaps, num_frames=len(rows), is_reduced=len(starts) < len(times))


def _with_edges(
    reduced: dict[str, NDArray], segments: NDArray[np.int64], begins: NDArray[np.float64], ends: NDArray[np.float64]
) -> dict[str, NDArray]:
    """Extends each segment by half a frame at both ends, so that a single frame is visible, and adds rows of NaN."""
    first = np.flatnonzero(np.diff(segments, prepend=-1))
    last = np.flatnonzero(np.diff(segments, append=segments[-1] + 1))
    # Row i has the key 6 i; NaN and the start go before a segment's first row, its end and NaN after its last row.
    keys = [6 * np.arange(len(segments)), 6 * first - 2, 6 * first - 1, 6 * last + 1, 6 * last + 2]
    order = np.argsort(np.concatenate(keys))
    result = {}
    for name, values in reduced.items():
        if name == "times":
            added = (begins, begins, ends, ends)
        else:
            parting = np.full_like(values[first], False if values.dtype == bool else np.nan)
            added = (parting, values[first], values[last], parting)
        result[name] = np.concatenate([values, *added])[order]
    return result


def _au_columns(table: "DataFrame") -> dict[str, str]:
    """Column of the probabilities of each AU, by label: "AU1" -> "AU01"."""
    if missing := [column for column in ("timestamp", "face_id") if column not in table]:
        raise ValueError(f"The table has no column {missing[0]!r}; it has {', '.join(map(str, table.columns[:12]))}.")
    columns = {}
    for column in table.columns:
        if re.fullmatch(r"AU\d+", str(column)) or f"{column}{DECISION_SUFFIX}" in table:
            columns[_label(column)] = column
    if not columns:
        raise ValueError(
            "The table has no columns of AUs, such as 'AU01' for probabilities and 'AU01_c' for decisions."
        )
    return columns


def _label(column: str | int) -> str:
    """The AU of a column: "AU01" -> "AU1"; 1 -> "AU1"; other labels stay."""
    if isinstance(column, Integral):
        return f"AU{column}"
    return re.sub(r"^AU0*(\d+)$", r"AU\1", str(column))


def _experimental_labels(
    table: "DataFrame", columns: Mapping[str, str], experimental: Collection[str] | None
) -> set[str]:
    """The AUs to mark as unreliable; those that the table itself names if `experimental` is None."""
    if experimental is None:
        # A part of the table may lack some of them.
        experimental = columns.keys() & set(table.attrs.get("experimental_labels", ()))
    experimental = {_label(au) for au in experimental}
    if unknown := sorted(experimental - columns.keys()):
        raise ValueError(f"`experimental` has unknown AUs: {unknown}. There are {', '.join(columns)}.")
    return experimental


def _one_video(table: "DataFrame", source: str | None) -> "DataFrame":
    """The rows of one source that have a time."""
    if "source" in table:
        sources = list(dict.fromkeys(table["source"]))
        if not sources:
            raise ValueError("The table has no rows: a timeline needs a video.")
        if source is None and len(sources) > 1:
            names = ", ".join(map(repr, sources[:5])) + (", ..." if len(sources) > 5 else "")
            raise ValueError(f"The table has {len(sources)} sources, choose one by `source`: {names}.")
        if source is not None and source not in sources:
            raise ValueError(f"The table has no source {source!r}.")
        table = table[table["source"] == sources[0 if source is None else sources.index(source)]]
    timed = table[table["timestamp"].notna()]
    if timed.empty:
        raise ValueError("No row has a timestamp: a timeline needs a video, and this table seems to be of photos.")
    return timed


def _cut(table: "DataFrame", start: float | None, end: float | None) -> "DataFrame":
    start = -np.inf if start is None else start
    end = np.inf if end is None else end
    times = table["timestamp"]
    part = table[(times >= start) & (times <= end)]
    if part.empty:
        raise ValueError(
            f"No frame lies between `start` and `end`; the video ranges from {times.min():.2f} to {times.max():.2f} s."
        )
    return part


def _chosen_faces(table: "DataFrame", face_ids: Sequence[int] | None, max_faces: int) -> tuple[list[int], int]:
    """The faces to show, and how many there are."""
    if max_faces < 1:
        raise ValueError(f"`max_faces` must be at least 1, got {max_faces}.")
    found = table["face_id"].dropna()
    counts = found[found >= 0].astype(int).value_counts()
    if counts.empty:
        raise ValueError("The table has no face.")
    if face_ids is None:
        # The faces with the most frames, in order of their numbers.
        return sorted(counts.sort_values(ascending=False, kind="stable").index[:max_faces].tolist()), len(counts)
    if unknown := [face_id for face_id in face_ids if face_id not in counts.index]:
        raise ValueError(f"`face_ids` has unknown faces: {unknown}. There are {sorted(counts.index)[:20]}.")
    return list(face_ids), len(face_ids)


def _rows_of(table: "DataFrame", face_id: int) -> "DataFrame":
    return table[table["face_id"] == face_id].sort_values("timestamp", kind="stable").drop_duplicates("timestamp")


def _lane_labels(labels: Sequence[str], experimental: Collection[str], width: float) -> list[str]:
    marked = [label + EXPERIMENTAL_MARK * (label in experimental) for label in labels]
    named = [au_title(label).replace(label, mark, 1) for label, mark in zip(labels, marked, strict=True)]
    has_room = width - MARGIN - RIGHT - max(text_width(name, SMALL) for name in named) >= MIN_LANES_SHARE * width
    return named if has_room else marked


def _draw_lanes(
    axes: Axes,
    track: Track,
    labels: Sequence[str],
    limits: Sequence[float | None],
    span: tuple[float, float],
    period: float,
    theme: Theme,
):
    """Draws the lanes from top to bottom: lane i has its zero at y = N - 1 - i."""
    smallest = (span[1] - span[0]) / 1000
    gaps = [(begin, finish_ - begin) for begin, finish_ in track.gaps if finish_ - begin > smallest]
    axes.broken_barh(
        gaps, (0, len(labels)), facecolor="none", edgecolor=theme.faint, hatch=HATCH, linewidth=0, zorder=0
    )
    for index, limit in enumerate(limits):
        base = len(labels) - 1 - index
        spans = _active_spans(track.times, track.active[:, index], period)
        axes.broken_barh(spans, (base, 1), facecolor=theme.active, alpha=0.2, linewidth=0, zorder=1)
        axes.broken_barh(spans, (base - 0.05, 0.1), facecolor=theme.active, linewidth=0, zorder=4)
        low, mean, high = (base + FULL * values[:, index] for values in (track.low, track.mean, track.high))
        axes.fill_between(track.times, base, mean, facecolor=theme.inactive, alpha=0.6, linewidth=0, zorder=2)
        if (track.high > track.low).any():
            axes.fill_between(track.times, low, high, facecolor=theme.active, alpha=0.35, linewidth=0, zorder=3)
        axes.plot(track.times, mean, color=theme.active, linewidth=0.8, zorder=3, solid_joinstyle="round")
        axes.axhline(base, color=theme.muted, linewidth=0.4, zorder=3)
        if limit is not None:
            y = base + FULL * limit
            axes.plot(span, (y, y), color=theme.alert, linewidth=0.6, linestyle=(0, (4, 3)), zorder=5)
    axes.set_ylim(-0.08, len(labels))
    axes.set_yticks([len(labels) - 1 - index + 0.4 for index in range(len(labels))], labels, fontsize=SMALL)
    for text, active in zip(axes.get_yticklabels(), track.active.any(axis=0), strict=True):
        text.set_fontweight("bold" if active else "normal")
    axes.tick_params(axis="y", length=0, pad=3)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _active_spans(times: NDArray, active: NDArray[np.bool_], period: float) -> list[tuple[float, float]]:
    """(start, duration) of each run of active times. A run starts and ends halfway between two times."""
    edges = np.diff(active.astype(int), prepend=0, append=0)
    begins, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1) - 1
    middles = (times[1:] + times[:-1]) / 2
    low = np.concatenate([times[:1], middles])[begins]
    high = np.concatenate([middles, times[-1:]])[ends]
    return [(begin, max(end - begin, 0.0)) for begin, end in zip(low, high, strict=True)]


def _events_of(events: "DataFrame", face_id: int, source: str | None) -> "DataFrame":
    if missing := [column for column in EVENT_COLUMNS if column not in events]:
        raise ValueError(f"`events` has no column {missing[0]!r}; it needs {', '.join(EVENT_COLUMNS)}.")
    of_face = events[events["face_id"] == face_id]
    return of_face if source is None or "source" not in events else of_face[of_face["source"] == source]


def _draw_events(axes: Axes, events: "DataFrame", labels: Sequence[str], span: tuple[float, float], theme: Theme):
    for event in events.itertuples():
        label = _label(event.au)
        onset, apex, offset = event.onset_timestamp, event.apex_timestamp, event.offset_timestamp
        if label not in labels or offset < span[0] or onset > span[1]:
            continue
        y = len(labels) - 1 - labels.index(label) + EVENT_LEVEL
        ends = (max(onset, span[0]), min(offset, span[1]))
        axes.plot(ends, (y, y), color=theme.ink, linewidth=0.9, solid_capstyle="butt", zorder=6, gid="event")
        if span[0] <= apex <= span[1]:
            axes.plot(apex, y, marker="v", markersize=3, color=theme.ink, zorder=6, linestyle="none")


def _set_time_axis(axes: Axes, span: tuple[float, float], inches: float, is_last: bool):
    duration = span[1] - span[0]
    step = next((step for step in TICK_STEPS if duration / step <= 1.3 * inches), TICK_STEPS[-1])
    ticks = np.arange(np.ceil(span[0] / step), np.floor(span[1] / step) + 1) * step + 0.0
    axes.set_xlim(*span)
    with_minutes = span[1] >= MINUTES_FROM
    labels = [_time_label(tick, with_minutes) for tick in ticks] if is_last else [""] * len(ticks)
    axes.set_xticks(ticks, labels, fontsize=SMALL)
    axes.tick_params(axis="x", length=2.5, pad=2)
    if is_last:
        axes.set_xlabel("Time (s; min:s)" if with_minutes else "Time (s)", fontsize=SMALL, labelpad=1)


def _time_label(seconds: float, with_minutes: bool) -> str:
    text = f"{round(seconds, 6) + 0.0:.10g}"
    return f"{text}\n{int(seconds) // 60}:{int(seconds) % 60:02d}" if with_minutes else text


def _legend_handles(
    theme: Theme, limits: Mapping[str, float], is_reduced: bool, has_events: bool, has_experimental: bool
) -> list[Line2D | Patch]:
    curve = "probability, 0 to 1 in each lane"
    handles = [
        Line2D([], [], color=theme.active, linewidth=1, label=f"mean {curve}" if is_reduced else curve),
        Patch(facecolor=theme.active, alpha=0.3, label="active (shaded, underlined)"),
        Patch(facecolor="none", edgecolor=theme.faint, hatch=HATCH, linewidth=0, label="face not in view"),
    ]
    if is_reduced:
        handles.insert(1, Patch(facecolor=theme.active, alpha=0.5, label="smallest to largest probability"))
    if limits:
        handles.append(Line2D([], [], color=theme.alert, linewidth=0.8, linestyle=(0, (4, 3)), label="threshold"))
    if has_events:
        handles.append(Line2D([], [], color=theme.ink, linewidth=1, marker="v", markersize=3, label="event with apex"))
    if has_experimental:
        handles.append(Line2D([], [], linestyle="none", label=EXPERIMENTAL_NOTE))
    return handles


def _add_legend(figure: Figure, handles: Sequence[Line2D | Patch], num_columns: int):
    width, height = figure.get_size_inches()
    figure.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(MARGIN / width, 0.03 / height),
        ncols=num_columns,
        fontsize=SMALL - 0.5,
        frameon=False,
        borderaxespad=0,
        borderpad=0,
        handlelength=1.6,
        columnspacing=1.2,
    )

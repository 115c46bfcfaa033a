"""Smooth probabilities and decisions over time, for each face and AU of a finished table.

It needs the finished table: a centred median looks ahead, and the duration of a decision is known only at its end.
"""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from .records import au_column, decision_column
from .tracks import Track, labels_to_follow, per_label, tracks_of


# Default of `low` as a share of `high`.
_LOW_SHARE = 0.6
# In seconds: longer than any video, and a third of what pandas can represent.
_LONGEST_WINDOW = 3e9


def smooth(table: pd.DataFrame, method: str = "median", **options) -> pd.DataFrame:
    """Smooths a table over time.

    Each face of each video is smoothed separately, by the timestamps of its frames. Where a face was lost for longer
    than `max_gap`, the two sides are smoothed separately, too. Photos, and rows without a face, stay as they are.

    Args:
        table: As from `hiva_hf.detect` or [`read_table`].
        method: "median" (see [`smooth_by_median`]) or "hysteresis" (see [`smooth_by_hysteresis`]).
        **options: The parameters of that function.

    Returns:
        A new table with the same rows.

    Raises:
        ValueError: The method is unknown, or a parameter or the table is invalid.
    """
    if method not in _METHODS:
        raise ValueError(f"There is no method {method!r} to smooth a table. Known: {', '.join(_METHODS)}.")
    return _METHODS[method](table, **options)


def smooth_by_median(
    table: pd.DataFrame,
    window: float = 0.5,
    threshold: float | Mapping[str, float] | None = None,
    max_gap: float | None = None,
) -> pd.DataFrame:
    """Replaces each probability by the median within a window around its frame.

    Args:
        table: The default table.
        window: Full width of the window in seconds, infinity for the whole track; both edges are included.
        threshold: Lowest median at which an AU counts as present; one for all AUs, or a dict by label. By default, the
            majority of the decisions within the window counts, and a tie keeps the frame's own: except for ties, that
            is the same as comparing the median with the threshold behind these decisions.
        max_gap: Seconds that may lie between two frames of a face; see [`tracks_of`].
    """
    if not window > 0:
        raise ValueError(f"`window` must be a positive number of seconds, got {window!r}.")
    labels = labels_to_follow(table)
    thresholds = None if threshold is None else per_label("threshold", threshold, labels)

    def smooth_track(track: Track, probabilities: np.ndarray, decisions: np.ndarray, label: str):
        median = _rolling(track, probabilities, window).median().to_numpy()
        if thresholds is not None:
            return median, median >= thresholds[label]
        share = _rolling(track, decisions.astype(np.float64), window).mean().round(9).to_numpy()
        return median, np.where(share == 0.5, decisions, share > 0.5)

    return _over_tracks(table, labels, max_gap, smooth_track)


def smooth_by_hysteresis(
    table: pd.DataFrame,
    high: float | Mapping[str, float] = 0.5,
    low: float | Mapping[str, float] | None = None,
    min_duration: float = 0.0,
    bridge: float = 0.0,
    max_gap: float | None = None,
) -> pd.DataFrame:
    """Decides with two thresholds: an AU begins at `high` and lasts until its probability falls below `low`.

    The probabilities stay as they are.

    Args:
        table: The default table.
        high: Lowest probability at which an AU begins; one for all AUs, or a dict by label.
        low: The AU ends below this probability; at most `high`, by default 0.6 of it. If both are equal, this is plain
            thresholding.
        min_duration: Events that are shorter than this, in seconds from the first to the last frame, are dropped.
        bridge: Events are joined if at most this many seconds lie between the last frame of one and the first of the
            next. This is done before `min_duration` is applied.
        max_gap: Seconds that may lie between two frames of a face; see [`tracks_of`].
    """
    labels = labels_to_follow(table)
    highs = per_label("high", high, labels)
    if low is None:
        low = {label: _LOW_SHARE * value for label, value in highs.items()}
    lows = per_label("low", low, labels)
    for label in labels:
        if lows[label] > highs[label]:
            raise ValueError(f"`low` must not be above `high`, got {lows[label]} and {highs[label]} for {label}.")
    if not (min_duration >= 0 and bridge >= 0):
        raise ValueError(f"`min_duration` ({min_duration}) and `bridge` ({bridge}) must not be negative.")

    def decide(track: Track, probabilities: np.ndarray, decisions: np.ndarray, label: str):
        active = between_thresholds(probabilities, highs[label], lows[label])
        active = fill_gaps(active, track.timestamps, bridge)
        return probabilities, drop_short(active, track.timestamps, min_duration)

    return _over_tracks(table, labels, max_gap, decide)


def between_thresholds(probabilities: np.ndarray, high: float, low: float) -> np.ndarray:
    """Switches on at `high` and off below `low`; keeps the state in between, initially off. `[n]` -> bool `[n]`."""
    switch = np.select([probabilities >= high, probabilities < low], [1.0, 0.0], default=np.nan)
    return pd.Series(switch).ffill().fillna(0.0).to_numpy(dtype=bool)


def fill_gaps(active: np.ndarray, timestamps: np.ndarray, bridge: float) -> np.ndarray:
    """Joins runs of `active` that are at most `bridge` seconds apart."""
    firsts, lasts = runs_of(active)
    filled = active.copy()
    for last, following in zip(lasts[:-1], firsts[1:], strict=True):
        if timestamps[following] - timestamps[last] <= bridge:
            filled[last:following] = True
    return filled


def drop_short(active: np.ndarray, timestamps: np.ndarray, min_duration: float) -> np.ndarray:
    """Clears runs of `active` that last less than `min_duration` seconds from first to last frame."""
    kept = active.copy()
    for first, last in zip(*runs_of(active), strict=True):
        if timestamps[last] - timestamps[first] < min_duration:
            kept[first : last + 1] = False
    return kept


def runs_of(active: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first and the last index of each run of `True`."""
    steps = np.diff(active.astype(np.int8), prepend=0, append=0)
    return np.flatnonzero(steps == 1), np.flatnonzero(steps == -1) - 1


def _rolling(track: Track, values: np.ndarray, window: float):
    width = pd.Timedelta(seconds=min(window, _LONGEST_WINDOW))
    times = pd.to_timedelta(np.round(track.timestamps * 1e6).astype(np.int64), unit="us")
    return pd.Series(values, index=times).rolling(width, center=True, closed="both")


def _over_tracks(table: pd.DataFrame, labels: list[str], max_gap: float | None, function: Callable) -> pd.DataFrame:
    """Applies `function(track, probabilities, decisions, label)`, which returns new ones, to each AU of each track."""
    smoothed = table.copy()
    tracks = list(tracks_of(table, max_gap))
    for label in labels:
        probability, decision = au_column(label), decision_column(label)
        probabilities = table[probability].to_numpy(dtype=np.float64, na_value=np.nan, copy=True)
        decisions = table[decision].copy()
        for track in tracks:
            before = decisions.iloc[track.rows].to_numpy(dtype=bool)
            probabilities[track.rows], after = function(track, probabilities[track.rows], before, label)
            decisions.iloc[track.rows] = after.astype(np.int8)
        smoothed[probability] = probabilities
        smoothed[decision] = decisions
    return smoothed


_METHODS = {"median": smooth_by_median, "hysteresis": smooth_by_hysteresis}

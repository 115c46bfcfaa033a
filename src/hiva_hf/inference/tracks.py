"""The tracks of a table: a track is one face of one video for as long as it is seen without interruption."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from numbers import Real

import numpy as np
import pandas as pd

from .records import au_label, labels_of_table


# Two frames may be missing between two rows of a track, unless `max_gap` says otherwise.
_FRAMES_OF_GAP = 3


@dataclass(frozen=True)
class Track:
    """A face of a video, seen without a gap, at increasing times.

    Attributes:
        source: The video.
        face_id: The face in it.
        rows: Positions of its rows in the table `[n]`, in the order of their frames.
        timestamps: Their times in seconds `[n]`, increasing.
    """

    source: str
    face_id: int
    rows: np.ndarray
    timestamps: np.ndarray


def tracks_of(table: pd.DataFrame, max_gap: float | None = None) -> Iterator[Track]:
    """Splits a default table into tracks.

    Rows without a face or a timestamp, such as those of photos, belong to no track. Where the time of a video does not
    increase from one frame to the next, as in concatenated recordings, a new track begins.

    Args:
        table: With the columns source, frame, timestamp and face_id; its rows may be in any order.
        max_gap: Seconds that may lie between two rows of a track. By default three times the usual step from frame to
            frame in the video.

    Raises:
        ValueError: A column is missing, `max_gap` is not positive, or a face has two rows for one frame.
    """
    if missing := [name for name in ("source", "frame", "timestamp", "face_id") if name not in table.columns]:
        raise ValueError(
            f"The table lacks the columns {missing}: pass one that `hiva-hf detect` or `hiva_hf.detect` made."
        )
    if max_gap is not None and not max_gap > 0:
        raise ValueError(f"`max_gap` must be a positive number of seconds, got {max_gap!r}.")
    places = pd.DataFrame(
        {
            "source": table["source"].to_numpy(),
            "frame": table["frame"].to_numpy(),
            "timestamp": table["timestamp"].to_numpy(dtype=np.float64, na_value=np.nan),
            "face_id": table["face_id"].to_numpy(dtype=np.float64, na_value=np.nan),
            "row": np.arange(len(table)),
        }
    ).dropna(subset="timestamp")
    for source, of_source in places.groupby("source", sort=False):
        of_source = of_source.sort_values("frame")
        gap = _usual_gap(of_source) if max_gap is None else max_gap
        for face_id, of_face in of_source.groupby("face_id"):
            yield from _split(source, int(face_id), of_face, gap)


def per_label(name: str, value: float | Mapping[str, float], labels: list[str]) -> dict[str, float]:
    """One probability per AU, from one for all AUs or a dict by label or column ("AU1" or "AU01").

    Raises:
        ValueError: The dict has other AUs than the table, or a value is no probability.
    """
    if isinstance(value, Mapping):
        values = {au_label(key): number for key, number in value.items()}
    else:
        values = dict.fromkeys(labels, value)
    if values.keys() != set(labels):
        raise ValueError(f"`{name}` has values for {sorted(values)}, but the table's AUs are {labels}.")
    for label, number in values.items():
        if not (isinstance(number, Real) and 0 <= number <= 1):
            raise ValueError(f"`{name}` must lie between 0 and 1, got {number!r} for {label}.")
    return values


def labels_to_follow(table: pd.DataFrame) -> list[str]:
    """The AUs of a table.

    Raises:
        ValueError: It has none.
    """
    if not (labels := labels_of_table(table.columns)):
        raise ValueError("The table has no AUs: it needs columns of probabilities (AU12) and decisions (AU12_c).")
    return labels


def _usual_gap(rows: pd.DataFrame) -> float:
    """Three times the median step between the frames of a video, whether or not they show a face."""
    steps = np.diff(rows.drop_duplicates("frame")["timestamp"])
    steps = steps[steps > 0]
    return _FRAMES_OF_GAP * float(np.median(steps)) if len(steps) else np.inf


def _split(source: str, face_id: int, rows: pd.DataFrame, max_gap: float) -> Iterator[Track]:
    if (repeated := rows["frame"].duplicated()).any():
        raise ValueError(f"Face {face_id} of {source} has two rows for the frame {rows['frame'][repeated].iloc[0]}.")
    timestamps = rows["timestamp"].to_numpy()
    steps = np.diff(timestamps)
    # With a tolerance: 3 steps of 1/30 s are not exactly 0.1 s.
    ends = np.flatnonzero((steps <= 0) | (steps > max_gap * (1 + 1e-6))) + 1
    positions = rows["row"].to_numpy()
    for part, times in zip(np.split(positions, ends), np.split(timestamps, ends), strict=True):
        yield Track(source, face_id, part, times)

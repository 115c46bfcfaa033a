"""Find when AUs begin, peak and end: from a table of frames to a table of events."""

import numpy as np
import pandas as pd

from .records import au_column, decision_column
from .smoothing import drop_short, runs_of
from .tracks import Track, labels_to_follow, tracks_of


_DTYPES = {
    "source": "string",
    "face_id": "int64",
    "au": "string",
    "onset_frame": "int64",
    "onset_timestamp": "float64",
    "apex_frame": "int64",
    "apex_timestamp": "float64",
    "offset_frame": "int64",
    "offset_timestamp": "float64",
    "peak_probability": "float64",
    "duration": "float64",
}
EVENT_COLUMNS = tuple(_DTYPES)


def find_events(table: pd.DataFrame, min_duration: float = 0.0, max_gap: float | None = None) -> pd.DataFrame:
    """Finds the periods in which an AU is present.

    The decisions of the table (AU12_c) are used as they are: [`smooth`] it first, so that flicker gives no events.
    An event ends when its face is lost for longer than `max_gap`. Photos have no events.

    Args:
        table: As from `hiva_hf.detect`, [`read_table`] or [`smooth`].
        min_duration: Shorter events, in seconds, are dropped.
        max_gap: Seconds that may lie between two frames of a face; see [`tracks_of`].

    Returns:
        A row for each event, ordered by source, face, onset and AU, with the columns:

        - **source**, **face_id**, **au** -- The video, the face and the AU, by its column ("AU01").
        - **onset_frame**, **onset_timestamp** -- The first frame in which it is present.
        - **apex_frame**, **apex_timestamp** -- The frame of the highest probability; the first one in case of a tie.
        - **offset_frame**, **offset_timestamp** -- The last frame in which it is present.
        - **peak_probability** -- The probability at the apex.
        - **duration** -- Seconds from onset to offset: 0 if it is present in one frame only.

    Raises:
        ValueError: The table has no AUs, or a parameter is invalid.
    """
    if not min_duration >= 0:
        raise ValueError(f"`min_duration` must not be negative, got {min_duration!r}.")
    labels = labels_to_follow(table)
    frames = table["frame"].to_numpy()
    columns = [
        (
            au_column(label),
            table[au_column(label)].to_numpy(dtype=np.float64, na_value=np.nan),
            table[decision_column(label)].to_numpy(dtype=np.float64, na_value=0.0) > 0,
        )
        for label in labels
    ]
    events = []
    for track in tracks_of(table, max_gap):
        of_track = [
            event
            for name, probabilities, active in columns
            for event in _events_of(track, name, frames, probabilities, active, min_duration)
        ]
        events += sorted(of_track, key=lambda event: event["onset_timestamp"])
    return pd.DataFrame(events, columns=list(EVENT_COLUMNS)).astype(_DTYPES)


def _events_of(
    track: Track,
    name: str,
    frames: np.ndarray,
    probabilities: np.ndarray,
    active: np.ndarray,
    min_duration: float,
) -> list[dict]:
    """The events of one AU in one track."""
    curve, times, numbers = probabilities[track.rows], track.timestamps, frames[track.rows]
    events = []
    for first, last in zip(*runs_of(drop_short(active[track.rows], times, min_duration)), strict=True):
        apex = first + int(np.argmax(curve[first : last + 1]))
        places = {"onset": first, "apex": apex, "offset": last}
        event = {"source": track.source, "face_id": track.face_id, "au": name}
        for phase, place in places.items():
            event |= {f"{phase}_frame": numbers[place], f"{phase}_timestamp": times[place]}
        duration = round(times[last] - times[first], 6)
        events.append(event | {"peak_probability": curve[apex], "duration": duration})
    return events

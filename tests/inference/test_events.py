"""Events lie where a synthetic expression begins, peaks and ends."""

import numpy as np
import pandas as pd
import pytest

from hiva_hf.inference.events import EVENT_COLUMNS, find_events
from hiva_hf.inference.records import FaceRecord
from hiva_hf.inference.smoothing import smooth
from hiva_hf.inference.tables import records_to_table

from .test_smoothing import irregular_times, make_table


def smile(times, onset, apex, offset) -> np.ndarray:
    """A triangle that passes 0.5 at onset and offset, and reaches 0.95 at the apex."""
    return np.interp(times, [onset - 1, onset, apex, offset, offset + 1], [0.05, 0.5, 0.95, 0.5, 0.05])


@pytest.mark.parametrize("times", [np.arange(250) / 25, irregular_times(250)], ids=["regular", "irregular"])
def test_onset_apex_and_offset_are_found(times):
    onset, apex, offset = times[[50, 90, 170]]
    events = find_events(make_table(smile(times, onset, apex, offset), times))
    assert list(events.columns) == list(EVENT_COLUMNS)
    assert len(events) == 1
    event = events.iloc[0]
    assert (event["source"], event["face_id"], event["au"]) == ("a.mp4", 0, "AU12")
    assert (event["onset_frame"], event["apex_frame"], event["offset_frame"]) == (50, 90, 170)
    found = event[["onset_timestamp", "apex_timestamp", "offset_timestamp"]].tolist()
    np.testing.assert_allclose(found, [onset, apex, offset], atol=1e-6)
    assert event["peak_probability"] == pytest.approx(0.95, abs=1e-6)
    assert event["duration"] == pytest.approx(offset - onset, abs=1e-6)


def test_noise_makes_one_event_after_smoothing_and_many_before():
    times = irregular_times(250)
    clean = smile(times, *times[[50, 90, 170]])
    noisy = clean + np.random.default_rng(0).normal(0, 0.08, len(times))
    table = make_table(noisy.clip(0, 1), times)
    assert len(find_events(table)) > 3
    events = find_events(smooth(smooth(table, window=0.4), "hysteresis", high=0.55, low=0.45))
    assert len(events) == 1
    for phase, frame in {"onset": 50, "apex": 90, "offset": 170}.items():
        assert abs(events[f"{phase}_timestamp"][0] - times[frame]) < 0.4


def test_events_at_the_edges_of_a_video_are_kept():
    events = find_events(make_table([0.9, 0.8, 0.1, 0.1, 0.7]))
    assert events["onset_frame"].tolist() == [0, 4]
    assert events["offset_frame"].tolist() == [1, 4]
    assert events["duration"].tolist() == [0.04, 0.0]


def test_a_lost_face_ends_an_event():
    table = make_table([0.9] * 5 + [np.nan] * 10 + [0.9] * 5)
    events = find_events(table)
    assert events[["onset_frame", "offset_frame"]].to_numpy().tolist() == [[0, 4], [15, 19]]
    assert find_events(table, max_gap=1)[["onset_frame", "offset_frame"]].to_numpy().tolist() == [[0, 19]]


def test_short_events_can_be_left_out():
    table = make_table([0.9, 0.1, 0.9, 0.9, 0.9])
    assert find_events(table, min_duration=0.08)["onset_frame"].tolist() == [2]


def test_events_are_ordered_and_told_apart():
    rows = []
    for source in ("b.mp4", "a.mp4"):
        for frame in range(6):
            for face in (0, 1):
                curves = {"AU1": 0.9 if frame >= 3 else 0.1, "AU12": 0.9 if frame % 3 else 0.1}
                active = {label: value > 0.5 for label, value in curves.items()}
                rows.append(
                    FaceRecord(source, frame, frame / 25, face, (0.0,) * 4, probabilities=curves, active=active)
                )
    events = find_events(records_to_table(rows, ["AU1", "AU12"]))
    of_face = [("AU12", 1), ("AU01", 3), ("AU12", 4)]
    expected = [(source, face, *event) for source in ("b.mp4", "a.mp4") for face in (0, 1) for event in of_face]
    assert list(events[["source", "face_id", "au", "onset_frame"]].itertuples(index=False, name=None)) == expected


def test_photos_and_empty_tables_have_no_events():
    face = {"box": (0.0,) * 4, "probabilities": {"AU12": 0.9}, "active": {"AU12": True}}
    for records in ([FaceRecord("a.jpg", face_id=0, **face)], []):
        events = find_events(records_to_table(records, ["AU12"]))
        assert len(events) == 0
        pd.testing.assert_series_equal(events.dtypes, find_events(make_table([0.9])).dtypes)


def test_a_negative_duration_is_refused():
    with pytest.raises(ValueError, match="`min_duration` must not be negative"):
        find_events(make_table([0.9]), min_duration=-1)

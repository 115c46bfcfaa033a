"""Smoothing works along time, within a track, and changes nothing else."""

import numpy as np
import pandas as pd
import pytest

from hiva_hf.inference.events import find_events
from hiva_hf.inference.records import FaceRecord
from hiva_hf.inference.smoothing import smooth
from hiva_hf.inference.tables import records_to_table


def make_table(curve, timestamps=None, source="a.mp4", face_id=0, label="AU12", threshold=0.5) -> pd.DataFrame:
    """One face and one AU; NaN in the curve is a frame without a face."""
    timestamps = np.arange(len(curve)) / 25 if timestamps is None else timestamps
    records = []
    for frame, (value, time) in enumerate(zip(curve, timestamps, strict=True)):
        if np.isnan(value):
            records.append(FaceRecord(source, frame, time))
            continue
        face = {"probabilities": {label: float(value)}, "active": {label: bool(value >= threshold)}}
        records.append(FaceRecord(source, frame, time, face_id, (0.0, 0.0, 9.0, 9.0), None, 0.9, **face))
    return records_to_table(records, [label])


def decisions(table) -> list[int]:
    return table["AU12_c"].tolist()


def random_walk(num_frames=400, seed=0) -> np.ndarray:
    steps = np.random.default_rng(seed).normal(0, 0.15, num_frames).cumsum()
    return np.abs((steps + 0.5) % 2 - 1).round(6)


def irregular_times(num_frames, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.01, 0.07, num_frames).cumsum().round(6)


@pytest.mark.parametrize("method", ["median", "hysteresis"])
def test_a_constant_stays_constant(method):
    table = make_table(np.full(50, 0.7), irregular_times(50))
    pd.testing.assert_frame_equal(smooth(table, method), table)


def test_the_median_is_that_of_the_frames_within_the_window():
    times, curve = irregular_times(120), random_walk(120)
    smoothed = smooth(make_table(curve, times), window=0.2, threshold=0.5)
    expected = [np.median(curve[np.abs(times - time) <= 0.1 + 1e-9]) for time in times]
    np.testing.assert_allclose(smoothed["AU12"], expected, atol=1e-12)
    assert decisions(smoothed) == [int(value >= 0.5) for value in expected]


@pytest.mark.parametrize("window", [1e6, 1e300, float("inf")])
def test_a_window_of_any_width_takes_the_whole_track(window):
    table = make_table(np.random.default_rng(0).random(21))
    assert (smooth(table, window=window)["AU12"] == table["AU12"].median()).all()


def test_the_median_drops_a_spike_and_keeps_an_edge():
    curve = np.r_[np.full(20, 0.1), 0.9, np.full(20, 0.1), np.full(20, 0.8)]
    smoothed = smooth(make_table(curve), window=0.2)
    assert smoothed["AU12"].tolist() == [0.1] * 41 + [0.8] * 20
    assert decisions(smoothed) == [0] * 41 + [1] * 20


@pytest.mark.parametrize("threshold", [0.35, 0.5, 0.8])
def test_the_vote_is_the_median_at_the_threshold_of_the_table(threshold):
    # Windows with an odd number of frames have no ties.
    table = make_table(random_walk(), np.arange(400) / 25, threshold=threshold)
    voted = smooth(table, window=0.16)
    compared = smooth(table, window=0.16, threshold=threshold)
    inside = slice(2, -2)
    assert decisions(voted)[inside] == decisions(compared)[inside]
    assert 0 < sum(decisions(voted)) < 400


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.8])
def test_hysteresis_with_equal_thresholds_is_thresholding(seed, threshold):
    curve = random_walk(seed=seed)
    table = smooth(make_table(curve, irregular_times(400, seed)), "hysteresis", high=threshold, low=threshold)
    assert decisions(table) == (curve >= threshold).astype(int).tolist()
    assert table["AU12"].tolist() == curve.tolist()


def test_hysteresis_ends_by_default_at_six_tenths_of_where_it_begins():
    table = make_table([0.1, 0.2, 0.13, 0.121, 0.119, 0.13])
    assert decisions(smooth(table, "hysteresis", high={"AU12": 0.2})) == [0, 1, 1, 1, 0, 0]


def test_thresholds_are_found_by_label_or_column():
    table = make_table([0.4] * 3, label="AU1")
    for name in ("AU1", "AU01"):
        assert smooth(table, "hysteresis", high={name: 0.3})["AU01_c"].tolist() == [1, 1, 1]


def test_hysteresis_begins_at_the_high_and_ends_below_the_low_threshold():
    curve = [0.4, 0.5, 0.7, 0.5, 0.4, 0.39, 0.5, 0.69, 0.1, 0.9]
    table = smooth(make_table(curve), "hysteresis", high=0.7, low=0.4)
    assert decisions(table) == [0, 0, 1, 1, 1, 0, 0, 0, 0, 1]


def test_short_presences_go_and_short_breaks_are_bridged_by_time_not_by_frames():
    curve = [0.0, 0.9, 0.0, 0.9, 0.9, 0.0, 0.9, 0.0, 0.9]
    # The presences last 0, 0.04, 0 and 0 s; the breaks 0.04, 0.5 and 0.04 s.
    times = [0.00, 0.02, 0.04, 0.06, 0.10, 0.30, 0.60, 0.62, 0.64]
    table = make_table(curve, times)
    options = {"high": 0.5, "low": 0.5, "max_gap": 1}
    assert decisions(smooth(table, "hysteresis", **options)) == [0, 1, 0, 1, 1, 0, 1, 0, 1]
    bridged = smooth(table, "hysteresis", bridge=0.05, **options)
    assert decisions(bridged) == [0, 1, 1, 1, 1, 0, 1, 1, 1]
    lasting = smooth(table, "hysteresis", min_duration=0.03, **options)
    assert decisions(lasting) == [0, 0, 0, 1, 1, 0, 0, 0, 0]
    both = smooth(table, "hysteresis", bridge=0.05, min_duration=0.05, **options)
    assert decisions(both) == [0, 1, 1, 1, 1, 0, 0, 0, 0]


@pytest.mark.parametrize("method", ["median", "hysteresis"])
def test_nothing_passes_over_a_lost_face(method):
    lost = [np.nan] * 10
    table = make_table([0.9] * 5 + lost + [0.4] * 5)
    options = {"median": {"window": 9}, "hysteresis": {"low": 0.3, "bridge": 9}}[method]
    smoothed = smooth(table, method, **options)
    assert smoothed["AU12"].dropna().tolist() == [0.9] * 5 + [0.4] * 5
    assert smoothed["AU12_c"].dropna().tolist() == [1] * 5 + [0] * 5
    assert smoothed["AU12"].isna().sum() == 10
    # Unless the user says that the face is the same after so long a time.
    joined = smooth(table, method, max_gap=1, **options)
    assert joined["AU12_c"].dropna().tolist() == ([1] * 10 if method == "hysteresis" else [1] * 5 + [0] * 5)


def test_a_single_missing_frame_does_not_split_a_track():
    table = make_table([0.9, 0.4, np.nan, 0.4, 0.4])
    assert smooth(table, "hysteresis", low=0.3)["AU12_c"].dropna().tolist() == [1, 1, 1, 1]


def test_the_usual_step_decides_what_a_gap_is():
    # A video sampled once a second has no gaps.
    table = make_table([0.9, 0.4, 0.4], [0.0, 1.0, 2.0])
    assert decisions(smooth(table, "hysteresis", low=0.3)) == [1, 1, 1]


@pytest.mark.parametrize("method", ["median", "hysteresis"])
def test_faces_and_videos_do_not_mix(method):
    parts = [
        make_table(random_walk(seed=0), face_id=0),
        make_table(random_walk(seed=1), face_id=1),
        make_table(random_walk(seed=2), source="b.mp4"),
    ]
    apart = pd.concat([smooth(part, method) for part in parts], ignore_index=True)
    mixed = pd.concat(parts, ignore_index=True).sample(frac=1, random_state=0)
    pd.testing.assert_frame_equal(smooth(mixed, method).sort_index(), apart)


@pytest.mark.parametrize("method", ["median", "hysteresis"])
def test_photos_stay_as_they_are_and_the_table_too(method):
    face = {"box": (0.0, 0.0, 9.0, 9.0), "probabilities": {"AU12": 0.4}, "active": {"AU12": True}}
    photos = [FaceRecord("a.jpg", face_id=0, **face), FaceRecord("b.jpg"), FaceRecord("c.jpg", error="broken")]
    photos = records_to_table(photos, ["AU12"])
    table = pd.concat([photos, make_table(random_walk())], ignore_index=True)
    before = table.copy()
    smoothed = smooth(table, method)
    pd.testing.assert_frame_equal(smoothed.iloc[:3], photos)
    pd.testing.assert_frame_equal(table, before)
    assert smoothed.dtypes.equals(table.dtypes)


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("mean", {}, "no method 'mean'"),
        ("median", {"window": 0}, "`window` must be a positive"),
        ("median", {"window": float("nan")}, "`window` must be a positive"),
        ("median", {"threshold": 2}, "`threshold` must lie between 0 and 1, got 2 for AU12"),
        ("median", {"threshold": {"AU1": 0.5}}, r"values for \['AU1'\], but the table's AUs are \['AU12'\]"),
        ("median", {"max_gap": 0}, "`max_gap` must be a positive"),
        ("hysteresis", {"high": 0.3, "low": 0.4}, "must not be above `high`"),
        ("hysteresis", {"bridge": -1}, "must not be negative"),
        ("hysteresis", {"min_duration": float("nan")}, "must not be negative"),
    ],
)
def test_wrong_parameters_are_named(method, options, message):
    with pytest.raises(ValueError, match=message):
        smooth(make_table([0.1, 0.2]), method, **options)


@pytest.mark.parametrize("second", [[0.16, 0.2, 0.24], [0.0, 0.04, 0.08], [-9.0, -8.96, -8.92]])
def test_where_time_does_not_go_on_another_track_begins(second):
    """A repeated time stamp, and recordings that were put together."""
    table = make_table([0.9, 0.9, 0.1, 0.9, 0.9] + [0.1, 0.9, 0.1], [0.0, 0.04, 0.08, 0.12, 0.16, *second])
    for rows in (table, table.iloc[::-1]):
        smoothed = smooth(rows, window=0.2).sort_index()
        assert smoothed["AU12"].tolist() == pytest.approx([0.9] * 5 + [0.1] * 3)
    events = find_events(table)
    assert events[["onset_frame", "offset_frame"]].to_numpy().tolist() == [[0, 1], [3, 4], [6, 6]]


def test_wrong_tables_are_named():
    table = make_table([0.1, 0.2])
    with pytest.raises(ValueError, match="has no AUs"):
        smooth(table.drop(columns=["AU12", "AU12_c"]))
    with pytest.raises(ValueError, match=r"lacks the columns \['timestamp'\]"):
        smooth(table.drop(columns="timestamp"))
    with pytest.raises(ValueError, match="Face 0 of a.mp4 has two rows for the frame 0"):
        smooth(pd.concat([table, table], ignore_index=True))

"""The timeline shows what the table holds: curves, decisions, gaps, at any length."""

import numpy as np
import pandas as pd
import pytest

from hiva_hf.inference.events import find_events
from hiva_hf.viz import draw_timeline
from hiva_hf.viz.style import EXPERIMENTAL_MARK
from hiva_hf.viz.timeline import BINS_PER_INCH, make_track


AUS = [1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 18, 20, 22, 23, 24, 25, 26, 43]
LABELS = [f"AU{au}" for au in AUS]


def make_table(seconds: float, fps: float = 25, face_ids=(0,), aus=AUS) -> pd.DataFrame:
    """Each AU is a wave of its own; face 1 is away in the middle fifth of the video."""
    frames = np.arange(int(seconds * fps))
    parts = []
    for face_id in face_ids:
        part = pd.DataFrame({"source": "a.mp4", "frame": frames, "timestamp": frames / fps, "face_id": face_id})
        waves = {
            f"AU{au:02d}": 0.5 + 0.5 * np.sin(frames / fps * (1 + index / 7) + index) for index, au in enumerate(aus)
        }
        decisions = {f"{name}_c": (wave >= 0.5).astype(int) for name, wave in waves.items()}
        part = part.assign(**waves, **decisions)
        is_away = (face_id == 1) & (frames >= 0.4 * len(frames)) & (frames < 0.6 * len(frames))
        parts.append(part[~is_away])
    return pd.concat(parts).sort_values(["frame", "face_id"], ignore_index=True)


def lane_curve(axes, lane: int) -> np.ndarray:
    """Times and probabilities [n, 2] of the lane's curve, counted from the top."""
    curves = [line for line in axes.lines if len(line.get_xdata()) > 2]
    x, y = np.asarray(curves[lane].get_xdata()), np.asarray(curves[lane].get_ydata())
    return np.stack([x, (y - (len(curves) - 1 - lane)) / 0.78], axis=1)


def track_of(table: pd.DataFrame, max_points: int = 900):
    times = np.unique(table["timestamp"])
    rows = table[table["face_id"] == table["face_id"].max()]
    return make_track(rows, {"AU12": "AU12"}, ["AU12"], times, float(np.median(np.diff(times))), max_points)


def test_a_short_video_is_drawn_frame_by_frame():
    table = make_table(4, aus=[1, 12])
    axes = draw_timeline(table).axes[0]
    assert axes.get_title(loc="left") == "Face 0: 100 frames"
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "AU1  Inner Brow Raiser",
        "AU12  Lip Corner Puller",
    ]
    curve = lane_curve(axes, 1)
    curve = curve[~np.isnan(curve[:, 1])]
    # Half a frame more at both ends.
    np.testing.assert_allclose(curve[1:-1, 0], table["timestamp"], atol=1e-9)
    np.testing.assert_allclose(curve[1:-1, 1], table["AU12"], atol=1e-6)


def test_chosen_aus_stand_in_their_order():
    axes = draw_timeline(make_table(2), aus=[12, "AU1"]).axes[0]
    assert [label.get_text()[:4].strip() for label in axes.get_yticklabels()] == ["AU12", "AU1"]
    with pytest.raises(ValueError, match=r"\['AU3'\]"):
        draw_timeline(make_table(2), aus=[3])


def test_no_line_leads_over_a_gap_and_the_gap_is_hatched():
    table = make_table(10, face_ids=(0, 1))
    figure = draw_timeline(table)
    first, second = figure.axes
    assert first.get_gid() == "face 0" and second.get_gid() == "face 1"
    curve = lane_curve(second, 0)
    inside = curve[(curve[:, 0] > 4.0) & (curve[:, 0] < 5.9)]
    assert np.isnan(inside[:, 1]).all()
    track = track_of(table)
    assert track.gaps == [(pytest.approx(3.98), pytest.approx(5.98))]
    hatched = [patches for patches in second.collections if patches.get_hatch()]
    assert [path.get_extents().width for patches in hatched for path in patches.get_paths()] == [pytest.approx(2)]
    assert not [path for patches in first.collections if patches.get_hatch() for path in patches.get_paths()]


def test_a_gap_is_found_too_where_the_table_lacks_the_frames():
    table = make_table(10, aus=[12])
    table = table[(table["timestamp"] < 3) | (table["timestamp"] > 6)]
    assert track_of(table).gaps == [(pytest.approx(2.98), pytest.approx(6.02))]


def test_frames_of_varying_length_are_no_gaps():
    table = make_table(4, aus=[12])
    steps = np.tile([0.02, 0.06], 50)
    assert track_of(table.assign(timestamp=np.cumsum(steps))).gaps == []


def test_a_face_seen_in_a_single_frame_is_drawn():
    table = make_table(2, face_ids=(0, 1))
    lone = pd.concat([table[table["face_id"] == 0], table[table["face_id"] == 1].head(1)])
    track = track_of(lone)
    known = ~np.isnan(track.mean[:, 0])
    assert np.ptp(track.times[known]) == pytest.approx(0.04)


def test_decisions_are_shaded_and_end_at_gaps():
    table = make_table(10, face_ids=(0, 1), aus=[12])
    table["AU12_c"] = 1
    axes = draw_timeline(table, face_ids=[1]).axes[0]
    shaded = [patches for patches in axes.collections if not patches.get_hatch() and len(patches.get_paths()) == 2]
    extents = [path.get_extents() for path in shaded[0].get_paths()]
    assert [(round(extent.x0, 2), round(extent.x1, 2)) for extent in extents] == [(-0.02, 3.98), (5.98, 9.98)]


def test_thresholds_and_events_are_drawn_in_their_lanes():
    event = {"source": "a.mp4", "face_id": 0, "au": "AU12"}
    event |= {"onset_timestamp": 1.0, "apex_timestamp": 1.5, "offset_timestamp": 2.5}
    axes = draw_timeline(make_table(4, aus=[1, 12]), thresholds={"AU12": 0.25}, events=pd.DataFrame([event])).axes[0]
    (line,) = (line for line in axes.lines if line.get_gid() == "event")
    assert list(line.get_xdata()) == [1.0, 2.5] and 0 < line.get_ydata()[0] < 1
    (apex,) = (line for line in axes.lines if line.get_marker() == "v")
    assert list(apex.get_xdata()) == [1.5]
    (threshold,) = (line for line in axes.lines if line.get_linestyle() == "--")
    assert threshold.get_ydata()[0] == pytest.approx(0.25 * 0.78)
    with pytest.raises(ValueError, match=r"`experimental` has unknown AUs: \['AU6'\]"):
        draw_timeline(make_table(4, aus=[1, 12]), experimental=["AU6", "AU12"])
    with pytest.raises(ValueError, match="'onset_timestamp'"):
        draw_timeline(make_table(4), events=pd.DataFrame({"face_id": [0], "au": ["AU12"]}))


def test_events_of_another_video_are_not_drawn():
    event = {"face_id": 0, "au": "AU12", "onset_timestamp": 1.0, "apex_timestamp": 1.5, "offset_timestamp": 2.0}
    events = pd.DataFrame([event | {"source": "a.mp4"}, event | {"source": "b.mp4"}])
    axes = draw_timeline(make_table(4, aus=[1, 12]), events=events).axes[0]
    assert len([line for line in axes.lines if line.get_gid() == "event"]) == 1


def test_aus_are_named_as_the_table_has_them_too():
    figure = draw_timeline(
        make_table(4), aus=["AU01", np.int64(12)], thresholds={"AU12": 0.25, "AU01": 0.5}, experimental=["AU01"]
    )
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert [name[: len(au)] for name, au in zip(names, ("AU1", "AU12"), strict=True)] == ["AU1", "AU12"]
    plain = draw_timeline(make_table(4), aus=[1, 12]).axes[0].get_yticklabels()
    assert names[0] != plain[0].get_text() and names[1] == plain[1].get_text()


def test_aus_that_the_table_calls_experimental_are_marked():
    table = make_table(4, aus=[1, 12])
    table.attrs["experimental_labels"] = ["AU6", "AU12"]
    one, twelve = (label.get_text() for label in draw_timeline(table).axes[0].get_yticklabels())
    assert EXPERIMENTAL_MARK in twelve and EXPERIMENTAL_MARK not in one
    told = draw_timeline(table, experimental=()).axes[0].get_yticklabels()
    assert not [label for label in told if EXPERIMENTAL_MARK in label.get_text()]


def test_events_that_were_found_in_the_table_are_drawn():
    table = make_table(4, aus=[1, 12])
    events = find_events(table)
    axes = draw_timeline(table, events=events).axes[0]
    drawn = [line.get_xdata()[0] for line in axes.lines if line.get_gid() == "event"]
    assert len(drawn) > 1 and drawn == events["onset_timestamp"].tolist()


def test_an_hour_is_reduced_without_losing_its_extremes():
    table = make_table(3600, fps=10, aus=[12])
    table["AU12"] = 0.3
    table.loc[20_000, "AU12"] = 0.99
    table["AU12_c"] = (table["AU12"] > 0.5).astype(int)
    figure = draw_timeline(table)
    curve = lane_curve(figure.axes[0], 0)
    assert len(curve) < 7.2 * BINS_PER_INCH
    track = track_of(table)
    assert np.nanmax(track.high) == 0.99 and np.nanmin(track.low) == 0.3
    assert track.active.sum() == 1
    assert any("smallest to largest" in text.get_text() for text in figure.legends[0].get_texts())


def test_seconds_stand_on_the_axis_and_minutes_beside_them_in_long_videos():
    short = [label.get_text() for label in draw_timeline(make_table(4)).axes[0].get_xticklabels()]
    assert short[0] == "0" and "2" in short
    long = [label.get_text() for label in draw_timeline(make_table(1300, fps=2)).axes[0].get_xticklabels()]
    assert "600\n10:00" in long


def test_a_part_of_the_video_can_be_chosen():
    axes = draw_timeline(make_table(10), start=2, end=4).axes[0]
    assert axes.get_xlim() == (pytest.approx(1.98), pytest.approx(4.02))
    with pytest.raises(ValueError, match=r"from 0\.00 to 9\.96 s"):
        draw_timeline(make_table(10), start=20)


def test_faces_seen_longest_are_shown_and_others_counted():
    table = make_table(4, face_ids=(0, 1, 2))
    figure = draw_timeline(table, max_faces=2)
    assert [axes.get_gid() for axes in figure.axes] == ["face 0", "face 2"]
    assert figure.axes[0].get_title(loc="left").endswith("1 more in the table")
    with pytest.raises(ValueError, match=r"\[9\]"):
        draw_timeline(table, face_ids=[9])


def test_frames_without_a_face_and_nullable_columns_are_read():
    table = make_table(4, aus=[12]).convert_dtypes()
    table.loc[10:19, ["face_id", "AU12", "AU12_c"]] = pd.NA
    track = track_of(table)
    assert track.gaps == [(pytest.approx(0.38), pytest.approx(0.78))]
    draw_timeline(table)


@pytest.mark.parametrize(("theme", "seconds", "width"), [("light", 6, 7.2), ("print", 6, 3.5), ("dark", 3600, 7.2)])
def test_twenty_aus_of_two_faces_are_legible(theme, seconds, width, check_texts):
    table = make_table(seconds, fps=25 if seconds < 100 else 1, face_ids=(0, 1))
    figure = draw_timeline(table, theme=theme, width=width, thresholds=0.5, experimental=["AU10"])
    check_texts(figure, theme)
    assert "AU10\N{DAGGER}" in " ".join(label.get_text() for label in figure.axes[0].get_yticklabels())


def test_it_is_saved(tmp_path):
    draw_timeline(make_table(2), tmp_path / "timeline.pdf")
    assert (tmp_path / "timeline.pdf").read_bytes().startswith(b"%PDF")


def test_tables_that_are_none_of_one_video_are_refused():
    table = make_table(2)
    with pytest.raises(ValueError, match="'face_id'"):
        draw_timeline(table.drop(columns="face_id"))
    with pytest.raises(ValueError, match="no columns of AUs"):
        draw_timeline(table[["timestamp", "face_id"]])
    with pytest.raises(ValueError, match="seems to be of photos"):
        draw_timeline(table.assign(timestamp=np.nan))
    with pytest.raises(ValueError, match="no face"):
        draw_timeline(table.assign(face_id=np.nan))
    two = pd.concat([table, table.assign(source="b.mp4")])
    with pytest.raises(ValueError, match=r"2 sources.*'a\.mp4', 'b\.mp4'"):
        draw_timeline(two)
    assert draw_timeline(two, source="b.mp4").axes

"""Boxes and panels are drawn into the frame: where they belong, inside it, and not over faces."""

from dataclasses import replace

import numpy as np
import pytest

from hiva_hf.inference.records import FaceRecord
from hiva_hf.viz import annotate_frame
from hiva_hf.viz.overlay import FACE_COLORS, _fit, _overlap, _whole_box


def record(face_id, box, probabilities=None) -> FaceRecord:
    probabilities = probabilities or {}
    active = {label: value >= 0.5 for label, value in probabilities.items()}
    return FaceRecord("a.mp4", face_id=face_id, box=box, probabilities=probabilities, active=active)


SMILE = {"AU1": 0.1, "AU6": 0.8, "AU12": 0.95, "AU25": 0.7}


def frame(height: int = 480, width: int = 640, value: int = 128) -> np.ndarray:
    return np.full((height, width, 3), value, dtype=np.uint8)


def changed(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    return (before != after).any(axis=2)


def place(records: list[FaceRecord], size=(480, 640)) -> list:
    """Panels and their places, in the order of the records, which is from the largest face to the smallest."""
    taken = [_whole_box(face.box, *size) for face in records]
    found = []
    for face, box in zip(records, list(taken), strict=True):
        panel, where = _fit(face, box, taken, size, 6)
        taken.append(where)
        found.append((panel, where))
    return found


def test_the_frame_itself_is_not_changed():
    before = frame()
    after = annotate_frame(before, [record(0, (100, 100, 200, 220), SMILE)])
    assert (before == 128).all() and after.shape == before.shape and after.dtype == np.uint8


def test_the_box_is_drawn_in_the_colour_of_its_face_and_the_face_stays_free():
    after = annotate_frame(frame(), [record(1, (100, 100, 200, 220), SMILE)])
    assert tuple(after[160, 101]) == FACE_COLORS[1]
    assert (after[110:210, 110:190] == 128).all()


@pytest.mark.parametrize("value", [0, 128, 255])
def test_box_and_text_stand_out_from_any_background(value):
    after = annotate_frame(frame(value=value), [record(0, (100, 100, 200, 220), SMILE)]).astype(int)
    around = after[160, 98:106]
    assert np.ptp(around.sum(axis=1)) > 300
    panel = after[100:160, 205:400]
    # White letters on a panel that is dark even over a white picture.
    assert panel.min(axis=2).max() > 240
    assert np.median(panel) < 70


def test_the_panel_names_the_most_probable_active_aus():
    ((panel, where),) = place([record(3, (100, 100, 200, 220), SMILE)])
    assert panel.heading == "#3"
    assert [row.text for row in panel.rows] == ["AU12 Lip Corner Puller", "AU6 Cheek Raiser", "AU25 Lips Part"]
    assert where[0] > 200 and where[1] == 100


def test_a_bar_is_as_long_as_the_probability():
    lengths = []
    for value in (0.5, 1.0):
        after = annotate_frame(frame(), [record(0, (100, 100, 200, 220), {"AU12": value})])
        panel = after[100:160, 210:]
        lengths.append((panel == FACE_COLORS[0]).all(axis=2).sum(axis=1).max())
    assert lengths[0] == pytest.approx(lengths[1] / 2, abs=2)


def test_experimental_aus_have_hollow_bars():
    face = record(0, (100, 100, 200, 220), {"AU12": 0.9})
    solid, hollow = (
        (annotate_frame(frame(), [replace(face, experimental=aus)]) == FACE_COLORS[0]).all(axis=2).sum()
        for aus in (frozenset(), frozenset({"AU12"}))
    )
    assert hollow < solid


def test_a_face_without_active_aus_has_its_number_only():
    ((panel, where),) = place([record(2, (100, 100, 200, 220), {"AU12": 0.2})])
    assert panel.heading == "#2" and panel.rows == ()
    assert where[:2] == (100, 100)


@pytest.mark.parametrize("box", [(600, 10, 640, 60), (0, 0, 640, 480), (-50, -20, 30, 40), (300, 440, 420, 500)])
def test_everything_stays_inside_the_frame(box):
    before = frame()
    ((panel, (xmin, ymin, xmax, ymax)),) = place([record(0, box, SMILE)])
    assert 0 <= xmin < xmax <= 640 and 0 <= ymin < ymax <= 480
    assert xmax - xmin == panel.width and ymax - ymin == panel.height
    assert changed(before, annotate_frame(before, [record(0, box, SMILE)])).any()


def test_text_grows_with_frame_and_face():
    ((small, _),) = place([record(0, (100, 100, 300, 320), SMILE)])
    ((large, _),) = place([record(0, (300, 300, 900, 960), SMILE)], size=(1440, 1920))
    assert large.font_size > 1.5 * small.font_size


def test_panels_of_many_faces_cover_neither_faces_nor_each_other():
    rng = np.random.default_rng(0)
    boxes = [(180 * x + 50, 180 * y + 30, 180 * x + 122, 180 * y + 126) for y in range(4) for x in range(7)]
    labels = [f"AU{au}" for au in (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17)]
    records = [
        record(number, box, {label: float(rng.uniform(0, 0.8)) for label in labels})
        for number, box in enumerate(boxes)
    ]
    found = place(records, size=(720, 1260))
    beside = [(panel, where) for panel, where in found if panel.rows]
    assert len(beside) > 20
    for index, (_, where) in enumerate(beside):
        assert not any(_overlap(where, box) for box in boxes)
        assert not any(_overlap(where, other) for _, other in beside[index + 1 :])


def test_where_room_is_short_names_go_first():
    boxes = [(170 * x + 5, 40, 170 * x + 65, 120) for x in range(5)]
    found = place([record(number, box, SMILE) for number, box in enumerate(boxes)], size=(170, 860))
    texts = [[row.text for row in panel.rows] for panel, _ in found]
    assert ["AU12", "AU6", "AU25"] in texts
    assert all(panel.heading.startswith("#") for panel, _ in found)


def test_frames_without_faces_are_copied():
    before = frame()
    after = annotate_frame(before, [record(None, None)])
    assert (after == before).all() and after is not before
    assert (annotate_frame(before, [record(0, (700, 10, 800, 90), SMILE)]) == before).all()


def test_tiny_frames_do_not_fail():
    assert annotate_frame(frame(12, 16), [record(0, (2, 2, 10, 10), SMILE)]).shape == (12, 16, 3)


def test_what_is_no_frame_is_refused():
    with pytest.raises(ValueError, match=r"float64 \[4, 4, 3\]"):
        annotate_frame(np.zeros((4, 4, 3)), [])
    with pytest.raises(ValueError, match="max_aus"):
        annotate_frame(frame(), [], max_aus=0)

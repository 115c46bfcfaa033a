"""Faces keep their numbers through a video, and the whole frame is searched only when it has to be."""

import numpy as np
import pytest

from hiva_hf.face_alignment import TEMPLATE
from hiva_hf.face_detection import CenterFaceDetector, DetectedFace
from hiva_hf.inference import face_tracking
from hiva_hf.inference.face_tracking import FaceTracker, KnownFace, overlap


def face_at(x, y, size=40.0) -> DetectedFace:
    corner = np.array([x - size / 2, y - size / 2])
    return DetectedFace((*corner, *(corner + size)), 0.9, size * TEMPLATE + corner)


def follow(places, frame_rate=25.0, **options):
    """Ids of the faces at `places` (a list of (x, y) for each frame), in the order of `places`."""
    frame = iter(places)
    tracker = FaceTracker(lambda image: [face_at(*place) for place in next(frame)], detect_every=1, **options)
    image = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    ids = []
    for number, wanted in enumerate(places):
        tracked = {tuple(np.round(item.face.box, 6)): item.face_id for item in tracker(image, number / frame_rate)}
        ids.append([tracked[tuple(np.round(face_at(*place).box, 6))] for place in wanted])
    return ids


def test_faces_that_move_keep_their_numbers():
    places = [[(50 + 4 * n, 100), (250 - 2 * n, 60 + 3 * n)] for n in range(20)]
    assert follow(places) == [[0, 1]] * 20


def test_the_order_of_detections_does_not_matter():
    places = [[(50, 100), (200, 100)], [(202, 100), (52, 100)], [(54, 100), (204, 100)]]
    assert follow(places) == [[0, 1], [1, 0], [0, 1]]


def test_faces_that_cross_keep_their_numbers():
    """One hides the other for six frames."""
    left = [(60 + 8 * n, 100) for n in range(26)]
    right = [(260 - 8 * n, 110) for n in range(26)]
    places = [[a] if abs(a[0] - b[0]) < 50 else [a, b] for a, b in zip(left, right, strict=True)]
    assert sum(len(faces) == 1 for faces in places) == 6
    assert follow(places) == [[0] if len(faces) == 1 else [0, 1] for faces in places]


def test_a_face_that_vanishes_briefly_comes_back_under_its_number():
    places = [[(50 + 2 * n, 100)] if not 10 <= n < 30 else [] for n in range(40)]
    assert follow(places) == [[0] if faces else [] for faces in places]


def test_a_face_that_comes_back_late_gets_a_new_number():
    places = [[(50, 100)] if n < 5 or n > 40 else [] for n in range(45)]
    assert [ids for ids in follow(places) if ids] == [[0]] * 5 + [[1]] * 4
    assert [ids for ids in follow(places, max_gap=2.0) if ids] == [[0]] * 9


def test_a_face_that_appears_elsewhere_is_another_one():
    places = [[(50, 100)]] * 3 + [[(250, 100)]] * 3
    assert follow(places) == [[0]] * 3 + [[1]] * 3


def test_costs_of_a_crowd_are_those_of_each_pair():
    """Distance from where a face was expected, in the mean size of both, and the logarithm of the ratio of sizes."""
    generator = np.random.default_rng(0)

    def random_faces(number):
        corners, sides = generator.uniform(0, 300, (number, 2)), generator.uniform(60, 200, (number, 2))
        boxes = np.concatenate([corners, corners + sides], axis=1)
        return [DetectedFace(tuple(box), 0.9, TEMPLATE) for box in boxes]

    tracker, faces, time = FaceTracker(lambda image: []), random_faces(30), 1.5
    tracker._known = [
        KnownFace(number, face, time=1.5 - 0.1 * (number % 4), velocity=generator.uniform(-50, 50, 2))
        for number, face in enumerate(random_faces(20))
    ]
    costs = tracker._costs(faces, time)
    assert costs.shape == (20, 30) and 20 < (costs < face_tracking._FORBIDDEN).sum() < 600
    for row, known in zip(costs, tracker._known, strict=True):
        gap = 0.0 if tracker._is_visible(known) else time - known.time
        for cost, face in zip(row, faces, strict=True):
            sizes = face_tracking.size_of(known.face), face_tracking.size_of(face)
            way = np.linalg.norm(known.center_at(time) - face_tracking.center_of(face)) / np.sqrt(sizes[0] * sizes[1])
            if max(sizes) / min(sizes) > 2 or way > 1 + gap:
                assert cost == face_tracking._FORBIDDEN
            else:
                assert cost == pytest.approx(way + np.log(max(sizes) / min(sizes)))


def test_a_face_of_another_size_is_another_one():
    places = [[(100, 100, 40)]] * 3 + [[(100, 100, 100)]] * 3
    assert follow(places) == [[0]] * 3 + [[1]] * 3


def test_a_cut_makes_all_faces_new():
    tracker = FaceTracker(lambda image: [face_at(100, 100)], detect_every=1)
    scenes = np.random.default_rng(0).integers(0, 256, (2, 24, 32, 3), np.uint8).repeat(10, 1).repeat(10, 2)
    ids = [tracker(scenes[number // 3], number / 25)[0].face_id for number in range(6)]
    assert ids == [0, 0, 0, 1, 1, 1]


def test_brightness_alone_is_no_cut():
    tracker = FaceTracker(lambda image: [face_at(100, 100)], detect_every=1)
    scene = np.random.default_rng(0).integers(0, 200, (24, 32, 3), np.uint8).repeat(10, 0).repeat(10, 1)
    assert [tracker(image, n / 25)[0].face_id for n, image in enumerate([scene, scene + 50, scene // 2])] == [0] * 3


@pytest.mark.parametrize("grey", [0, 255])
def test_a_frame_that_shows_nothing_is_no_cut_and_hides_none(grey):
    scenes = np.random.default_rng(0).integers(0, 256, (2, 24, 32, 3), np.uint8).repeat(10, 1).repeat(10, 2)
    blank = np.full_like(scenes[0], grey)
    tracker = FaceTracker(lambda image: [] if image is blank else [face_at(100, 100)], detect_every=1)
    images = [blank, scenes[0], blank, blank, scenes[0], blank, scenes[1]]
    ids = [[item.face_id for item in tracker(image, n / 25)] for n, image in enumerate(images)]
    assert ids == [[], [0], [], [], [0], [], [1]]


def test_the_next_video_begins_anew():
    tracker = FaceTracker(lambda image: [face_at(100, 100)], detect_every=1)
    image = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    assert tracker(image, 0.0)[0].face_id == tracker(image, 0.04)[0].face_id == 0
    tracker.reset()
    assert tracker(image, 0.0)[0].face_id == 0


def test_faces_that_cannot_be_aligned_are_left_out():
    point = DetectedFace((0.0, 0.0, 9.0, 9.0), 0.9, np.full((5, 2), 4.0))
    tracker = FaceTracker(lambda image: [point, face_at(100, 100)])
    assert [item.face.box for item in tracker(np.zeros((240, 320, 3), np.uint8), 0.0)] == [face_at(100, 100).box]


def test_a_clock_that_begins_anew_is_no_cut():
    """Recordings that were put together; the face moves on."""
    background = np.random.default_rng(0).integers(0, 100, (240, 320, 3), np.uint8)

    def find_bright_square(image):
        rows, columns = np.nonzero(image[..., 0] > 200)
        if len(rows) == 0:
            return []
        corners = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
        return [face_at((corners[0] + corners[2]) / 2, (corners[1] + corners[3]) / 2, float(corners[2] - corners[0]))]

    tracker = FaceTracker(find_bright_square, detect_every=10)
    ids, searches = set(), []
    for part in range(12):
        before = tracker.num_searches
        for number in range(100):
            image, left = background.copy(), round(140 + 100 * np.sin((100 * part + number) / 20))
            image[100:140, left : left + 40, 0] = 255
            (found,) = tracker(image, number / 25)
            ids.add(found.face_id)
        searches.append(tracker.num_searches - before)
    assert ids == {0}
    assert max(searches) <= 11


@pytest.mark.parametrize(
    ("options", "message"), [({"detect_every": 0}, "at least 1"), ({"max_gap": -1}, "at least 0")]
)
def test_wrong_settings_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        FaceTracker(lambda image: [], **options)


@pytest.fixture(scope="module")
def walk(scene):
    """A head walks through the picture; from frame 12 on there is a second one, and from 18 on the first is gone."""
    frames = []
    for number in range(24):
        places = [(70 + 3 * number, 110, 110)] if number < 18 else []
        places += [(250, 120, 100)] if number >= 12 else []
        frames.append(scene(places))
    return frames


@pytest.fixture(scope="module")
def everywhere(walk):
    """Full detection in each frame."""
    tracker = FaceTracker(CenterFaceDetector(), detect_every=1)
    return [tracker(frame, number / 25) for number, frame in enumerate(walk)]


def test_searching_around_known_faces_finds_nearly_the_same(walk, everywhere):
    tracker = FaceTracker(CenterFaceDetector(), detect_every=8)
    found = [tracker(frame, number / 25) for number, frame in enumerate(walk)]
    assert tracker.num_searches <= 8
    for number, (near, full) in enumerate(zip(found, everywhere, strict=True)):
        if 12 <= number < 16:
            # The second one is noticed at the next search of the whole frame.
            near, full = ([item for item in items if item.face_id == 0] for items in (near, full))
        assert sorted(item.face_id for item in near) == sorted(item.face_id for item in full)
        for item in near:
            (other,) = [other for other in full if other.face_id == item.face_id]
            assert overlap(item.face, other.face) > 0.75
            size = other.face.box[2] - other.face.box[0]
            assert np.abs(item.face.landmarks - other.face.landmarks).mean() < 0.05 * size


def test_a_lost_face_has_the_whole_frame_searched_at_once(walk, everywhere):
    tracker = FaceTracker(CenterFaceDetector(), detect_every=1000)
    searches = []
    for number, frame in enumerate(walk):
        tracker(frame, number / 25)
        searches.append(tracker.num_searches)
    # At the first frame, and when the first head is gone.
    assert searches == [1] * 18 + [2] * 6

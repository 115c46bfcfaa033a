# Copyright 2026 The HiVA-HF Authors. Licensed under the Apache License, Version 2.0.
"""Skin folds that muscles cause, as height maps over the skin texture.

Morph targets move skin but are too coarse to wrinkle it. Each fold here is drawn as lines on the resting face, in
decimetres (x to the side, y up), and baked into texture space, so that it moves with the skin.
"""

from collections.abc import Callable, Mapping

import numpy as np

from .mesh import SurfacePart
from .renderer import FAR, Camera, rasterize


RELIEF_SIZE = 1024
# Depth of a groove and its half width at full strength, in decimetres. It is about twice as deep as in reality, since
# in a crop of 160 pixels a groove is little more than one pixel wide.
GROOVE_DEPTH = 0.028
GROOVE_WIDTH = 0.014
# Folds are on the front of the face; the texture also covers the back of the head and the inside of the mouth.
FRONT = 0.75

Points = np.ndarray
Fold = Callable[[Points, Points, np.random.Generator], np.ndarray]


def rest_positions(part: SurfacePart, vertices: np.ndarray, size: int = RELIEF_SIZE) -> np.ndarray:
    """Maps texels to positions on the resting face.

    Args:
        part: The skin.
        vertices: Array `[num_vertices, 3]` of the resting face, in decimetres.
        size: Side of the map in texels.

    Returns:
        Array `[size, size, 3]`, in decimetres, NaN where the texture is not used.
    """
    points, _ = part.corners(vertices)
    plane = np.concatenate([part.uvs - 0.5, np.zeros((len(part.uvs), 1), np.float32)], axis=1)
    camera = Camera(np.array([0.0, 0.0, 5.0]), np.zeros(3), 0.0, 2.0 * float(np.arctan(0.1)))
    low, high = points.min(axis=0), points.max(axis=0)
    scaled, _ = rasterize(
        plane, part.triangles, (points - low) / (high - low), camera, np.full((size, size), FAR, np.float32)
    )
    return scaled * (high - low) + low


class WrinkleMaps:
    """The folds of one variant of faces, baked into texture space.

    Args:
        positions: Array `[size, size, 3]`, see `rest_positions`.
        seed: Seed of the lines, which vary slightly from seed to seed.
    """

    def __init__(self, positions: np.ndarray, seed: int):
        self._shape = positions.shape[:2]
        front = np.nan_to_num(positions[..., 2], nan=-9.0) > FRONT
        front &= (np.nan_to_num(np.abs(positions[..., 0]), nan=9.0) < 0.75) & (positions[..., 1] > 6.1)
        self._rows, self._columns = np.nonzero(front)
        x, y = positions[front][:, 0], positions[front][:, 1]
        self._maps = {}
        for number, (name, fold) in enumerate(FOLDS.items()):
            height = fold(x, y, np.random.default_rng([seed, number])).astype(np.float32)
            touched = np.abs(height) > 1e-4
            self._maps[name] = (np.flatnonzero(touched), height[touched])

    def relief(self, strengths: Mapping[str, float]) -> np.ndarray:
        """Adds up folds.

        Args:
            strengths: Weight of each fold by name, 1 is full strength.

        Returns:
            Array `[size, size]`, float32 height over the smooth skin in decimetres.
        """
        height = np.zeros(len(self._rows), np.float32)
        for name, strength in strengths.items():
            index, values = self._maps[name]
            height[index] += np.float32(strength) * values
        relief = np.zeros(self._shape, np.float32)
        relief[self._rows, self._columns] = height
        return relief


def _groove(distance: np.ndarray, width: float = GROOVE_WIDTH) -> np.ndarray:
    """The cross-section of a fold: a groove between two soft ridges."""
    sharp = np.exp(-0.5 * (distance / width) ** 2)
    broad = np.exp(-0.5 * (distance / (2.4 * width)) ** 2)
    return GROOVE_DEPTH * (0.45 * broad - sharp)


def _window(value: np.ndarray, low: float, high: float, soft: float) -> np.ndarray:
    """1 between `low` and `high`, fading to 0 over `soft` on either side."""
    return np.clip((value - low) / soft + 1.0, 0.0, 1.0) * np.clip((high - value) / soft + 1.0, 0.0, 1.0)


def _along(x: np.ndarray, y: np.ndarray, line: list[tuple[float, float]], width: float = GROOVE_WIDTH) -> np.ndarray:
    """A groove along a polyline, tapering towards its ends."""
    nearest, depth, walked = np.full(x.shape, np.inf), np.zeros(x.shape), 0.0
    points = np.array(line)
    total = np.linalg.norm(np.diff(points, axis=0), axis=1).sum()
    for start, end in zip(points[:-1], points[1:], strict=True):
        step = end - start
        length = np.linalg.norm(step)
        share = np.clip(((x - start[0]) * step[0] + (y - start[1]) * step[1]) / length**2, 0.0, 1.0)
        distance = np.hypot(x - start[0] - share * step[0], y - start[1] - share * step[1])
        place = (walked + share * length) / total
        closer = distance < nearest
        nearest = np.where(closer, distance, nearest)
        depth = np.where(closer, np.sin(np.pi * np.clip(0.12 + 0.76 * place, 0.0, 1.0)) ** 0.7, depth)
        walked += length
    return depth * _groove(nearest, width)


def _forehead(x: np.ndarray, y: np.ndarray, rng: np.random.Generator, inner: float, outer: float) -> np.ndarray:
    """Horizontal lines between two distances from the middle, arched over the brows."""
    height = np.zeros(x.shape)
    phase = rng.uniform(0, 2 * np.pi, 4)
    for number in range(4):
        level = 7.58 + 0.085 * number + rng.normal(0, 0.008)
        wobble = 0.012 * np.sin(11 * x + phase[number]) + 0.005 * np.sin(31 * x + 2 * phase[number])
        arch = 0.035 * np.cos(5.5 * (np.abs(x) - 0.3))
        height += rng.uniform(0.7, 1.0) * _groove(y - level - wobble - arch, 1.15 * GROOVE_WIDTH)
    return height * _window(np.abs(x), inner, outer, 0.12) * _window(y, 7.52, 7.9, 0.05)


def _forehead_centre(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return _forehead(x, y, rng, -1.0, 0.2)


def _forehead_sides(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return _forehead(x, y, rng, 0.24, 0.5)


def _glabella(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    height = np.zeros(x.shape)
    for side in (-1, 1):
        foot, head = rng.normal(0.055, 0.006), rng.normal(0.075, 0.01)
        line = [(side * foot, 7.33), (side * foot, 7.45), (side * head, 7.53 + rng.normal(0, 0.02))]
        height += 1.2 * _along(x, y, line, 1.2 * GROOVE_WIDTH)
    return height + 0.7 * _along(x, y, [(-0.08, 7.335), (0.0, 7.325), (0.08, 7.335)])


def _crows_feet(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    height = np.zeros(x.shape)
    for side in (-1, 1):
        for angle in (-38.0, -16.0, 6.0, 26.0):
            turn = np.radians(angle + rng.normal(0, 4))
            reach = rng.uniform(0.13, 0.18)
            start = (side * 0.475, 7.27 + 0.0013 * angle)
            end = (start[0] + side * reach * np.cos(turn), start[1] + reach * np.sin(turn))
            height += 1.1 * _along(x, y, [start, end])
    return height


def _eye_arc(x: np.ndarray, y: np.ndarray, radius: float, width: float) -> np.ndarray:
    """A crease below both eyes, at `radius` below their middle."""
    height = np.zeros(x.shape)
    for side in (-1, 1):
        turns = np.radians(np.linspace(200, 335, 9))
        line = [(side * (0.31 + 1.25 * radius * np.cos(turn)), 7.285 + radius * np.sin(turn)) for turn in turns]
        height += _along(x, y, line, width)
    return height


def _under_eye(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return _eye_arc(x, y, rng.normal(0.19, 0.006), 1.2 * GROOVE_WIDTH)


def _lower_lid(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return 1.2 * _eye_arc(x, y, rng.normal(0.125, 0.004), GROOVE_WIDTH)


def _nose_root(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Lines across the bridge and oblique "bunny lines" on the sides of the nose."""
    height = np.zeros(x.shape)
    for level in (7.22, 7.29, 7.36):
        level = level + rng.normal(0, 0.006)
        height += 1.3 * _along(x, y, [(-0.1, level + 0.03), (0.0, level - 0.01), (0.1, level + 0.03)])
    for side in (-1, 1):
        for level in (7.1, 7.16, 7.22):
            level = level + rng.normal(0, 0.008)
            height += 1.2 * _along(x, y, [(side * 0.07, level + 0.05), (side * 0.17, level - 0.03)])
    return height


def _nasolabial_line(side: int, rng: np.random.Generator) -> list[tuple[float, float]]:
    out = rng.normal(0, 0.008)
    return [
        (side * 0.165, 7.0),
        (side * (0.215 + out), 6.9),
        (side * (0.29 + out), 6.78),
        (side * (0.335 + out), 6.64),
    ]


def _nasolabial(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return sum(1.3 * _along(x, y, _nasolabial_line(side, rng), 1.6 * GROOVE_WIDTH) for side in (-1, 1))


def _nasolabial_upper(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return sum(1.4 * _along(x, y, _nasolabial_line(side, rng)[:3], 1.5 * GROOVE_WIDTH) for side in (-1, 1))


def _dimple(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    height = np.zeros(x.shape)
    for side in (-1, 1):
        out = side * rng.normal(0.335, 0.008)
        line = [(out - side * 0.02, 6.7), (out, 6.62), (out - side * 0.02, 6.52)]
        height += 1.6 * _along(x, y, line, 1.4 * GROOVE_WIDTH)
        pit = np.hypot(x - side * 0.295, y - 6.605)
        height -= 1.2 * GROOVE_DEPTH * np.exp(-0.5 * (pit / 0.022) ** 2)
    return height


def _marionette(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    height = np.zeros(x.shape)
    for side in (-1, 1):
        out = rng.normal(0.0, 0.008)
        line = [(side * 0.28, 6.59), (side * (0.315 + out), 6.5), (side * (0.32 + out), 6.4)]
        height += 1.2 * _along(x, y, line, 1.3 * GROOVE_WIDTH)
    return height


def _chin(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Pebbled skin on the boss of the chin under a deeper crease below the lip."""
    pebbles = np.zeros(x.shape)
    for _ in range(26):
        at = (rng.uniform(-0.16, 0.16), rng.uniform(6.22, 6.38))
        pebbles -= GROOVE_DEPTH * np.exp(-0.5 * (np.hypot(x - at[0], y - at[1]) / 0.014) ** 2)
    crease = 1.4 * _along(x, y, [(-0.16, 6.405), (-0.08, 6.43), (0.0, 6.435), (0.08, 6.43), (0.16, 6.405)])
    return 0.3 * pebbles + crease


def _lip_radial(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Short lines that run outwards from the edge of the lips."""
    height = np.zeros(x.shape)
    for place in np.linspace(-0.2, 0.2, 7):
        shift = rng.normal(0, 0.006)
        height += 0.4 * _along(x, y, [(0.85 * place, 6.69), (1.15 * place + shift, 6.79)], 0.8 * GROOVE_WIDTH)
        height += 0.35 * _along(x, y, [(0.85 * place, 6.47), (1.1 * place + shift, 6.4)], 0.8 * GROOVE_WIDTH)
    return height


def _lip_press(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Bulges above and below pressed lips, and pits beside the corners."""
    wide = np.exp(-0.5 * (x / 0.16) ** 2)
    above = np.exp(-0.5 * ((y - 6.74) / 0.025) ** 2)
    below = np.exp(-0.5 * ((y - 6.44) / 0.025) ** 2)
    pits = sum(np.exp(-0.5 * (np.hypot(x - side * 0.3, y - 6.6) / 0.02) ** 2) for side in (-1, 1))
    return GROOVE_DEPTH * (0.9 * wide * (above + below) - pits)


#: Folds by name.
FOLDS: dict[str, Fold] = {
    "forehead_centre": _forehead_centre,
    "forehead_sides": _forehead_sides,
    "glabella": _glabella,
    "crows_feet": _crows_feet,
    "under_eye": _under_eye,
    "lower_lid": _lower_lid,
    "nose_root": _nose_root,
    "nasolabial": _nasolabial,
    "nasolabial_upper": _nasolabial_upper,
    "dimple": _dimple,
    "marionette": _marionette,
    "chin": _chin,
    "lip_radial": _lip_radial,
    "lip_press": _lip_press,
}

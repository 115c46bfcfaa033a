# Copyright 2026 The HiVA-HF Authors. Licensed under the Apache License, Version 2.0.
"""Draw everything around a face: camera, lighting, background, and the effects of a camera on a picture."""

import cv2
import numpy as np

from .renderer import Camera, Lighting


# Degrees. Alignment removes the roll, except for the detector's error.
YAW_SIGMA, YAW_LIMIT = 12.0, 32.0
PITCH_SIGMA, PITCH_LIMIT = 7.0, 18.0
ROLL_SIGMA = 5.0
CAMERA_DISTANCE = 11.0


def sample_camera(rng: np.random.Generator, eyes: np.ndarray) -> Camera:
    """Draws a view of the head.

    Args:
        rng: Source of randomness.
        eyes: Array `[3]`, the point between the eyes in decimetres.

    Returns:
        `Camera`
    """
    yaw = np.radians(np.clip(rng.normal(0, YAW_SIGMA), -YAW_LIMIT, YAW_LIMIT))
    pitch = np.radians(np.clip(rng.normal(2.0, PITCH_SIGMA), -PITCH_LIMIT, PITCH_LIMIT))
    # The centre of the head is below and behind the eyes.
    target = eyes + np.array([0.0, -0.28, -0.5]) + np.append(rng.normal(0, 0.04, 2), 0.0)
    toward = np.array([np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)])
    distance = CAMERA_DISTANCE * rng.uniform(0.62, 1.4)
    # The opening angle follows the distance, so that the head keeps its size and only the perspective changes.
    field_of_view = 2.0 * np.arctan(rng.uniform(1.3, 1.5) / distance)
    return Camera(target + distance * toward, target, np.radians(rng.normal(0, ROLL_SIGMA)), float(field_of_view))


def sample_lighting(rng: np.random.Generator, camera: Camera) -> Lighting:
    """Draws one to three lamps and ambient light, from flat office light to a hard lamp at the side."""
    lamps = int(rng.integers(1, 4))
    right, up, backward = camera.rotation
    directions = []
    for _ in range(lamps):
        side, above, front = rng.normal(0, 0.75), rng.normal(0.45, 0.45), rng.uniform(0.45, 1.2)
        direction = side * right + above * up + front * backward
        directions.append(direction / np.linalg.norm(direction))
    warmth = rng.normal(0, 0.09, lamps)
    tint = np.stack([1.0 + warmth, 1.0 + 0.1 * rng.normal(0, 0.3, lamps), 1.0 - warmth], axis=1)
    strengths = rng.dirichlet(np.full(lamps, 2.0)) * rng.uniform(0.5, 1.15)
    # The strongest lamp comes first, since the first one casts the shadow.
    order = np.argsort(-strengths)
    ambient = rng.uniform(0.12, 0.45) * (1.0 + np.array([1.0, 0.0, -1.0]) * rng.normal(0, 0.05))
    return Lighting(
        directions=np.array(directions, np.float32)[order],
        colors=(tint * strengths[:, None]).astype(np.float32)[order],
        ambient=ambient.astype(np.float32),
        sky=float(rng.uniform(0.0, 0.15)),
        shadow=float(rng.uniform(0.3, 0.95)) if rng.random() < 0.75 else 0.0,
    )


def sample_background(rng: np.random.Generator, size: int) -> np.ndarray:
    """Draws the background.

    Args:
        rng: Source of randomness.
        size: Side of the picture in pixels.

    Returns:
        Array `[size, size, 3]`, float32 linear RGB.
    """
    kinds = (_plain_wall, _clouds, _stripes, _shelves, _bokeh, _texture)
    picture = kinds[rng.integers(len(kinds))](rng, size)
    if rng.random() < 0.5:
        picture = cv2.GaussianBlur(picture, (0, 0), size * rng.uniform(0.004, 0.03))
    return np.clip(picture * rng.uniform(0.35, 1.1), 0.0, 1.0).astype(np.float32)


def _color(rng: np.random.Generator) -> np.ndarray:
    grey = rng.uniform(0.02, 0.8)
    return np.clip(grey * (1.0 + rng.normal(0, rng.choice((0.06, 0.3)), 3)), 0.0, 1.0)


def _plain_wall(rng: np.random.Generator, size: int) -> np.ndarray:
    angle = rng.uniform(0, 2 * np.pi)
    row, column = np.mgrid[0:size, 0:size] / size - 0.5
    ramp = 1.0 + rng.uniform(0.0, 0.9) * (np.cos(angle) * column + np.sin(angle) * row)
    return (ramp[..., None] * _color(rng)).astype(np.float32)


def _clouds(rng: np.random.Generator, size: int) -> np.ndarray:
    rows, columns = rng.integers(2, 8, 2)
    coarse = np.array([[_color(rng) for _ in range(columns)] for _ in range(rows)], np.float32)
    return np.clip(cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC), 0.0, 1.0)


def _stripes(rng: np.random.Generator, size: int) -> np.ndarray:
    angle, period = rng.uniform(0, np.pi), size * rng.uniform(0.04, 0.25)
    row, column = np.mgrid[0:size, 0:size]
    wave = np.sin(2 * np.pi * (np.cos(angle) * column + np.sin(angle) * row) / period)
    share = np.clip(0.5 + rng.uniform(0.6, 8.0) * wave, 0.0, 1.0)[..., None]
    return (share * _color(rng) + (1.0 - share) * _color(rng)).astype(np.float32)


def _shelves(rng: np.random.Generator, size: int) -> np.ndarray:
    """Overlapping boxes, like furniture, windows and books."""
    picture = _plain_wall(rng, size)
    for _ in range(rng.integers(4, 30)):
        corner = rng.integers(-size // 4, size, 2)
        extent = (size * rng.uniform(0.03, 0.5, 2)).astype(int)
        far = corner + extent
        cv2.rectangle(picture, corner.tolist(), far.tolist(), _color(rng).tolist(), -1)
    return picture


def _bokeh(rng: np.random.Generator, size: int) -> np.ndarray:
    """Lights or leaves out of focus."""
    picture = 0.5 * _clouds(rng, size) * _color(rng).astype(np.float32)
    for _ in range(rng.integers(10, 60)):
        spot = np.zeros((size, size), np.float32)
        cv2.circle(spot, rng.integers(0, size, 2).tolist(), int(size * rng.uniform(0.01, 0.07)), 1.0, -1)
        share = np.float32(rng.uniform(0.2, 0.9)) * spot[..., None]
        picture = picture * (1.0 - share) + share * _color(rng).astype(np.float32) * 1.3
    return picture


def _texture(rng: np.random.Generator, size: int) -> np.ndarray:
    """Noise at several scales, like plaster, grass or cloth."""
    total = np.zeros((size, size), np.float32)
    for octave in range(1, 7):
        grid = rng.normal(0, 1, (2**octave + 1, 2**octave + 1)).astype(np.float32)
        total += cv2.resize(grid, (size, size), interpolation=cv2.INTER_LINEAR) / octave**0.8
    share = 1.0 / (1.0 + np.exp(-rng.uniform(0.5, 3.0) * total))[..., None]
    return (share * _color(rng) + (1.0 - share) * _color(rng)).astype(np.float32)


def expose(rng: np.random.Generator, picture: np.ndarray) -> np.ndarray:
    """Exposes a linear picture `[size, size, 3]` like a camera with centre metering, roughly to a mid grey."""
    third = len(picture) // 3
    metered = float(picture[third:-third, third:-third].mean())
    gain = (rng.uniform(0.16, 0.42) / max(metered, 1e-3)) ** 0.7
    exposed = picture * float(np.clip(gain, 0.5, 4.0))
    # A soft shoulder keeps the details of bright skin that would be clipped to white.
    return np.where(exposed > 0.7, 1.0 - 0.3 * np.exp(-(exposed - 0.7) / 0.3), exposed)


def photograph(rng: np.random.Generator, picture: np.ndarray) -> np.ndarray:
    """Applies the effects of a camera to a crop: contrast, saturation, blur, noise, and sometimes a low resolution.

    Args:
        rng: Source of randomness.
        picture: uint8 array `[size, size, 3]`.

    Returns:
        uint8 array `[size, size, 3]`.
    """
    size = picture.shape[0]
    result = picture.astype(np.float32) / 255.0
    if rng.random() < 0.15:
        small = int(size * rng.uniform(0.45, 0.8))
        result = cv2.resize(result, (small, small), interpolation=cv2.INTER_AREA)
        result = cv2.resize(result, (size, size), interpolation=cv2.INTER_CUBIC)
    if rng.random() < 0.35:
        result = cv2.GaussianBlur(result, (0, 0), rng.uniform(0.3, 0.9) * size / 160.0)
    result = np.clip(result, 0.0, 1.0) ** rng.uniform(0.8, 1.25)
    grey = result.mean(axis=2, keepdims=True)
    result = grey + (result - grey) * rng.uniform(0.7, 1.2) if rng.random() > 0.03 else np.repeat(grey, 3, axis=2)
    result = (result - 0.5) * rng.uniform(0.85, 1.1) + 0.5
    # Moderate, and mostly low: noise increases the file size and hides the folds that the labels are about.
    noise = rng.normal(0, 1, (size, size, 1)) + 0.5 * rng.normal(0, 1, (size, size, 3))
    result += noise.astype(np.float32) * rng.choice((0.0, 0.006, 0.014), p=(0.4, 0.4, 0.2))
    return (np.clip(result, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)

# Copyright 2026 The HiVA-HF Authors. Licensed under the Apache License, Version 2.0.
"""Paint textures: the grain of skin, beards, the colour of hair and eyes."""

import cv2
import numpy as np

from .identity import Subject
from .wrinkles import RELIEF_SIZE


# Weights of linear red, green and blue (ITU-R BT.709).
LUMINANCE = np.array([0.2126, 0.7152, 0.0722], np.float32)


def fitted(mask: np.ndarray) -> np.ndarray:
    """Resizes a mask `[height, width]` to the size at which skin is painted, `[RELIEF_SIZE, RELIEF_SIZE]`."""
    return cv2.resize(mask, (RELIEF_SIZE, RELIEF_SIZE), interpolation=cv2.INTER_AREA)


def beard_mask(positions: np.ndarray) -> np.ndarray:
    """Where a beard grows, 0 to 1, from positions on the resting face `[size, size, 3]`."""
    x, y, z = np.moveaxis(np.nan_to_num(positions, nan=-9.0), -1, 0)
    cheek = 6.72 + 0.45 * np.abs(x)
    jaw = (y > 5.95) & (y < cheek) & (z > 0.55)
    return cv2.GaussianBlur(jaw.astype(np.float32), (0, 0), 6.0)


def grain(rng: np.random.Generator, subject: Subject, beard: np.ndarray) -> np.ndarray:
    """Draws blotches, pores, freckles and stubble as a factor on the skin's colour, of the shape of a beard mask."""
    blotches = cv2.resize(rng.normal(0, 1, (40, 40)).astype(np.float32), beard.shape)
    noise, other_noise = rng.normal(0, 1, (2, *beard.shape)).astype(np.float32)
    pores = cv2.GaussianBlur(noise, (0, 0), 0.8)
    # Blurring by 1.3 texels divides the standard deviation of white noise by about 4.6.
    spots = 4.6 * cv2.GaussianBlur(other_noise, (0, 0), 1.3)
    freckles = subject.freckles * 0.3 * np.clip(spots - 1.5, 0.0, 1.0)
    stubble = subject.stubble * beard * (0.4 + 0.16 * np.clip(noise, -1.5, 1.5))
    return (1.0 + 0.035 * blotches + 0.1 * pores) * (1.0 - freckles) * (1.0 - np.clip(stubble, 0.0, 0.7))


def saturated(texture: np.ndarray, saturation: float) -> np.ndarray:
    """Reduces the saturation of a texture `[height, width, 4]`."""
    grey = (texture[..., :3] @ LUMINANCE)[..., None]
    return np.concatenate([grey + saturation * (texture[..., :3] - grey), texture[..., 3:]], axis=-1)


def dyed(texture: np.ndarray, color: tuple[float, float, float], strength: float) -> np.ndarray:
    """Gives hair a colour and keeps the relative brightness of its strands."""
    luminance = texture[..., :3] @ LUMINANCE
    opaque = texture[..., 3] > 0.5
    mean = float(luminance[opaque].mean()) if opaque.any() else float(luminance.mean())
    relative = np.clip(luminance / max(mean, 1e-4), 0.3, 2.5)[..., None]
    pigment = relative * np.array(color, np.float32)
    result = texture.copy()
    result[..., :3] = np.clip((1.0 - strength) * texture[..., :3] + strength * pigment, 0.0, 1.0)
    return result

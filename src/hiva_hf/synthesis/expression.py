# Copyright 2026 The HiVA-HF Authors. Licensed under the Apache License, Version 2.0.
"""Draw which Action Units a face shows, their intensities, and its gaze. Needs no assets."""

from dataclasses import dataclass

import numpy as np

from .recipes import (
    COMPANIONS,
    EXCLUSIVE_GROUPS,
    HIGHEST_INTENSITY,
    IMPLICATIONS,
    LEVEL_JITTER,
    LOWEST_INTENSITY,
    RECIPES,
    SYNTHFACS_AUS,
)


NEUTRAL, SINGLE, COMBINATION = "neutral", "single", "combination"
# Shares of the tasks; in addition, the first frame of every subject is neutral.
NEUTRAL_SHARE, SINGLE_SHARE = 0.05, 0.14

#: Shapes that turn both eyes, and the largest weight that keeps the iris between the lids.
GAZES: dict[str, tuple[tuple[str, ...], float]] = {
    "down": (("eyeLookDownLeft", "eyeLookDownRight"), 0.5),
    "up": (("eyeLookUpLeft", "eyeLookUpRight"), 0.5),
    "left": (("eyeLookOutLeft", "eyeLookInRight"), 0.8),
    "right": (("eyeLookInLeft", "eyeLookOutRight"), 0.8),
}


@dataclass(frozen=True)
class Expression:
    """The expression of a face.

    Attributes:
        task: `neutral`, `single` (one Action Unit) or `combination`.
        intensities: Intensity, 2 to 5, of every Action Unit that is present.
        weights: Weight on the left and on the right side of the face for each of them.
        gaze: Morph targets that turn the eyes, with weights.
    """

    task: str
    intensities: dict[int, int]
    weights: dict[int, tuple[float, float]]
    gaze: dict[str, float]

    @property
    def intensity_row(self) -> list[int]:
        """Intensities in the order of `SYNTHFACS_AUS`, 0 where nothing was drawn."""
        return [self.intensities.get(au, 0) for au in SYNTHFACS_AUS]

    @property
    def label_row(self) -> list[int]:
        """Presence (0 or 1) in the order of `SYNTHFACS_AUS`."""
        return [int(intensity >= LOWEST_INTENSITY) for intensity in self.intensity_row]


def sample_expression(rng: np.random.Generator, task: str | None = None) -> Expression:
    """Draws an expression.

    Args:
        rng: Source of randomness.
        task: See [`Expression`]; drawn as well if not given.

    Returns:
        `Expression`: obeys `EXCLUSIVE_GROUPS` and `IMPLICATIONS`.
    """
    if task is None:
        shares = (NEUTRAL_SHARE, SINGLE_SHARE, 1.0 - NEUTRAL_SHARE - SINGLE_SHARE)
        task = str(rng.choice((NEUTRAL, SINGLE, COMBINATION), p=shares))
    intensities = {au: int(rng.integers(LOWEST_INTENSITY, HIGHEST_INTENSITY + 1)) for au in sample_aus(rng, task)}
    weights = {}
    for au, intensity in intensities.items():
        weight = weight_of_intensity(au, intensity) + rng.uniform(-LEVEL_JITTER, LEVEL_JITTER)
        # Faces are never perfectly symmetric; one in eight is visibly asymmetric.
        lean = np.clip(rng.normal(0.0, 0.14 if rng.random() < 0.125 else 0.04), -0.25, 0.25)
        weights[au] = (float(weight * (1.0 + lean)), float(weight * (1.0 - lean)))
    return Expression(task, intensities, weights, _sample_gaze(rng))


def sample_aus(rng: np.random.Generator, task: str) -> tuple[int, ...]:
    """Draws the Action Units of a task, in ascending order."""
    if task == NEUTRAL:
        return ()
    if task == SINGLE:
        return tuple(sorted(_with_implied([int(rng.choice(SYNTHFACS_AUS))])))
    drawn = [au for au in SYNTHFACS_AUS if rng.random() < RECIPES[au].rate]
    drawn = [drawn[place] for place in rng.permutation(len(drawn))]
    drawn += [effect for cause, effect, chance in COMPANIONS if cause in drawn and rng.random() < chance]
    kept: list[int] = []
    for au in drawn:
        candidate = _with_implied([*kept, au])
        # The first one is kept; a later one that conflicts with it is dropped.
        if not conflicts(candidate):
            kept = candidate
    return tuple(sorted(kept))


def conflicts(aus: list[int] | tuple[int, ...]) -> bool:
    """Whether two of the Action Units exclude each other."""
    return any(sum(au in aus for au in group) > 1 for group in EXCLUSIVE_GROUPS)


def weight_of_intensity(au: int, intensity: int) -> float:
    """The weight of an Action Unit at an intensity.

    Raises:
        KeyError: If the Action Unit has no recipe.
        ValueError: If that intensity is never drawn.
    """
    if not LOWEST_INTENSITY <= intensity <= HIGHEST_INTENSITY:
        raise ValueError(f"Intensity {intensity} is not drawn; it is {LOWEST_INTENSITY} to {HIGHEST_INTENSITY}.")
    return RECIPES[au].levels[intensity - LOWEST_INTENSITY]


def _with_implied(aus: list[int]) -> list[int]:
    implied = [effect for cause, effect in IMPLICATIONS if cause in aus]
    return list(dict.fromkeys([*aus, *implied]))


def _sample_gaze(rng: np.random.Generator) -> dict[str, float]:
    if rng.random() < 0.45:
        return {}
    gaze = {}
    for pair in (("down", "up"), ("left", "right")):
        shapes, limit = GAZES[pair[rng.integers(2)]]
        strength = float(abs(np.clip(rng.normal(0.0, 0.4), -1.0, 1.0))) * limit
        gaze |= dict.fromkeys(shapes, strength)
    return gaze

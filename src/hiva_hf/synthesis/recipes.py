# Copyright 2026 The HiVA-HF Authors. Licensed under the Apache License, Version 2.0.
"""How each Action Unit deforms a face, how often it is drawn, and with which others it can be combined.

Names and descriptions of the Action Units are in `hiva_hf.facs`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..data.sets import SYNTHFACS


# Weights of intensity 2, 3, 4 and 5. Intensity 1 (a trace) is never drawn: it would be invisible, and so label noise.
DEFAULT_LEVELS = (0.55, 0.72, 0.9, 1.1)
LOWEST_INTENSITY = 2
HIGHEST_INTENSITY = LOWEST_INTENSITY + len(DEFAULT_LEVELS) - 1
# A weight differs from its level's value by at most this much, so that levels never overlap.
LEVEL_JITTER = 0.06


@dataclass(frozen=True)
class Recipe:
    """How one Action Unit is drawn.

    Attributes:
        shapes: Morph targets and their weight at full strength. `{Side}` and `{side}` stand for Left and Right (left
            and right); names with a slash are MakeHuman targets, the others ARKit shapes.
        wrinkles: Skin folds (see `wrinkles.py`) and their weight at full strength.
        rate: How often it is drawn into a combination, before companions and exclusions.
        levels: Weights of intensity 2, 3, 4 and 5.
        closed_lips: Shapes that are added only without AU25 (Lips Part).
        parted_lips: Shapes that are added only with AU25.
    """

    shapes: Mapping[str, float]
    wrinkles: Mapping[str, float] = field(default_factory=dict)
    rate: float = 0.15
    levels: tuple[float, float, float, float] = DEFAULT_LEVELS
    closed_lips: Mapping[str, float] = field(default_factory=dict)
    parted_lips: Mapping[str, float] = field(default_factory=dict)


_UNITS = "expression/units/caucasian"

#: The recipe of every Action Unit that SynthFACS knows.
RECIPES: dict[int, Recipe] = {
    1: Recipe({"browInnerUp": 1.85}, {"forehead_centre": 1.0}, 0.15),
    2: Recipe({"browOuterUp{Side}": 1.45}, {"forehead_sides": 1.0}, 0.15),
    4: Recipe({"browDown{Side}": 1.1}, {"glabella": 0.9}, 0.20),
    5: Recipe({"eyeWide{Side}": 1.0}, {}, 0.22),
    6: Recipe({"cheekSquint{Side}": 1.15}, {"crows_feet": 1.3, "under_eye": 0.9}, 0.10),
    7: Recipe({"eyeSquint{Side}": 1.35}, {"lower_lid": 0.9}, 0.22),
    9: Recipe(
        {"noseSneer{Side}": 1.8, "browDown{Side}": 0.1, f"{_UNITS}/nose-{{side}}-elevation": 0.4},
        {"nose_root": 1.0, "nasolabial_upper": 0.7},
        0.21,
    ),
    10: Recipe(
        {"mouthUpperUp{Side}": 1.1},
        {"nasolabial_upper": 0.9},
        0.22,
        # The lower lip follows; otherwise the teeth would show, and AU25 would be present without a label.
        closed_lips={"mouthLowerDown{Side}": -1.15},
    ),
    12: Recipe(
        {"mouthSmile{Side}": 0.85},
        {"nasolabial": 1.0},
        0.52,
        # Stretched lips are tight; this shows the upper teeth, as in open smiles.
        parted_lips={f"{_UNITS}/mouth-upward-retraction": 0.5, "mouthSmile{Side}": 0.1},
    ),
    14: Recipe({"mouthDimple{Side}": 1.25, "mouthFrown{Side}": 0.2}, {"dimple": 1.0}, 0.35),
    15: Recipe({"mouthFrown{Side}": 1.0}, {"marionette": 0.8}, 0.36),
    17: Recipe({"mouthShrugLower": 1.35, "mouthShrugUpper": 0.5}, {"chin": 1.0}, 0.30),
    18: Recipe({"mouthPucker": 1.05}, {"lip_radial": 0.7}, 0.48, (0.6, 0.75, 0.9, 1.05)),
    20: Recipe(
        {
            "mouthStretch{Side}": 0.5,
            f"{_UNITS}/mouth-retraction": 0.5,
            "mouth/mouth-scale-horiz-incr": 0.4,
            f"{_UNITS}/neck-platysma": 0.4,
        },
        {"marionette": 0.4},
        0.38,
    ),
    22: Recipe({"mouthFunnel": 1.0}, {}, 0.46, (0.55, 0.7, 0.85, 1.0)),
    23: Recipe(
        {f"{_UNITS}/mouth-compression": 0.7, "mouthPucker": 0.3, "mouthRollLower": 0.35, "mouthRollUpper": 0.35},
        {"lip_radial": 0.8},
        0.50,
    ),
    24: Recipe(
        {"mouthPress{Side}": 0.6, "mouthRollLower": 0.4, "mouthRollUpper": 0.4},
        {"lip_press": 1.0},
        0.42,
    ),
    25: Recipe({"mouthLowerDown{Side}": 0.6, "jawOpen": 0.12, "mouthUpperUp{Side}": 0.15}, {}, 0.20),
    # Above .6 in total for jaw and lips, the lower teeth would pierce the chin.
    26: Recipe({"jawOpen": 0.4}, {}, 0.26),
    # A half-closed eye appears to look down; only from two thirds on does it appear to close.
    43: Recipe({"eyeBlink{Side}": 1.0}, {}, 0.21, (0.7, 0.82, 0.92, 1.0)),
}

#: The Action Units of SynthFACS, ascending: the order of its label columns.
SYNTHFACS_AUS: tuple[int, ...] = SYNTHFACS.aus

#: Action Units that hide or cancel each other and are never drawn together.
EXCLUSIVE_GROUPS: tuple[tuple[int, ...], ...] = (
    (18, 20, 22, 23, 24),
    (12, 15),
    (12, 18),
    (12, 22),
    (12, 23),
    (12, 14),
    (10, 23),
    (10, 24),
    (14, 18),
    (14, 22),
    (14, 15),
    (14, 20),
    (14, 26),
    (15, 18),
    (15, 20),
    (15, 22),
    (17, 22),
    (17, 25),
    (18, 25),
    (18, 26),
    (17, 26),
    (24, 25),
    (24, 26),
    (23, 25),
    (23, 26),
    (2, 4),
    (2, 9),
    (1, 9),
    (5, 7),
    (5, 43),
    (7, 43),
)

#: `(cause, effect, chance)`: Action Units that are drawn together, since they often occur together on faces.
COMPANIONS: tuple[tuple[int, int, float], ...] = (
    (12, 6, 0.5),
    (1, 2, 0.5),
    (2, 1, 0.6),
    (1, 5, 0.2),
    (4, 7, 0.25),
    (9, 4, 0.3),
    (9, 10, 0.2),
    (15, 17, 0.35),
    (12, 25, 0.25),
    (20, 25, 0.35),
)

#: `(cause, effect)`: an effect that is always visible with its cause, so that its label has to be set.
IMPLICATIONS: tuple[tuple[int, int], ...] = ((26, 25), (22, 25))

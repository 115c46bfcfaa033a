# Copyright 2026 The HiVA-HF Authors. Licensed under the Apache License, Version 2.0.
"""Draw people: age, sex, ancestry, the shape of every feature, skin, eyes and hair. Needs no assets."""

from dataclasses import dataclass

import numpy as np


NUM_FOLDS = 3
# Small enough to avoid caricatures, large enough to distinguish two subjects at a glance.
DETAIL_SIGMA = 0.24
DETAIL_LIMIT = 0.55
# Features that Action Units also move vary less: nothing can be learned about smiles from a face that smiles at rest.
EXPRESSIVE_SHARE = 0.5

#: Two-sided feature axes by the names of their ends. `{side}` is l or r.
DETAIL_AXES: dict[tuple[str, str], tuple[str, ...]] = {
    ("decr", "incr"): (
        "head/head-fat", "head/head-scale-horiz", "head/head-scale-vert", "head/head-scale-depth",
        "cheek/{side}-cheek-bones", "cheek/{side}-cheek-inner", "cheek/{side}-cheek-volume",
        "chin/chin-bones", "chin/chin-cleft", "chin/chin-height", "chin/chin-jaw-drop", "chin/chin-prognathism",
        "chin/chin-prominent", "chin/chin-width",
        "mouth/mouth-cupidsbow", "mouth/mouth-cupidsbow-width", "mouth/mouth-lowerlip-height",
        "mouth/mouth-lowerlip-volume", "mouth/mouth-lowerlip-width", "mouth/mouth-philtrum-volume",
        "mouth/mouth-scale-depth", "mouth/mouth-scale-horiz", "mouth/mouth-scale-vert",
        "mouth/mouth-upperlip-height", "mouth/mouth-upperlip-volume", "mouth/mouth-upperlip-width",
        "nose/nose-flaring", "nose/nose-greek", "nose/nose-hump", "nose/nose-nostrils-width",
        "nose/nose-point-width", "nose/nose-scale-depth", "nose/nose-scale-horiz", "nose/nose-scale-vert",
        "nose/nose-septumangle", "nose/nose-volume", "nose/nose-width1", "nose/nose-width2", "nose/nose-width3",
        "eyes/{side}-eye-bag", "eyes/{side}-eye-bag-height", "eyes/{side}-eye-height1", "eyes/{side}-eye-height2",
        "eyes/{side}-eye-height3", "eyes/{side}-eye-scale",
        "forehead/forehead-nubian", "forehead/forehead-scale-vert", "forehead/forehead-temple",
        "ears/{side}-ear-flap", "ears/{side}-ear-lobe", "ears/{side}-ear-scale", "ears/{side}-ear-wing",
    ),
    ("down", "up"): (
        "cheek/{side}-cheek-trans", "mouth/mouth-angles", "mouth/mouth-trans", "nose/nose-base",
        "nose/nose-nostrils-angle", "nose/nose-point", "nose/nose-trans", "eyes/{side}-eye-corner1",
        "eyes/{side}-eye-corner2", "eyes/{side}-eye-eyefold-angle", "eyes/{side}-eye-eyefold",
        "eyes/{side}-eye-trans", "eyebrows/eyebrows-angle", "eyebrows/eyebrows-trans",
    ),
    ("in", "out"): (
        "mouth/mouth-laugh-lines", "eyes/{side}-eye-bag", "eyes/{side}-eye-epicanthus", "eyes/{side}-eye-push1",
        "eyes/{side}-eye-push2", "eyes/{side}-eye-trans",
    ),
    ("backward", "forward"): (
        "mouth/mouth-trans", "nose/nose-trans", "eyebrows/eyebrows-trans", "forehead/forehead-trans",
        "ears/{side}-ear-rot",
    ),
    ("concave", "convex"): ("nose/nose-curve", "eyes/{side}-eye-eyefold"),
    ("compress", "uncompress"): ("nose/nose-compression",),
}  # fmt: skip

_EXPRESSIVE = (
    "mouth-angles", "eye-height", "eyebrows", "lip-height", "laugh-lines", "mouth-scale-vert", "eye-corner", "eye-bag",
)  # fmt: skip

HEAD_SHAPES = ("oval", "round", "square", "rectangular", "diamond", "triangular", "invertedtriangular")

_LIGHT, _DARK = "lightskinned", "darkskinned"
#: (folder, file stem, age group, ancestry, sex) of the skins; the last is 0 for female and 1 for male.
SKINS: tuple[tuple[str, str, str, str, int], ...] = tuple(
    (f"{age}_{ancestry}_{sex}", f"{age}_{tone}_{sex}_diffuse{number}", age, ancestry, male)
    for male, sex in enumerate(("female", "male"))
    for age, ancestry, tone, number in (
        ("young", "caucasian", _LIGHT, ""),
        ("young", "african", _DARK, ""),
        ("young", "asian", _LIGHT, "3"),
        ("middleage", "african", _DARK, ""),
        ("middleage", "caucasian", _LIGHT, ""),
        ("middleage", "asian", _LIGHT, "2"),
        ("old", "african", _DARK, ""),
        ("old", "asian", _LIGHT, "2"),
        ("young", "caucasian", _LIGHT, "2"),
        ("old", "caucasian", _LIGHT, ""),
    )
)

EYES = ("blue", "bluegreen", "brown", "brownlight", "deepblue", "green", "grey", "ice", "lightblue")
BROWS = tuple(f"eyebrow{number:03d}" for number in range(1, 13))
LASHES = ("Eyelashes01", "eyelashes02", "eyelashes03", "eyelashes04")
#: Texture of each haircut.
HAIR = {
    "short01": "short01_diffuse.png",
    "short02": "short02_diffuse.png",
    "short03": "short03_diffuse.png",
    "short04": "short04_diffuse.png",
    "bob01": "bob01_diffuse.png",
    "bob02": "bob02_diffuse.png",
    "Braid01": "braid01_diffuse.png",
    "long01": "long01_diffuse.png",
    "ponytail01": "ponytail01_diffuse.png",
}
_MALE_HAIR = ("short01", "short02", "short03", "short04", "")
_FEMALE_HAIR = ("bob01", "bob02", "Braid01", "long01", "ponytail01", "short02", "short04")

#: 0 is twenty, 1 is eighty.
_AGE_RANGES = {"young": (0.0, 0.3), "middleage": (0.3, 0.65), "old": (0.65, 1.0)}
#: Linear RGB of hair: black, dark brown, brown, red, blond, grey, white.
HAIR_COLORS = (
    (0.012, 0.010, 0.009), (0.035, 0.022, 0.015), (0.09, 0.05, 0.028), (0.17, 0.055, 0.022), (0.34, 0.22, 0.1),
    (0.25, 0.25, 0.25), (0.55, 0.54, 0.52),
)  # fmt: skip


@dataclass(frozen=True)
class Subject:
    """The parameters of a person.

    Attributes:
        name: See `subject_name`.
        shape: Morph targets and their weights.
        skin: Folder and file stem of the skin.
        second_skin: Folder and file stem of another skin of the same sex that is mixed in.
        skin_mix: Share of the second skin, 0 to 1.
        skin_gain: Factor on the linear RGB of the skin.
        skin_saturation: 1 leaves the texture's colour, 0 would make it grey.
        lip_gain: Additional factor on the linear RGB of the lips.
        freckles: Strength of freckles, 0 to 1.
        stubble: Strength of a shaven beard, 0 to 1.
        eye, brow, lash, hair: Names of assets; hair may be empty.
        hair_color: Linear RGB of hair and brows.
        wrinkle_gain: How strongly the skin wrinkles.
        resting_wrinkles: Folds that are present without any Action Unit.
        seed: Seed of the noise in the skin.
    """

    name: str
    shape: dict[str, float]
    skin: tuple[str, str]
    second_skin: tuple[str, str]
    skin_mix: float
    skin_gain: tuple[float, float, float]
    skin_saturation: float
    lip_gain: tuple[float, float, float]
    freckles: float
    stubble: float
    eye: str
    brow: str
    lash: str
    hair: str
    hair_color: tuple[float, float, float]
    wrinkle_gain: float
    resting_wrinkles: dict[str, float]
    seed: int


def subject_name(index: int, seed: int) -> str:
    """The name of a subject by its index, from 0: `S0001` for seed 0, `S0001-seed1` for another seed."""
    name = f"S{index + 1:04d}"
    # Different people than those of seed 0, with whom they may be in the same data set.
    return name if seed == 0 else f"{name}-seed{seed}"


def fold_of_subject(index: int) -> int:
    """The fold, 1 to 3. Three subjects in a row share a skin, so that folds are similar in age, sex and skin tone."""
    return index % NUM_FOLDS + 1


def sample_subject(index: int, seed: int) -> Subject:
    """Draws one person.

    Args:
        index: Number of the person, from 0; skins alternate with it.
        seed: Seed of the whole data set.

    Returns:
        `Subject`: always the same for the same arguments.
    """
    rng = np.random.default_rng([seed, index])
    folder, stem, age_group, ancestry, male = SKINS[index // 3 % len(SKINS)]
    age = rng.uniform(*_AGE_RANGES[age_group])
    same_sex = [skin for skin in SKINS if skin[4] == male]
    other = same_sex[rng.integers(len(same_sex))]
    brightness = rng.uniform(1.0, 1.5) if ancestry == "african" else rng.normal(1.0, 0.1)
    gain = np.clip(brightness * (1.0 + rng.normal(0, 0.03, 3)), 0.7, 1.6)
    redness = rng.uniform(0.9, 1.1) if male else rng.uniform(0.55, 1.05)
    lips = np.array([1.0, redness, redness * rng.uniform(0.97, 1.08)])
    haircuts = _MALE_HAIR if male else _FEMALE_HAIR
    return Subject(
        name=subject_name(index, seed),
        shape=_macro_shape(rng, male, age, ancestry) | _detail_shape(rng),
        skin=(folder, stem),
        second_skin=other[:2],
        skin_mix=float(rng.uniform(0.0, 0.45)),
        skin_gain=tuple(gain.tolist()),
        # The textures are slightly redder than skin in photos, especially the dark ones.
        skin_saturation=float(rng.uniform(0.55, 0.8) if ancestry == "african" else rng.uniform(0.7, 1.0)),
        lip_gain=tuple(lips.tolist()),
        freckles=float(np.clip(rng.normal(0.0, 0.3), 0.0, 1.0)),
        stubble=float(np.clip(rng.normal(0.1, 0.45), 0.0, 1.0)) if male else 0.0,
        eye="brown" if ancestry != "caucasian" and rng.random() < 0.85 else EYES[rng.integers(len(EYES))],
        brow=BROWS[rng.integers(len(BROWS))],
        lash=LASHES[rng.integers(len(LASHES))],
        hair=haircuts[rng.integers(len(haircuts))],
        hair_color=_hair_color(rng, age, ancestry),
        # Smooth young skin hardly wrinkles: movements also have to be recognised by shape.
        wrinkle_gain=float(rng.uniform(0.25, 0.95) + 0.35 * age),
        resting_wrinkles=_resting_wrinkles(rng, age),
        seed=int(rng.integers(2**31)),
    )


def _macro_shape(rng: np.random.Generator, male: int, age: float, ancestry: str) -> dict[str, float]:
    """Mixes MakeHuman's macro targets: ancestry by sex by age, and muscle by weight by sex by age."""
    maleness = float(np.clip(male + rng.normal(0, 0.12), 0.0, 1.0))
    ancestries = dict.fromkeys(("african", "asian", "caucasian"), 0.0)
    for name, share in zip(ancestries, rng.dirichlet((0.5, 0.5, 0.5)), strict=True):
        ancestries[name] = 0.3 * share + 0.7 * (name == ancestry)
    muscle, weight = rng.uniform(-0.6, 0.6), rng.uniform(-0.7, 0.7)
    muscles = {"minmuscle": max(0.0, -muscle), "averagemuscle": 1 - abs(muscle), "maxmuscle": max(0.0, muscle)}
    weights = {"minweight": max(0.0, -weight), "averageweight": 1 - abs(weight), "maxweight": max(0.0, weight)}
    shape = {}
    for sex, sex_share in (("female", 1.0 - maleness), ("male", maleness)):
        for years, age_share in (("young", 1.0 - age), ("old", age)):
            for name, share in ancestries.items():
                shape[f"macrodetails/{name}-{sex}-{years}"] = sex_share * age_share * share
            for name, share in muscles.items():
                for other, other_share in weights.items():
                    target = f"macrodetails/universal-{sex}-{years}-{name}-{other}"
                    shape[target] = sex_share * age_share * share * other_share
    return {name: float(value) for name, value in shape.items() if value > 1e-3}


def _detail_shape(rng: np.random.Generator) -> dict[str, float]:
    """Draws every feature, with slight asymmetry between the two sides."""
    shape = {f"head/head-{HEAD_SHAPES[rng.integers(len(HEAD_SHAPES))]}": float(rng.uniform(0.0, 0.5))}
    for ends, axes in DETAIL_AXES.items():
        for axis in axes:
            sigma = DETAIL_SIGMA * (EXPRESSIVE_SHARE if any(part in axis for part in _EXPRESSIVE) else 1.0)
            value = float(np.clip(rng.normal(0.0, sigma), -DETAIL_LIMIT, DETAIL_LIMIT))
            for side in ("l", "r"):
                # An axis without sides names the same target twice and keeps one value.
                name = f"{axis.format(side=side)}-{ends[value > 0]}"
                shape[name] = abs(value) * (1.0 + float(rng.normal(0, 0.06)))
    return shape


def _hair_color(rng: np.random.Generator, age: float, ancestry: str) -> tuple[float, float, float]:
    if rng.random() < (age - 0.35) * 1.1:
        choice = rng.integers(5, 7)
    else:
        choice = rng.integers(0, 5) if ancestry == "caucasian" else rng.integers(0, 2)
    color = np.array(HAIR_COLORS[choice]) * rng.uniform(0.7, 1.4) * (1.0 + rng.normal(0, 0.06, 3))
    return tuple(np.clip(color, 0.004, 0.8).tolist())


def _resting_wrinkles(rng: np.random.Generator, age: float) -> dict[str, float]:
    """Wrinkles of age, which are the same folds as those of Action Units: a model has to distinguish the two."""
    folds = ("forehead_centre", "crows_feet", "under_eye", "nasolabial", "glabella", "marionette")
    limits = (0.3, 0.3, 0.45, 0.4, 0.2, 0.3)
    both = zip(folds, limits, strict=True)
    lines = {fold: float(limit * max(0.0, age - 0.25) * rng.uniform(0.2, 1.3)) for fold, limit in both}
    lines["forehead_sides"] = lines["forehead_centre"]
    return lines

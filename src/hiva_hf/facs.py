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
"""The catalogue of facial Action Units (AUs) that the package knows.

Names, numbers and muscles follow the Facial Action Coding System (Ekman and Friesen, 1978; Ekman, Friesen and Hager,
2002). All prose is this project's own. Code that needs a name, a region or a sentence of an AU reads it from here.
"""

import re
from dataclasses import dataclass
from typing import Literal

from .facs_descriptions import AU_DESCRIPTIONS


# The label of an AU that was not coded in a frame, besides 1 (present) and 0 (absent): losses and metrics ignore it.
# The value is the one that torch and transformers ignore.
MISSING_LABEL = -100

Region = Literal["brows", "eyes", "cheeks", "nose", "mouth", "chin", "jaw"]
"""Where the main evidence of an AU lies: "brows" includes the forehead, "eyes" the eyelids, "mouth" the lips, their
corners and the furrows that run to them."""

FaceHalf = Literal["upper", "lower"]
"""FACS's own halves: eyebrows, eyelids and the cheek raiser are upper face, everything from the nose down is lower."""


@dataclass(frozen=True)
class ActionUnit:
    """One Action Unit.

    Attributes:
        number: FACS number, for example 12.
        name: FACS name, for example "Lip Corner Puller".
        muscles: The muscles behind it; "(relaxed)" marks those that act by relaxing.
        region: Where its main evidence lies, see `Region`.
        face_half: The half of the face that FACS files it under, see `FaceHalf`.
        action: What moves, as a verb phrase in the third person.
        appearance: The visible changes of skin and features.
        exclusions: Numbers of the AUs that cannot be, or are not, scored in the same frame; symmetric over the table.
        description: The canonical sentence, which evaluation and inference use.
        variants: Sentences of the same meaning, which training samples from.
    """

    number: int
    name: str
    muscles: tuple[str, ...]
    region: Region
    face_half: FaceHalf
    action: str
    appearance: str
    exclusions: tuple[int, ...]
    description: str
    variants: tuple[str, ...]

    @property
    def label(self) -> str:
        """The AU's label in datasets, configs and results, for example "AU12"."""
        return f"AU{self.number}"


# Kept to pairs that contradict each other in one frame. Opposing pulls that do occur together (12 with 15, 12 with 18,
# 20 with 22, 23 with 24) are left out on purpose.
_EXCLUSIVE_PAIRS: tuple[tuple[int, int], ...] = (
    (5, 43),  # a lid is either raised or down
    (5, 45),
    (43, 45),  # a closure is either held or a blink
    (18, 28),  # lips rolled into the mouth leave nothing to pucker, funnel, tighten or press
    (22, 28),
    (23, 28),
    (24, 28),
    (24, 25),  # lips are either pressed together or apart
    (24, 27),
    (26, 27),  # two degrees of the same lowering of the jaw
)


def _exclusions_of(number: int) -> tuple[int, ...]:
    partners = {b if a == number else a for a, b in _EXCLUSIVE_PAIRS if number in (a, b)}
    return tuple(sorted(partners))


def _action_unit(
    number: int,
    name: str,
    *,
    muscles: tuple[str, ...],
    region: Region,
    face_half: FaceHalf,
    action: str,
    appearance: str,
) -> ActionUnit:
    """Joins a row of the table with its sentences and exclusions, which are kept apart from it."""
    description, variants = AU_DESCRIPTIONS[number]
    return ActionUnit(
        number=number,
        name=name,
        muscles=muscles,
        region=region,
        face_half=face_half,
        action=action,
        appearance=appearance,
        exclusions=_exclusions_of(number),
        description=description,
        variants=variants,
    )


_TABLE: tuple[ActionUnit, ...] = (
    _action_unit(
        1,
        "Inner Brow Raiser",
        muscles=("frontalis, medial part",),
        region="brows",
        face_half="upper",
        action="raises the inner ends of the eyebrows",
        appearance="oblique eyebrows and short horizontal wrinkles in the middle of the forehead",
    ),
    _action_unit(
        2,
        "Outer Brow Raiser",
        muscles=("frontalis, lateral part",),
        region="brows",
        face_half="upper",
        action="raises the outer ends of the eyebrows",
        appearance="arched eyebrows, wrinkles above their tails and a stretched outer eyelid",
    ),
    _action_unit(
        4,
        "Brow Lowerer",
        muscles=("corrugator supercilii", "depressor supercilii", "procerus"),
        region="brows",
        face_half="upper",
        action="lowers the eyebrows and draws them together",
        appearance="vertical furrows between eyebrows that sit close above the eyes",
    ),
    _action_unit(
        5,
        "Upper Lid Raiser",
        muscles=("levator palpebrae superioris", "superior tarsal muscle"),
        region="eyes",
        face_half="upper",
        action="raises the upper eyelids",
        appearance="wide eyes with white showing above the iris",
    ),
    _action_unit(
        6,
        "Cheek Raiser",
        muscles=("orbicularis oculi, orbital part",),
        region="cheeks",
        face_half="upper",
        action="raises the cheeks and gathers skin around the eyes",
        appearance="crow's feet, lifted cheeks and pouched skin below the eyes",
    ),
    _action_unit(
        7,
        "Lid Tightener",
        muscles=("orbicularis oculi, palpebral part",),
        region="eyes",
        face_half="upper",
        action="tightens the eyelids and raises the lower one",
        appearance="narrowed eyes with a straight, tense lower lid",
    ),
    _action_unit(
        9,
        "Nose Wrinkler",
        muscles=("levator labii superioris alaeque nasi",),
        region="nose",
        face_half="lower",
        action="pulls the skin along the nose upward",
        appearance="wrinkles across the bridge and along the sides of the nose, lifted nostril wings",
    ),
    _action_unit(
        10,
        "Upper Lip Raiser",
        muscles=("levator labii superioris",),
        region="mouth",
        face_half="lower",
        action="raises the center of the upper lip",
        appearance="bent upper lip, pouched skin beside the nostrils, upper teeth often bared",
    ),
    _action_unit(
        11,
        "Nasolabial Deepener",
        muscles=("zygomaticus minor",),
        region="mouth",
        face_half="lower",
        action="draws the side of the upper lip slightly up and outward",
        appearance="nasolabial furrow deepened in its middle part",
    ),
    _action_unit(
        12,
        "Lip Corner Puller",
        muscles=("zygomaticus major",),
        region="mouth",
        face_half="lower",
        action="pulls the lip corners obliquely back and up",
        appearance="mouth curved upward and widened, cheeks rounded",
    ),
    _action_unit(
        13,
        "Sharp Lip Puller",
        muscles=("levator anguli oris",),
        region="mouth",
        face_half="lower",
        action="pulls the lip corners straight up",
        appearance="pointed, narrow lip corners with the cheeks puffed out above them",
    ),
    _action_unit(
        14,
        "Dimpler",
        muscles=("buccinator",),
        region="mouth",
        face_half="lower",
        action="tightens the mouth corners and draws them inward",
        appearance="dimples or short curved wrinkles beside the mouth corners",
    ),
    _action_unit(
        15,
        "Lip Corner Depressor",
        muscles=("depressor anguli oris",),
        region="mouth",
        face_half="lower",
        action="pulls the lip corners down",
        appearance="mouth line bent downward at its ends, with pouches or wrinkles below them",
    ),
    _action_unit(
        16,
        "Lower Lip Depressor",
        muscles=("depressor labii inferioris",),
        region="mouth",
        face_half="lower",
        action="pulls the lower lip down",
        appearance="lower teeth exposed, chin skin stretched and smooth",
    ),
    _action_unit(
        17,
        "Chin Raiser",
        muscles=("mentalis",),
        region="chin",
        face_half="lower",
        action="pushes the chin boss and the lower lip upward",
        appearance="pitted, wrinkled chin and a lower lip that juts out",
    ),
    _action_unit(
        18,
        "Lip Pucker",
        muscles=("incisivii labii superioris", "incisivii labii inferioris"),
        region="mouth",
        face_half="lower",
        action="draws the lips together toward the midline and pushes them forward",
        appearance="short, rounded, protruding mouth with wrinkles running into the lips",
    ),
    _action_unit(
        20,
        "Lip Stretcher",
        muscles=("risorius", "platysma"),
        region="mouth",
        face_half="lower",
        action="pulls the lip corners sideways",
        appearance="long, flattened mouth and stretched skin beside it",
    ),
    _action_unit(
        22,
        "Lip Funneler",
        muscles=("orbicularis oris",),
        region="mouth",
        face_half="lower",
        action="turns the lips outward and forward",
        appearance="flared lips in the shape of a funnel, inner lip surfaces and teeth in view",
    ),
    _action_unit(
        23,
        "Lip Tightener",
        muscles=("orbicularis oris",),
        region="mouth",
        face_half="lower",
        action="tightens the lips within themselves",
        appearance="narrow, hard red parts of the lips and fine wrinkles around them",
    ),
    _action_unit(
        24,
        "Lip Pressor",
        muscles=("orbicularis oris",),
        region="mouth",
        face_half="lower",
        action="presses the lips against each other",
        appearance="flat, straight mouth line with bulges above and below the lips",
    ),
    _action_unit(
        25,
        "Lips Part",
        muscles=("depressor labii inferioris", "mentalis (relaxed)", "orbicularis oris (relaxed)"),
        region="mouth",
        face_half="lower",
        action="parts the lips",
        appearance="gap between the lips, with teeth or the inside of the mouth in view",
    ),
    _action_unit(
        26,
        "Jaw Drop",
        muscles=("masseter (relaxed)", "temporalis (relaxed)", "medial pterygoid (relaxed)"),
        region="jaw",
        face_half="lower",
        action="lets the jaw fall",
        appearance="teeth apart and chin lowered, as if by the jaw's own weight",
    ),
    _action_unit(
        27,
        "Mouth Stretch",
        muscles=("lateral pterygoid", "digastric"),
        region="mouth",
        face_half="lower",
        action="pulls the jaw down and stretches the mouth wide open",
        appearance="tall oval mouth, flattened cheeks and a lengthened lower face",
    ),
    _action_unit(
        28,
        "Lip Suck",
        muscles=("orbicularis oris",),
        region="mouth",
        face_half="lower",
        action="draws the lips into the mouth, over the teeth",
        appearance="red parts of the lips hidden, skin around the mouth stretched",
    ),
    _action_unit(
        43,
        "Eyes Closed",
        muscles=("levator palpebrae superioris (relaxed)", "orbicularis oculi, palpebral part"),
        region="eyes",
        face_half="upper",
        action="closes the eyes and keeps them closed",
        appearance="upper lids resting on the lower ones, iris hidden",
    ),
    _action_unit(
        45,
        "Blink",
        muscles=("levator palpebrae superioris (relaxed)", "orbicularis oculi, palpebral part"),
        region="eyes",
        face_half="upper",
        action="closes the eyes and reopens them at once",
        appearance="eyelids shut, or on their way, for a fraction of a second",
    ),
)

ACTION_UNITS: dict[int, ActionUnit] = {unit.number: unit for unit in _TABLE}
"""Every known Action Unit by its FACS number, in ascending order."""

_AU_LABEL = re.compile(r"(?:AU)?0*([1-9][0-9]*)", flags=re.IGNORECASE | re.ASCII)


def au_label(number: int) -> str:
    """Returns the label of an AU, for example "AU12" for 12.

    Raises:
        ValueError: If the number is not in the catalogue.
    """
    return get_action_unit(number).label


def au_number(label: str) -> int:
    """Returns the FACS number that a label stands for.

    The canonical spelling is "AU12". Datasets also write "AU01", "au1" or a bare "1", and these cannot mean anything
    else, so they are accepted; intensity letters and sides ("AU12C", "L12") are not.

    Raises:
        ValueError: If the label has another form or its number is not in the catalogue.
    """
    match = _AU_LABEL.fullmatch(label)
    if match is None or int(match[1]) not in ACTION_UNITS:
        raise ValueError(f"{label!r} is not the label of a known Action Unit. {_known_labels()}")
    return int(match[1])


def get_action_unit(number_or_label: int | str) -> ActionUnit:
    """Looks up an Action Unit by its number or by any label that `au_number` accepts.

    Raises:
        ValueError: If there is no such Action Unit in the catalogue.
    """
    number = au_number(number_or_label) if isinstance(number_or_label, str) else number_or_label
    if number not in ACTION_UNITS:
        raise ValueError(f"{number!r} is not the number of a known Action Unit. {_known_labels()}")
    return ACTION_UNITS[number]


def find_action_unit(label: str) -> ActionUnit | None:
    """The Action Unit of a label; None for a label that is not in the catalogue."""
    try:
        return get_action_unit(label)
    except ValueError:
        return None


def au_name(label: str) -> str:
    """The name of an Action Unit, "AU12" -> "Lip Corner Puller"; a label that is not in the catalogue is returned."""
    unit = find_action_unit(label)
    return label if unit is None else unit.name


def _known_labels() -> str:
    return f"Known are {', '.join(unit.label for unit in ACTION_UNITS.values())}."

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
"""Plain sentences that say whether an Action Unit is present, written for this project.

The descriptions in `facs_descriptions` say what an Action Unit looks like. The sentences here say what is seen on one
face: that a movement is present, or that it is not. The text alone identifies the Action Unit and its state, the
vocabulary is small (a word-level tokenizer is built from it), and no word is an Action Unit's number or an emotion.
"""

from collections.abc import Iterable
from typing import NamedTuple, get_args

from .facs import Region, get_action_unit


NEUTRAL_FACE_SENTENCE = "Neutral face."
"""What `face_sentence` says about a face without active Action Units."""


class AUStateSentences(NamedTuple):
    """The sentences about one Action Unit on a face.

    Attributes:
        present: Sentences that say that the movement is present. The first is the canonical one: its clause has no
            comma and no "and", so that several can be joined into a sentence.
        absent: Sentences that say that it is not, the canonical one first.
    """

    present: tuple[str, ...]
    absent: tuple[str, ...]


AU_STATE_SENTENCES: dict[int, AUStateSentences] = {
    1: AUStateSentences(
        present=(
            "The inner ends of the eyebrows are raised.",
            "Both inner brow corners are pulled up.",
            "The eyebrows rise at their inner ends, near the middle of the forehead.",
            "The inner brow moves upward and creases the middle of the forehead.",
        ),
        absent=(
            "The inner ends of the eyebrows are not raised.",
            "The inner brow corners are not pulled up.",
            "The eyebrows stay low at their inner ends, near the middle of the forehead.",
            "The inner brow keeps its place and does not crease the middle of the forehead.",
        ),
    ),
    2: AUStateSentences(
        present=(
            "The outer ends of the eyebrows are raised.",
            "The tail of each eyebrow is pulled up.",
            "The eyebrows rise at their outer ends, toward the temples.",
            "The outer brow moves upward and bends into an arch.",
        ),
        absent=(
            "The outer ends of the eyebrows are not raised.",
            "The tail of each eyebrow is not pulled up.",
            "The eyebrows stay low at their outer ends, toward the temples.",
            "The outer brow keeps its place and does not bend into an arch.",
        ),
    ),
    4: AUStateSentences(
        present=(
            "The eyebrows are lowered.",
            "The eyebrows are drawn down and together.",
            "The brows move closer together and sink toward the eyes.",
            "Upright creases form between the lowered eyebrows.",
        ),
        absent=(
            "The eyebrows are not lowered.",
            "The eyebrows are not drawn down or together.",
            "The brows keep their distance and do not sink toward the eyes.",
            "No upright creases form between the eyebrows.",
        ),
    ),
    5: AUStateSentences(
        present=(
            "The upper eyelids are raised.",
            "The upper eyelids are pulled up and the eyes open wide.",
            "White shows above the iris, under the raised upper lids.",
            "The eyes are opened wider than usual.",
        ),
        absent=(
            "The upper eyelids are not raised.",
            "The upper eyelids are not pulled up and the eyes do not open wide.",
            "No white shows above the iris, under the upper lids.",
            "The eyes are not opened wider than usual.",
        ),
    ),
    6: AUStateSentences(
        present=(
            "The cheeks are lifted.",
            "The cheeks are raised toward the eyes.",
            "The cheeks move up and push the skin below the eyes.",
            "Fine wrinkles spread from the outer eye corners above the lifted cheeks.",
        ),
        absent=(
            "The cheeks are not lifted.",
            "The cheeks are not raised toward the eyes.",
            "The cheeks stay low and do not push the skin below the eyes.",
            "No fine wrinkles spread from the outer eye corners above the cheeks.",
        ),
    ),
    7: AUStateSentences(
        present=(
            "The eyelids are tightened.",
            "The lower eyelids are tense and raised.",
            "The eye openings narrow between tight lids.",
            "The lower lids are drawn up and straightened.",
        ),
        absent=(
            "The eyelids are not tightened.",
            "The lower eyelids are not tense or raised.",
            "The eye openings do not narrow between tight lids.",
            "The lower lids keep their curve and are not drawn up.",
        ),
    ),
    9: AUStateSentences(
        present=(
            "The nose is wrinkled.",
            "The skin along the nose is pulled up.",
            "Wrinkles run across the bridge of the nose.",
            "The wings of the nose are lifted and its bridge creases.",
        ),
        absent=(
            "The nose is not wrinkled.",
            "The skin along the nose is not pulled up.",
            "No wrinkles run across the bridge of the nose.",
            "The wings of the nose are not lifted and its bridge stays smooth.",
        ),
    ),
    10: AUStateSentences(
        present=(
            "The upper lip is raised.",
            "The middle of the upper lip is pulled up.",
            "The upper lip moves toward the nose.",
            "The upper lip bends upward and shows the upper teeth.",
        ),
        absent=(
            "The upper lip is not raised.",
            "The middle of the upper lip is not pulled up.",
            "The upper lip keeps its distance from the nose.",
            "The upper lip does not bend upward or show the upper teeth.",
        ),
    ),
    11: AUStateSentences(
        present=(
            "The furrows from nose to mouth are deepened.",
            "The fold from each nostril to the mouth corner is deep.",
            "The furrow beside the upper lip sinks in.",
            "The side of the upper lip is drawn slightly outward and the furrow beside it deepens.",
        ),
        absent=(
            "The furrows from nose to mouth are not deepened.",
            "The fold from each nostril to the mouth corner is not deep.",
            "The furrow beside the upper lip does not sink in.",
            "The side of the upper lip keeps its place and the furrow beside it does not deepen.",
        ),
    ),
    12: AUStateSentences(
        present=(
            "The lip corners are pulled up.",
            "The lip corners are drawn back and up toward the cheekbones.",
            "The mouth curves upward at its ends.",
            "The mouth widens and its corners rise toward the cheeks.",
        ),
        absent=(
            "The lip corners are not pulled up.",
            "The lip corners are not drawn back or up toward the cheekbones.",
            "The mouth does not curve upward at its ends.",
            "The mouth stays level and its corners do not rise toward the cheeks.",
        ),
    ),
    13: AUStateSentences(
        present=(
            "The lip corners are lifted into sharp points.",
            "The lip corners are pulled straight up.",
            "The mouth corners turn up steeply and the cheeks puff out.",
            "The cheeks puff out above narrow pointed lip corners.",
        ),
        absent=(
            "The lip corners are not lifted into sharp points.",
            "The lip corners are not pulled straight up.",
            "The mouth corners do not turn up steeply and the cheeks do not puff out.",
            "The cheeks do not puff out above the lip corners.",
        ),
    ),
    14: AUStateSentences(
        present=(
            "The mouth corners are dimpled.",
            "The mouth corners are tightened and drawn inward.",
            "Dimples appear beside the mouth corners.",
            "Both ends of the mouth are tucked into the cheeks.",
        ),
        absent=(
            "The mouth corners are not dimpled.",
            "The mouth corners are not tightened or drawn inward.",
            "No dimples appear beside the mouth corners.",
            "The ends of the mouth are not tucked into the cheeks.",
        ),
    ),
    15: AUStateSentences(
        present=(
            "The lip corners are pulled down.",
            "The mouth curves downward at its ends.",
            "The lip corners drop and the skin below them wrinkles.",
            "Both ends of the mouth are drawn toward the chin.",
        ),
        absent=(
            "The lip corners are not pulled down.",
            "The mouth does not curve downward at its ends.",
            "The lip corners do not drop and the skin below them stays smooth.",
            "The ends of the mouth are not drawn toward the chin.",
        ),
    ),
    16: AUStateSentences(
        present=(
            "The lower lip is pulled down.",
            "The lower lip moves toward the chin and shows the lower teeth.",
            "The lower lip is drawn away from the lower teeth.",
            "The lower teeth show above the lowered lip.",
        ),
        absent=(
            "The lower lip is not pulled down.",
            "The lower lip does not move toward the chin or show the lower teeth.",
            "The lower lip is not drawn away from the lower teeth.",
            "The lower teeth do not show above the lower lip.",
        ),
    ),
    17: AUStateSentences(
        present=(
            "The chin is pushed up.",
            "The chin is raised and its skin wrinkles.",
            "The chin pushes the lower lip upward.",
            "Small dents cover the raised chin.",
        ),
        absent=(
            "The chin is not pushed up.",
            "The chin is not raised and its skin stays smooth.",
            "The chin does not push the lower lip upward.",
            "No small dents cover the chin.",
        ),
    ),
    18: AUStateSentences(
        present=(
            "The lips are puckered.",
            "The lips are drawn to the middle and pushed forward.",
            "The mouth is drawn small and round.",
            "The mouth corners move toward each other and the lips stick out.",
        ),
        absent=(
            "The lips are not puckered.",
            "The lips are not drawn to the middle or pushed forward.",
            "The mouth is not drawn small and round.",
            "The mouth corners do not move toward each other and the lips do not stick out.",
        ),
    ),
    20: AUStateSentences(
        present=(
            "The lips are stretched sideways.",
            "The lip corners are pulled back toward the ears.",
            "The mouth is drawn long and flat.",
            "Both ends of the mouth move outward along a level line.",
        ),
        absent=(
            "The lips are not stretched sideways.",
            "The lip corners are not pulled back toward the ears.",
            "The mouth is not drawn long and flat.",
            "The ends of the mouth do not move outward along a level line.",
        ),
    ),
    22: AUStateSentences(
        present=(
            "The lips are flared outward.",
            "The lips are shaped like a funnel.",
            "The lips turn out and show their inner surface.",
            "The mouth opens like a funnel and its lips flare.",
        ),
        absent=(
            "The lips are not flared outward.",
            "The lips are not shaped like a funnel.",
            "The lips do not turn out or show their inner surface.",
            "The mouth does not open like a funnel and its lips do not flare.",
        ),
    ),
    23: AUStateSentences(
        present=(
            "The lips are tightened.",
            "The lips are tense and thin.",
            "The red parts of the lips become narrow and hard.",
            "The lips narrow and roll slightly inward.",
        ),
        absent=(
            "The lips are not tightened.",
            "The lips are not tense or thin.",
            "The red parts of the lips stay soft and full.",
            "The lips do not narrow or roll slightly inward.",
        ),
    ),
    24: AUStateSentences(
        present=(
            "The lips are pressed together.",
            "The upper lip and the lower lip press against each other.",
            "The closed lips push hard on each other.",
            "The mouth is flattened to a line between pressed lips.",
        ),
        absent=(
            "The lips are not pressed together.",
            "The upper lip and the lower lip do not press against each other.",
            "The lips do not push hard on each other.",
            "The mouth is not flattened to a line between pressed lips.",
        ),
    ),
    25: AUStateSentences(
        present=(
            "The lips are parted.",
            "A gap opens between the upper lip and the lower lip.",
            "The lips move away from each other.",
            "The lips are apart and the mouth is slightly open.",
        ),
        absent=(
            "The lips are not parted.",
            "No gap opens between the upper lip and the lower lip.",
            "The lips do not move away from each other.",
            "The lips touch along the whole mouth and are not apart.",
        ),
    ),
    26: AUStateSentences(
        present=(
            "The jaw is dropped.",
            "The lower jaw hangs loosely.",
            "The jaw falls and the teeth come apart.",
            "The chin sinks with the relaxed jaw.",
        ),
        absent=(
            "The jaw is not dropped.",
            "The lower jaw does not hang loosely.",
            "The jaw does not fall and the teeth do not come apart.",
            "The jaw stays up and the chin does not sink.",
        ),
    ),
    27: AUStateSentences(
        present=(
            "The mouth is stretched wide open.",
            "The jaw is pulled far down and the mouth opens wide.",
            "The mouth forms a tall oval.",
            "The lower face is stretched long by the wide open mouth.",
        ),
        absent=(
            "The mouth is not stretched wide open.",
            "The jaw is not pulled far down and the mouth does not open wide.",
            "The mouth does not form a tall oval.",
            "The lower face is not stretched long by a wide open mouth.",
        ),
    ),
    28: AUStateSentences(
        present=(
            "The lips are sucked into the mouth.",
            "The lips are rolled in over the teeth.",
            "The red parts of the lips are hidden inside the mouth.",
            "Both lips disappear into the mouth.",
        ),
        absent=(
            "The lips are not sucked into the mouth.",
            "The lips are not rolled in over the teeth.",
            "The red parts of the lips are not hidden inside the mouth.",
            "The lips do not disappear into the mouth.",
        ),
    ),
    43: AUStateSentences(
        present=(
            "The eyes are closed.",
            "The upper eyelids rest on the lower ones.",
            "The eyelids cover the eyes for a while.",
            "Both eyes are shut and the iris is hidden.",
        ),
        absent=(
            "The eyes are not closed.",
            "The upper eyelids do not rest on the lower ones.",
            "The eyelids do not cover the eyes for a while.",
            "The eyes are not shut and the iris is not hidden.",
        ),
    ),
    45: AUStateSentences(
        present=(
            "The eyes are blinking.",
            "The eyelids close and open again at once.",
            "The upper eyelids sweep down and up in an instant.",
            "A quick blink covers the eyes.",
        ),
        absent=(
            "The eyes are not blinking.",
            "The eyelids do not close and open again at once.",
            "The upper eyelids do not sweep down and up in an instant.",
            "No quick blink covers the eyes.",
        ),
    ),
}


def state_sentences(au: int | str, present: bool) -> tuple[str, ...]:
    """Sentences that say that an Action Unit is present, or that it is not.

    Args:
        au: Its number or label, for example 12 or "AU12".
        present: Its state.

    Returns:
        The sentences, the canonical one first.

    Raises:
        ValueError: If there is no such Action Unit in the catalogue.
    """
    sentences = AU_STATE_SENTENCES[get_action_unit(au).number]
    return sentences.present if present else sentences.absent


def state_clause(au: int | str, present: bool) -> str:
    """The canonical sentence of an Action Unit's state as a clause, for example "the lip corners are pulled up".

    Raises:
        ValueError: If there is no such Action Unit in the catalogue.
    """
    sentence = state_sentences(au, present)[0]
    return sentence[0].lower() + sentence[1:].removesuffix(".")


def face_sentence(active: Iterable[int | str]) -> str:
    """One sentence about a face: the clauses of its active Action Units, from the forehead down to the jaw.

    Args:
        active: Numbers or labels of the active Action Units, in any order. Without any, the result is
            `NEUTRAL_FACE_SENTENCE`.

    Raises:
        ValueError: If one of them is not in the catalogue.
    """
    regions = get_args(Region)
    units = sorted({get_action_unit(au).number for au in active}, key=lambda au: (regions.index(_region(au)), au))
    if not units:
        return NEUTRAL_FACE_SENTENCE
    *others, last = [state_clause(au, present=True) for au in units]
    text = f"{', '.join(others)} and {last}" if others else last
    return text[0].upper() + text[1:] + "."


def _region(number: int) -> Region:
    return get_action_unit(number).region

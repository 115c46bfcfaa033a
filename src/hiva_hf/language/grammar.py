"""Generate descriptions from the slots of the lexicon, in any number and without a language model."""

import random
from collections.abc import Iterator
from functools import cache
from itertools import permutations, product, zip_longest
from typing import Literal, get_args

from ..facs import get_action_unit
from .lexicon import LEXICON, THIRD_PERSON, AULexicon, NounPhrase
from .validation import MIN_PIECES, count_tokens


Grade = Literal["short", "medium", "long"]
GRADES: tuple[Grade, ...] = get_args(Grade)
"""Detail of a description: the movement; also its appearance, or its muscle; several of these."""

# Words and punctuation marks; each is 1 word piece, or a few for the Latin name of a muscle, so 40 are never reached.
_MAX_TOKENS = 29

_OPENERS = ("", "here ", "on this face ", "seen from the front, ", "in this picture ")
_MANNERS = ("", "clearly ", "visibly ", "noticeably ")


def generate_descriptions(
    au: int | str, number: int, seed: int = 0, grade: Grade | None = None, *, present: bool = True
) -> list[str]:
    """Draws distinct descriptions of an Action Unit from all that its slots allow.

    The same arguments give the same sentences, and a larger `number` extends the list of a smaller one.

    Args:
        au: Number or label of the Action Unit.
        number: Number of descriptions.
        seed: Seed of the draw.
        grade: One of `GRADES`, or None to alternate between all of them.
        present: True for descriptions of the Action Unit when it is present, False for when it is absent.

    Raises:
        ValueError: If the Action Unit or the grade is unknown, or if there are fewer descriptions than `number`.
    """
    unit = get_action_unit(au)
    if grade is not None and grade not in GRADES:
        raise ValueError(f"{grade!r} is not a grade of descriptions. Choose one of {', '.join(GRADES)}.")
    if number < 0:
        raise ValueError(f"`number` must not be negative, got {number}.")
    drawn = []
    for each in GRADES if grade is None else (grade,):
        sentences = list(all_descriptions(unit.number, each, present))
        random.Random(f"{seed} {unit.label} {each} {present}").shuffle(sentences)
        drawn.append(sentences)
    # Alternate between the grades, until the longest list ends.
    mixed = [sentence for group in zip_longest(*drawn) for sentence in group if sentence is not None]
    if number > len(mixed):
        kind = "" if grade is None else f"{grade} "
        raise ValueError(
            f"{number} {kind}descriptions of {unit.label} were requested, but its slots give {len(mixed)}. Request "
            "fewer, or add words to its entry in hiva_hf/language/lexicon.py."
        )
    return mixed[:number]


@cache
def all_descriptions(au: int, grade: Grade, present: bool = True) -> tuple[str, ...]:
    """All distinct descriptions of a grade that the slots of an Action Unit (by number) allow."""
    slots = LEXICON[au]
    frames = _FRAMES[grade, present](slots)
    sentences = dict.fromkeys(_sentence(text) for text in frames)
    return tuple(text for text in sentences if MIN_PIECES <= count_tokens(text) <= _MAX_TOKENS)


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."


# The movement, in the forms that the frames need, such as "the lip corners are pulled up".


def _cores(slots: AULexicon) -> Iterator[tuple[NounPhrase, str, str]]:
    return product(slots.regions, slots.verbs, slots.directions)


def _passives(slots: AULexicon, manners: tuple[str, ...] = ("",)) -> list[str]:
    return [
        f"{place.text} {place.be} {manner}{verb} {direction}"
        for (place, verb, direction), manner in product(_cores(slots), manners)
    ]


def _actives(slots: AULexicon) -> list[str]:
    return [
        f"{muscle} {THIRD_PERSON[verb]} {place.text} {direction}"
        for muscle, (place, verb, direction) in product(slots.muscles, _cores(slots))
    ]


def _participials(slots: AULexicon) -> list[str]:
    return [f"with {place.text} {verb} {direction}" for place, verb, direction in _cores(slots)]


def _contrasts(slots: AULexicon) -> list[str]:
    return [f"while {clause}" for related in slots.relations for clause in LEXICON[related].negations]


# The frames of each grade, for an Action Unit that is present.


def _short(slots: AULexicon) -> Iterator[str]:
    for opener, core in product(_OPENERS, _passives(slots, _MANNERS)):
        yield opener + core
    for place, verb, direction in _cores(slots):
        yield f"look at {place.text}: {place.pronoun} {place.be} {verb} {direction}"
    yield from _actives(slots)


def _medium(slots: AULexicon) -> Iterator[str]:
    for core, seen in product(_passives(slots, _MANNERS[:2]), slots.appearances):
        yield f"{core}, and {seen}"
        yield f"{core}, so that {seen}"
    for core, seen in product(_passives(slots), slots.appearances):
        yield f"as {core}, {seen}"
        yield f"{seen}, because {core}"
    for core, seen in product(_participials(slots), slots.appearances):
        yield f"{core}, {seen}"
    for core, contrast in product(_passives(slots), _contrasts(slots)):
        yield f"{core}, {contrast}"


def _long(slots: AULexicon) -> Iterator[str]:
    for core, (first, second) in product(_passives(slots), permutations(slots.appearances, 2)):
        yield f"{core}, so that {first} and {second}"
    for core, (first, second) in product(_participials(slots), permutations(slots.appearances, 2)):
        yield f"{core}, {first} and {second}"
    for core, seen in product(_actives(slots), slots.appearances):
        yield f"{core}, and {seen}"
        yield f"as {core}, {seen}"
    for core, seen, contrast in product(_passives(slots), slots.appearances, _contrasts(slots)):
        yield f"{core}, and {seen}, {contrast}"


# The same for one that is absent.


def _denied_cores(slots: AULexicon) -> Iterator[tuple[NounPhrase, str, str]]:
    # "both lips are not pressed" could mean that one is.
    return (core for core in _cores(slots) if not core[0].text.startswith("both "))


def _denials(slots: AULexicon) -> list[str]:
    return [f"{place.text} {place.be} not {verb} {direction}" for place, verb, direction in _denied_cores(slots)]


def _short_absent(slots: AULexicon) -> Iterator[str]:
    for opener, denial in product(_OPENERS, _denials(slots)):
        yield opener + denial
    for place, verb, direction in _denied_cores(slots):
        yield f"nothing {THIRD_PERSON[verb]} {place.text} {direction}"


def _medium_absent(slots: AULexicon) -> Iterator[str]:
    for denial, seen in product(_denials(slots), slots.negations):
        yield f"{denial}, and {seen}"
        yield f"{seen}, because {denial}"
        yield f"as {denial}, {seen}"


def _long_absent(slots: AULexicon) -> Iterator[str]:
    for denial, (first, second) in product(_denials(slots), permutations(slots.negations, 2)):
        yield f"{denial}, so that {first} and {second}"
        yield f"{first} and {second}, because {denial}"


_FRAMES = {
    ("short", True): _short,
    ("medium", True): _medium,
    ("long", True): _long,
    ("short", False): _short_absent,
    ("medium", False): _medium_absent,
    ("long", False): _long_absent,
}

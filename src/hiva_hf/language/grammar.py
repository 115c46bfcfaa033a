"""Descriptions put together from the slots of the lexicon: any number of them, without a language model."""

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
"""How much a description tells: the movement; what one then sees, or its muscle; several of these."""

# Words and marks; a token is 1 word piece, or a few where it is the Latin name of a muscle, so 40 are never reached.
_MAX_TOKENS = 29

_OPENERS = ("", "here ", "on this face ", "seen from the front, ", "in this picture ")
_MANNERS = ("", "clearly ", "visibly ", "noticeably ")


def generate_descriptions(
    au: int | str, number: int, seed: int = 0, grade: Grade | None = None, *, present: bool = True
) -> list[str]:
    """Different descriptions of an Action Unit, drawn from all that its slots allow.

    The same arguments give the same sentences, and a larger `number` continues a smaller one.

    Args:
        au: Number or label of the Action Unit.
        number: How many.
        seed: Seed of the draw.
        grade: One of `GRADES`, or None for as many of each as there are.
        present: True for what is seen when the Action Unit is there, False for what is seen when it is not.

    Raises:
        ValueError: If the Action Unit or the grade is unknown, or if there are fewer descriptions than that.
    """
    unit = get_action_unit(au)
    if grade is not None and grade not in GRADES:
        raise ValueError(f"{grade!r} is not a grade of descriptions. Choose one of {', '.join(GRADES)}.")
    if number < 0:
        raise ValueError(f"The number of descriptions must not be negative, got {number}.")
    drawn = []
    for each in GRADES if grade is None else (grade,):
        sentences = list(all_descriptions(unit.number, each, present))
        random.Random(f"{seed} {unit.label} {each} {present}").shuffle(sentences)
        drawn.append(sentences)
    # One grade after the other, until the longest list ends.
    mixed = [sentence for group in zip_longest(*drawn) for sentence in group if sentence is not None]
    if number > len(mixed):
        kind = "" if grade is None else f"{grade} "
        raise ValueError(
            f"{number} {kind}descriptions of {unit.label} were asked for, but its slots give {len(mixed)}. Ask for "
            "fewer, or add words to its entry in hiva_hf/language/lexicon.py."
        )
    return mixed[:number]


@cache
def all_descriptions(au: int, grade: Grade, present: bool = True) -> tuple[str, ...]:
    """Every description of a grade that the slots of an Action Unit (by number) allow, without repetitions."""
    slots = LEXICON[au]
    frames = _FRAMES[grade, present](slots)
    sentences = dict.fromkeys(_sentence(text) for text in frames)
    return tuple(text for text in sentences if MIN_PIECES <= count_tokens(text) <= _MAX_TOKENS)


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."


# What moves, said in the ways that the frames need. "the lip corners are pulled up"


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


# The frames of each grade, for an Action Unit that is there.


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


# The same for one that is not there.


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

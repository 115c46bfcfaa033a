"""Parse Action Units and their states from sentences.

A sentence of the bank (`hiva_hf.facs_states`) is recognised exactly. Any other is compared with those of the bank by
its content words, with more weight on rare ones, and by whether it is negated; if no sentence is similar, or two
Action Units are about equally similar, nothing is recognised.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

from ..facs import get_action_unit
from ..facs_states import AU_STATE_SENTENCES, NEUTRAL_FACE_SENTENCE


# Smallest similarity of the weighted content of two sentences, and smallest margin to the next Action Unit.
_MIN_SIMILARITY = 0.7
_MIN_MARGIN = 0.1

_WORD = re.compile(r"[a-z]+(?:'t)?")
# Where a sentence about a face may end one clause and begin the next.
_CLAUSE_BREAK = re.compile(r"\s*[,;.]\s*(?:and\s+)?|\s+and\s+")
_MAX_BREAKS_IN_CLAUSE = 3

_DENIALS = {"not", "no", "never", "nor", "neither", "cannot", "hardly"}
# The bank also negates a movement by rest, "the eyebrows stay low"; "the eyes stay closed" negates nothing.
_STILLNESS = {"stay", "keep", "remain"}
_REST = {"low", "level", "smooth", "soft", "full", "still", "place", "distance", "curve"}
# Participles of movements that don't end in "ed".
_PARTICIPLES = {"drawn", "risen", "shut"}
_FUNCTION_WORDS = frozenset(
    _WORD.findall(
        "a an and are as at be been being both by do does each for from has have in is it its of on or so that the "
        "their them there these this those to was were which while with"
    )
)
# Stems of the parts of a face: a clause without one could be about any of them.
_PLACES = {"eyebrow", "eyelid", "eye", "iri", "cheek", "nos", "lip", "mouth", "teeth", "chin", "jaw", "fac"}
# Synonyms of stems of the bank.
_SYNONYMS = {"brow": "eyebrow", "lid": "eyelid", "upward": "up", "downward": "down", "draw": "pull", "lift": "rais"}
_IRREGULAR = {"drawn": "draw", "drew": "draw", "rise": "rais", "risen": "rais", "rose": "rais", "kept": "keep"}


@dataclass(frozen=True)
class Statement:
    """What a clause says about one Action Unit.

    Attributes:
        au: Its number.
        present: Whether the movement is said to be present.
    """

    au: int
    present: bool


@dataclass(frozen=True)
class Clause:
    """A part of a sentence about a face.

    Attributes:
        text: Its words.
        statement: What it says; None if it is not recognised.
    """

    text: str
    statement: Statement | None


@dataclass(frozen=True)
class _BankSentence:
    statement: Statement
    content: frozenset[str]
    is_denial: bool


def parse_statement(text: str) -> Statement | None:
    """The Action Unit that a sentence or clause is about, and its state.

    Args:
        text: For example "The lip corners are pulled up."

    Returns:
        The statement; None if it is not recognised, or the Action Unit is ambiguous.
    """
    words = _words(text)
    return _exact_statements().get(_exact_key(words)) or _nearest_statement(words)


def parse_state(text: str, au: int | str) -> bool | None:
    """Whether a sentence says that an Action Unit is present.

    Args:
        text: The sentence.
        au: Number or label of the Action Unit that it should be about.

    Returns:
        True or False; None if it is not recognised, or the sentence is about another Action Unit.

    Raises:
        ValueError: If there is no such Action Unit in the catalogue.
    """
    number = get_action_unit(au).number
    statement = parse_statement(text)
    return statement.present if statement is not None and statement.au == number else None


def read_clauses(text: str) -> list[Clause]:
    """The clauses of a sentence about a face, and what each says; empty for a neutral face.

    Args:
        text: One sentence or several, with clauses between commas and "and".
    """
    if _words(text) == _words(NEUTRAL_FACE_SENTENCE):
        return []
    fragments = [fragment for fragment in _CLAUSE_BREAK.split(text.strip().lower()) if _words(fragment)]
    clauses, start = [], 0
    while start < len(fragments):
        clause, start = _next_clause(fragments, start)
        clauses.append(clause)
    return clauses


def _next_clause(fragments: list[str], start: int) -> tuple[Clause, int]:
    """The longest clause of the bank that starts here, or else the single fragment; and where the next one starts."""
    for end in range(min(len(fragments), start + 1 + _MAX_BREAKS_IN_CLAUSE), start, -1):
        text = " ".join(fragments[start:end])
        statement = _exact_statements().get(_exact_key(_words(text)))
        if statement is not None:
            return Clause(text, statement), end
    return Clause(fragments[start], _nearest_statement(_words(fragments[start]))), start + 1


def _nearest_statement(words: list[str]) -> Statement | None:
    """The statement of the nearest sentence of the bank if one Action Unit is clearly nearest; inverted if negated."""
    content, is_denial = _content(words), _denies(words)
    if is_denial is None or not content & _PLACES:
        return None
    best: dict[int, tuple[float, bool, _BankSentence]] = {}
    for sentence in _bank():
        similarity = _similarity(content, sentence.content)
        # Of equally similar sentences, prefer the one with the same negation, which need not be inverted.
        candidate = (similarity, sentence.is_denial == is_denial, sentence)
        au = sentence.statement.au
        if au not in best or candidate[:2] > best[au][:2]:
            best[au] = candidate
    (similarity, agrees, sentence), (next_similarity, *_) = sorted(
        best.values(), key=lambda candidate: candidate[0], reverse=True
    )[:2]
    if similarity < _MIN_SIMILARITY or similarity - next_similarity < _MIN_MARGIN:
        return None
    statement = sentence.statement
    return statement if agrees else Statement(statement.au, not statement.present)


@cache
def _bank() -> tuple[_BankSentence, ...]:
    return tuple(
        _BankSentence(Statement(au, present), _content(words), _denies(words))
        for au, sentences in AU_STATE_SENTENCES.items()
        for present, texts in ((True, sentences.present), (False, sentences.absent))
        for words in map(_words, texts)
    )


@cache
def _exact_statements() -> dict[tuple[str, ...], Statement]:
    return {
        _exact_key(_words(text)): Statement(au, present)
        for au, sentences in AU_STATE_SENTENCES.items()
        for present, texts in ((True, sentences.present), (False, sentences.absent))
        for text in texts
    }


@cache
def _weights() -> dict[str, float]:
    """Weight of each stem of the bank: its inverse document frequency over Action Units."""
    stems_of_aus: dict[int, set[str]] = {}
    for sentence in _bank():
        stems_of_aus.setdefault(sentence.statement.au, set()).update(sentence.content)
    num_aus_with = Counter(stem for stems in stems_of_aus.values() for stem in stems)
    return {stem: 1 + math.log(len(stems_of_aus) / count) for stem, count in num_aus_with.items()}


def _similarity(first: frozenset[str], second: frozenset[str]) -> float:
    """Weighted Dice coefficient of two sets of stems; an unknown stem has the weight of the rarest ones."""
    rare = 1 + math.log(len(AU_STATE_SENTENCES))

    def weight(stems: Iterable[str]) -> float:
        return sum(_weights().get(stem, rare) for stem in stems)

    total = weight(first) + weight(second)
    return 2 * weight(first & second) / total if total > 0 else 0.0


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower().replace("’", "'"))


def _exact_key(words: Iterable[str]) -> tuple[str, ...]:
    """The words without "and", at which clauses of a sentence about a face are split."""
    return tuple(word for word in words if word != "and")


def _content(words: Iterable[str]) -> frozenset[str]:
    told = (word for word in words if word not in _FUNCTION_WORDS and not _is_denial(word))
    stems = (_stem(word) for word in told if not _is_stillness(word))
    return frozenset(_SYNONYMS.get(stem, stem) for stem in stems)


def _denies(words: Iterable[str]) -> bool | None:
    """Whether a movement is negated; None if it is unclear."""
    told = [word for word in words if word not in _FUNCTION_WORDS]
    stays, rests = any(map(_is_stillness, told)), not _REST.isdisjoint(told)
    if any(map(_is_denial, told)):
        denies_rest = rests and any(_is_denial(word) and _is_stillness(verb) for word, verb in pairwise(told))
        return None if denies_rest else True
    # "The eyes stay closed" is a movement; "the lips stay together" is neither a movement nor rest.
    moves = any(word in _PARTICIPLES or (word.endswith("ed") and word != "red") for word in told)
    if stays and moves == rests:
        return None
    return stays and rests


def _is_denial(word: str) -> bool:
    return word in _DENIALS or word.endswith("n't")


def _is_stillness(word: str) -> bool:
    return _stem(word) in _STILLNESS


def _stem(word: str) -> str:
    """A rough stem of a word: it only has to be the same for all forms of a word."""
    word = _IRREGULAR.get(word, word)
    for ending in ("ing", "ed", "es", "s", "e"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word.removesuffix(ending)
            break
    if len(word) > 3 and word[-1] == word[-2]:
        word = word[:-1]
    return word

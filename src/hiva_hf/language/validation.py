"""Validate descriptions: plain text about the right Action Unit, about no other, and distinct from the others."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache

import numpy as np
from transformers import PreTrainedTokenizerBase

from ..facs import ACTION_UNITS, ActionUnit, get_action_unit
from ..facs_states import state_clause
from .lexicon import ACTION_STEMS, EMOTION_STEMS, LEXICON, NEGATION, REGION_WORDS, STANDSTILL


MIN_PIECES, MAX_PIECES = 9, 40
"""Smallest and largest number of word pieces of a description: the length that the text encoder reads in training."""

MAX_CHARACTERS = 1000
"""Far more than `MAX_PIECES` word pieces have. Longer texts are not examined further, which would take long."""

MAX_SIMILARITY = 0.5
"""Highest similarity (see `similarities`) of two descriptions of different Action Units.

At 0.5, half of all their content words are shared. For the 546 descriptions of the package, the similarity to the
nearest one of another Action Unit is 0.21 in the median, below 0.34 for 99 of 100, and at most 0.36: a plainer text
may come closer, a copy is rejected.
"""

# "while the lip corners stay level": says that another Action Unit is absent.
_CONTRAST = re.compile(
    rf",? \b(?:while|whereas|although|though)\b[^,.;:]*\b(?:{NEGATION}|{STANDSTILL})\b[^,.;:]*", re.IGNORECASE
)
_NUMBER = re.compile(r"\b(?:AUs?|action units?)(?:\W*\d+|\b)|\d+", re.IGNORECASE)
_MARKUP = re.compile(r"https?:|www\.|[\"\u201c\u201d\u2018\u00ab\u00bb`*_#<>\[\]{}|\\/@=~^$%&+]|(?<!\w)'|'(?!\w)")
_LIST_MARK = re.compile(r"\s*(?:[-\u2022\u2013\u2014*]|\(?[0-9a-zA-Z][.)])\s")
_ALLOWED = re.compile(r"[A-Za-z ,.:;'\u2019!?-]+")

# Parts of the face that a description of the upper half has no reason to name, and one of the lower half. The eyes and
# the nose are not included: they serve as landmarks for both halves.
_OTHER_HALF = {"upper": r"mouth|lips?|chin|jaw", "lower": r"(eye)?brows?|eyelids?|lids?|lashes|iris"}

# "Lips Part", "Eyes Closed", "Blink": FACS names that are plain English in lower case.
_PLAIN_NAMES = (25, 43, 45)

# Words without a meaning of their own, and the words in the frames of the grammar.
_FUNCTION_WORDS = frozenset(
    (
        "a an and are as at be because been both by clearly each face for from front has have here in into is it "
        "its look looks noticeably of off on one or other over picture seen so than that the their them then "
        "there they this to toward towards until visibly where which while who with"
    ).split()
)


def validate_description(
    text: str, au: int | str, *, present: bool = True, tokenizer: PreTrainedTokenizerBase | None = None
) -> list[str]:
    """Reasons why a text is no good description of an Action Unit; an empty list if it is one.

    Args:
        text: One or two sentences.
        au: Number or label of the Action Unit.
        present: Whether the text describes the Action Unit when it is present (as read in training), or when it is
            absent.
        tokenizer: The text encoder's, to count word pieces. Without one, words and punctuation marks are counted, each
            of which is at least one piece.

    Raises:
        ValueError: If the Action Unit is not in the catalogue.
    """
    unit = get_action_unit(au)
    if len(text) > MAX_CHARACTERS:
        return [f"has {len(text)} characters; {MAX_PIECES} word pieces have less than {MAX_CHARACTERS}"]
    reasons = _text_reasons(text) + _length_reasons(text, tokenizer)
    # Contrasts with other Action Units are ignored.
    own_part = _CONTRAST.sub("", text)
    reasons += _content_reasons(own_part, unit.number, present)
    return reasons + _foreign_reasons(own_part, text, unit.number, present)


@dataclass
class BankReport:
    """What is wrong with a bank of descriptions.

    Attributes:
        reasons: (label of the AU, text, reason) for each fault; empty for a good bank.
        max_similarity: Highest similarity of two descriptions of different Action Units.
    """

    reasons: list[tuple[str, str, str]] = field(default_factory=list)
    max_similarity: float = 0.0


def validate_bank(
    bank: Mapping[int | str, Sequence[str]],
    *,
    present: bool = True,
    tokenizer: PreTrainedTokenizerBase | None = None,
    max_similarity: float = MAX_SIMILARITY,
) -> BankReport:
    """Validates every description of a bank, and checks that all differ and no two Action Units have similar ones.

    Args:
        bank: Descriptions by number or label of the Action Unit.
        present: See `validate_description`.
        tokenizer: See `validate_description`.
        max_similarity: Upper bound of `similarities` between Action Units.

    Raises:
        ValueError: If an Action Unit is not in the catalogue.
    """
    rows = [(get_action_unit(au).label, text) for au, texts in bank.items() for text in texts]
    report = BankReport()
    for label, text in rows:
        for reason in validate_description(text, label, present=present, tokenizer=tokenizer):
            report.reasons.append((label, text, reason))
    report.reasons += _repetitions(rows)
    _compare_aus(rows, max_similarity, report)
    return report


class KnownDescriptions:
    """A growing set of descriptions that a new one must differ from, with an index by word.

    Args:
        bank: Descriptions by number or label of the Action Unit.
    """

    def __init__(self, bank: Mapping[int | str, Sequence[str]]):
        self._first_of: dict[str, tuple[str, str]] = {}
        self._rows: list[tuple[str, str]] = []
        self._num_words: list[int] = []
        self._rows_with: dict[str, list[int]] = defaultdict(list)
        for au, texts in bank.items():
            for text in texts:
                self.add(text, au)

    def add(self, text: str, au: int | str) -> None:
        """Adds a description."""
        label = get_action_unit(au).label
        self._first_of.setdefault(folded(text), (label, text))
        words = _content_words(text)
        for word in words:
            self._rows_with[word].append(len(self._rows))
        self._rows.append((label, text))
        self._num_words.append(len(words))

    def conflicts(self, text: str, au: int | str, max_similarity: float = MAX_SIMILARITY) -> list[str]:
        """Reasons why a description cannot be added: it is a repetition, or too similar to one of another AU."""
        own = get_action_unit(au).label
        if folded(text) in self._first_of:
            label, known = self._first_of[folded(text)]
            return [f"repeats a description of {label}: {known!r}"]
        words = _content_words(text)
        numbers = [number for word in words for number in self._rows_with.get(word, ())]
        sharing, common = np.unique(np.array(numbers, dtype=np.int64), return_counts=True)
        of_others = [self._rows[number][0] != own for number in sharing]
        sharing, common = sharing[of_others], common[of_others].astype(np.float32)
        if not len(sharing):
            return []
        # The same formula as in `similarities`.
        values = common / (np.array([self._num_words[number] for number in sharing]) + len(words) - common)
        nearest = int(values.argmax())
        if values[nearest] <= max_similarity:
            return []
        return [_similarity_reason(values[nearest], max_similarity, *self._rows[sharing[nearest]])]


def similarities(first: Sequence[str], second: Sequence[str]) -> np.ndarray:
    """Jaccard index of the sets of content words, for each pair of texts; contrasts with other AUs are ignored.

    Returns:
        `[len(first), len(second)]`, 1 for the same words in any order.
    """
    vocabulary: dict[str, int] = defaultdict(lambda: len(vocabulary))
    first_words = [{vocabulary[word] for word in _content_words(text)} for text in first]
    second_words = [{vocabulary[word] for word in _content_words(text)} for text in second]
    a, b = _indicators(first_words, len(vocabulary)), _indicators(second_words, len(vocabulary))
    common = a @ b.T
    union = a.sum(axis=1)[:, None] + b.sum(axis=1)[None] - common
    return common / np.maximum(union, 1)


@lru_cache(maxsize=100_000)
def folded(text: str) -> str:
    """A text without case and punctuation: two texts that differ only in these are the same description."""
    # Letters of any script, so that texts in other scripts do not all become the same.
    return " ".join(re.findall(r"(?:[^\W_]|')+", text.lower().replace("\u2019", "'")))


def count_tokens(text: str) -> int:
    """Words and punctuation marks, a lower bound of the word pieces."""
    return len(re.findall(r"\w+|[^\w\s]", text))


def _text_reasons(text: str) -> list[str]:
    reasons = []
    if not text.strip():
        return ["is empty"]
    if text != text.strip() or re.search(r"\s{2,}|[^\S ]", text):
        reasons.append("has line breaks, tabs or repeated spaces")
    if _LIST_MARK.match(text):
        reasons.append("begins with the mark of a list")
    if marks := _MARKUP.findall(text):
        reasons.append(f"has quotation marks, an address or markup: {' '.join(dict.fromkeys(marks))}")
    elif not _ALLOWED.fullmatch(re.sub(r"\d", "", text.strip())):
        strange = dict.fromkeys(re.sub(_ALLOWED, "", re.sub(r"[\d\s]", "", text)))
        reasons.append(f"has characters that are no plain English text: {' '.join(strange)}")
    if not text.rstrip().endswith("."):
        reasons.append("does not end with a full stop")
    if not re.match(r"[A-Z]", text.lstrip()):
        reasons.append("does not begin with a capital letter")
    sentences = len(re.findall(r"[.!?]+(?=\s|$)", text))
    if sentences > 2:
        reasons.append(f"has {sentences} sentences; one or two are allowed")
    return reasons


def _length_reasons(text: str, tokenizer: PreTrainedTokenizerBase | None) -> list[str]:
    pieces = count_tokens(text) if tokenizer is None else len(tokenizer.tokenize(text))
    if MIN_PIECES <= pieces <= MAX_PIECES:
        return []
    return [f"has {pieces} word pieces; {MIN_PIECES} to {MAX_PIECES} are allowed"]


def _content_reasons(text: str, au: int, present: bool) -> list[str]:
    region = ACTION_UNITS[au].region
    reasons = []
    if not _find(REGION_WORDS[region], text):
        reasons.append(f"does not name its region ({region})")
    if not _starting_with(ACTION_STEMS, text):
        reasons.append("has no verb that says what moves")
    if not _find(LEXICON[au].own_cues, text):
        reasons.append(f"has no cue that sets AU{au} apart inside its region")
    if emotions := _starting_with(EMOTION_STEMS, text):
        reasons.append(f"has words for emotions: {', '.join(emotions)}")
    if present and (words := _find(NEGATION, text)):
        reasons.append(f"says that something is not there: {words}")
    if not present and not _find(f"{NEGATION}|{STANDSTILL}", text):
        reasons.append("does not say that the movement is not there")
    return reasons


def _foreign_reasons(own_part: str, text: str, au: int, present: bool) -> list[str]:
    reasons = []
    if number := _NUMBER.search(text):
        reasons.append(f"has a number of an Action Unit or of something else: {number[0].strip()!r}")
    for unit in ACTION_UNITS.values():
        if unit.number == au:
            continue
        if found := _find_name(unit, text):
            reasons.append(f"names another Action Unit: {found}")
        elif found := _find(LEXICON[unit.number].unique_cues, own_part):
            reasons.append(f"has a cue of {unit.label}: {found}")
        elif (clause := state_clause(unit.number, present)).lower() in own_part.lower():
            reasons.append(f"says what is said of {unit.label}: {clause}")
    if found := _find(_OTHER_HALF[ACTION_UNITS[au].face_half], own_part):
        reasons.append(f"names a part of the other half of the face: {found}")
    if found := _find(LEXICON[au].confusing_cues, own_part):
        reasons.append(f"has a word that points to a neighbouring Action Unit: {found}")
    return reasons


def _find_name(unit: ActionUnit, text: str) -> str | None:
    if unit.number in _PLAIN_NAMES:
        return unit.name if unit.name in text else None
    return _find(unit.name, text)


def _repetitions(rows: list[tuple[str, str]]) -> list[tuple[str, str, str]]:
    seen: dict[str, tuple[str, str]] = {}
    reasons = []
    for label, text in rows:
        if (key := folded(text)) in seen:
            first_label, first = seen[key]
            reasons.append((label, text, f"repeats a description of {first_label}: {first!r}"))
        else:
            seen[key] = (label, text)
    return reasons


def _compare_aus(rows: list[tuple[str, str]], max_similarity: float, report: BankReport) -> None:
    """Adds a reason for each text that is too similar to an earlier one of another Action Unit."""
    by_label: dict[str, list[str]] = defaultdict(list)
    for label, text in rows:
        by_label[label].append(text)
    labels = list(by_label)
    for index, label in enumerate(labels):
        earlier = [(other, text) for other in labels[:index] for text in by_label[other]]
        if not earlier or not by_label[label]:
            continue
        values = similarities(by_label[label], [text for _, text in earlier])
        report.max_similarity = max(report.max_similarity, float(values.max()))
        for row in np.flatnonzero(values.max(axis=1) > max_similarity):
            nearest = int(values[row].argmax())
            reason = _similarity_reason(values[row, nearest], max_similarity, *earlier[nearest])
            report.reasons.append((label, by_label[label][row], reason))


def _similarity_reason(value: float, bound: float, label: str, text: str) -> str:
    return f"is too similar ({value:.2f}; {bound:.2f} is allowed) to a description of {label}: {text!r}"


def _indicators(rows: list[set[int]], width: int) -> np.ndarray:
    matrix = np.zeros((len(rows), max(width, 1)), dtype=np.float32)
    for row, words in zip(matrix, rows, strict=True):
        row[list(words)] = 1
    return matrix


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z]+(?:'[a-z]+)?", text.lower().replace("\u2019", "'"))


@lru_cache(maxsize=100_000)
def _content_words(text: str) -> frozenset[str]:
    return frozenset(word for word in _words(_CONTRAST.sub("", text)) if word not in _FUNCTION_WORDS)


def _starting_with(stems: tuple[str, ...], text: str) -> list[str]:
    return [word for word in _words(text) if word.startswith(stems)]


def _find(pattern: str, text: str) -> str | None:
    match = _whole_words(pattern).search(text)
    return match[0] if match else None


@cache
def _whole_words(pattern: str) -> re.Pattern:
    return re.compile(rf"\b(?:{pattern})\b", re.IGNORECASE)

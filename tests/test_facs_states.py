"""Every state of every Action Unit has sentences of its own, and a face is described from top to bottom."""

import itertools
import random
import re

import pytest

from hiva_hf.facs import ACTION_UNITS
from hiva_hf.facs_states import (
    AU_STATE_SENTENCES,
    NEUTRAL_FACE_SENTENCE,
    face_sentence,
    state_clause,
    state_sentences,
)


STATES = [(number, present) for number in ACTION_UNITS for present in (True, False)]
every_state = pytest.mark.parametrize(("au", "present"), STATES)

REGION_WORDS = {
    "brows": r"(eye)?brows?",
    "eyes": r"eyes?|eyelids?|lids?|iris",
    "cheeks": r"cheeks?",
    "nose": r"nose",
    "mouth": r"mouth|lips?",
    "chin": r"chin",
    "jaw": r"jaw",
}
NEGATION = r"not|no|stays?|keeps?"
EMOTIONS = r"(smil|happ|sad|ang(er|r)|fear|disgust|surpris|frown|pain|joy|contempt|grin|sneer|scowl|pout|emotion)\w*"


def contains(pattern: str, sentence: str) -> bool:
    return re.search(rf"\b(?:{pattern})\b", sentence, flags=re.IGNORECASE) is not None


def test_states_exist_for_exactly_the_catalogue():
    assert list(AU_STATE_SENTENCES) == list(ACTION_UNITS)


@every_state
def test_state_has_enough_clean_sentences(au, present):
    sentences = state_sentences(au, present)
    assert len(sentences) >= 3
    for sentence in sentences:
        assert re.fullmatch(r"[A-Z][a-z]*(,? [a-z]+)+\.", sentence), sentence
        assert not contains(EMOTIONS, sentence), sentence


def test_text_alone_tells_au_and_state():
    sentences = [sentence.lower() for state in STATES for sentence in state_sentences(*state)]
    assert len(set(sentences)) == len(sentences)


@every_state
def test_sentence_names_its_place(au, present):
    for sentence in state_sentences(au, present):
        assert contains(REGION_WORDS[ACTION_UNITS[au].region], sentence), sentence


@every_state
def test_only_sentences_of_an_absent_au_negate(au, present):
    for sentence in state_sentences(au, present):
        assert contains(NEGATION, sentence) is not present, sentence


@pytest.mark.parametrize("au", [12, "AU12", "AU012", "12"])
def test_au_is_given_by_number_or_label(au):
    assert state_sentences(au, True)[0] == "The lip corners are pulled up."
    assert state_clause(au, True) == "the lip corners are pulled up"
    assert state_clause(au, False) == "the lip corners are not pulled up"


@pytest.mark.parametrize("lookup", [state_sentences, state_clause, lambda au, present: face_sentence([1, au])])
@pytest.mark.parametrize("au", [3, "AU3", "smile"])
def test_unknown_au_is_refused_and_known_ones_are_named(lookup, au):
    with pytest.raises(ValueError, match=r"of a known Action Unit\. Known are AU1, AU2, .*AU45\."):
        lookup(au, True)


def test_no_clause_is_part_of_another():
    clauses = [state_clause(*state) for state in STATES]
    for first, second in itertools.permutations(clauses, 2):
        assert first not in second


def test_clauses_hold_nothing_that_joins_clauses():
    for state in STATES:
        assert "," not in state_clause(*state)
        assert " and " not in state_clause(*state)


def test_face_sentence_reads_from_the_upper_face_to_the_lower():
    expected = "The inner ends of the eyebrows are raised, the cheeks are lifted and the lip corners are pulled up."
    assert face_sentence(["AU12", 6, "AU01"]) == expected
    assert face_sentence(iter([1, 12, 6, 12])) == expected
    assert face_sentence([17, 45, 9]) == "The eyes are blinking, the nose is wrinkled and the chin is pushed up."
    assert face_sentence([26, 25]) == "The lips are parted and the jaw is dropped."
    assert face_sentence([4]) == "The eyebrows are lowered."


def test_face_without_an_au_is_neutral():
    assert face_sentence([]) == NEUTRAL_FACE_SENTENCE == "Neutral face."


def test_face_sentence_can_be_read_back():
    clauses = {state_clause(au, True): au for au in ACTION_UNITS}
    generator = random.Random(0)
    for _ in range(300):
        active = generator.sample(list(ACTION_UNITS), generator.randint(1, 12))
        text = face_sentence(active).removesuffix(".")
        text = text[0].lower() + text[1:]
        assert {clauses[clause] for clause in re.split(r", | and ", text)} == set(active)

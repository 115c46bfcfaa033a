"""Every Action Unit has an entry, whose slots fit together and whose cues tell it from the others."""

import re

import pytest

from hiva_hf.facs import ACTION_UNITS
from hiva_hf.language.lexicon import LEXICON, NEGATION, STANDSTILL, THIRD_PERSON


every_au = pytest.mark.parametrize("au", LEXICON)


def test_lexicon_covers_exactly_the_catalogue():
    assert list(LEXICON) == list(ACTION_UNITS)


@every_au
def test_slots_are_filled_without_repetitions(au):
    slots = LEXICON[au]
    for name in ("regions", "verbs", "directions", "muscles", "appearances", "negations", "relations"):
        values = getattr(slots, name)
        assert len(values) >= 3, name
        assert len(set(values)) == len(values), name


@every_au
def test_verbs_have_their_third_person(au):
    assert set(LEXICON[au].verbs) <= set(THIRD_PERSON)


@every_au
def test_possessives_agree_with_every_region(au):
    slots = LEXICON[au]
    words = " ".join(slots.directions).split()
    assert not ("their" in words and any(not place.is_plural for place in slots.regions))
    assert not ("its" in words and any(place.is_plural for place in slots.regions))


def test_no_verb_is_left_over():
    assert set(THIRD_PERSON) == {verb for slots in LEXICON.values() for verb in slots.verbs}


@every_au
def test_negations_deny_and_can_be_added_to_any_sentence(au):
    for clause in LEXICON[au].negations:
        assert re.search(rf"\b({NEGATION}|{STANDSTILL})\b", clause), clause
        assert not re.search(r"[^a-z ]", clause), clause


def test_negations_differ_between_aus():
    clauses = [clause for slots in LEXICON.values() for clause in slots.negations]
    assert len(set(clauses)) == len(clauses)


@every_au
def test_related_aus_can_be_absent_beside_this_one(au):
    assert set(LEXICON[au].relations) <= set(LEXICON) - {au}


@every_au
def test_muscles_of_the_catalogue_are_named(au):
    """By the beginning of at least one word: "the corrugators" stands for corrugator supercilii."""
    words = {word[:6] for phrase in LEXICON[au].muscles for word in phrase.split()}
    known = {word.strip("(),")[:6] for muscle in ACTION_UNITS[au].muscles for word in muscle.split()}
    assert words & known, words

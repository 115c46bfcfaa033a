"""The catalogue is complete and consistent, and every sentence describes its own Action Unit and only that."""

import ast
import dataclasses
import functools
import itertools
import re
import sys
from pathlib import Path
from typing import get_args

import pytest

from hiva_hf import facs, facs_descriptions, facs_states
from hiva_hf.facs import (
    ACTION_UNITS,
    FaceHalf,
    Region,
    au_label,
    au_name,
    au_number,
    find_action_unit,
    get_action_unit,
)
from hiva_hf.language import validate_bank


FACS_NAMES = {
    1: "Inner Brow Raiser",
    2: "Outer Brow Raiser",
    4: "Brow Lowerer",
    5: "Upper Lid Raiser",
    6: "Cheek Raiser",
    7: "Lid Tightener",
    9: "Nose Wrinkler",
    10: "Upper Lip Raiser",
    11: "Nasolabial Deepener",
    12: "Lip Corner Puller",
    13: "Sharp Lip Puller",
    14: "Dimpler",
    15: "Lip Corner Depressor",
    16: "Lower Lip Depressor",
    17: "Chin Raiser",
    18: "Lip Pucker",
    20: "Lip Stretcher",
    22: "Lip Funneler",
    23: "Lip Tightener",
    24: "Lip Pressor",
    25: "Lips Part",
    26: "Jaw Drop",
    27: "Mouth Stretch",
    28: "Lip Suck",
    43: "Eyes Closed",
    45: "Blink",
}
UPPER_FACE = {1, 2, 4, 5, 6, 7, 43, 45}

MAX_OVERLAP_BETWEEN_AUS = 0.45
MAX_OVERLAP_WITHIN_AU = 0.5

every_au = pytest.mark.parametrize("unit", ACTION_UNITS.values(), ids=lambda unit: unit.label)


def sentences_of(unit: facs.ActionUnit) -> tuple[str, ...]:
    return (unit.description, *unit.variants)


def words_of(sentence: str) -> list[str]:
    return re.findall(r"[a-z']+", sentence.lower())


@functools.cache
def word_set(sentence: str) -> frozenset[str]:
    return frozenset(words_of(sentence))


def word_overlap(first: str, second: str) -> float:
    """Jaccard index of the two word sets."""
    first_words, second_words = word_set(first), word_set(second)
    return len(first_words & second_words) / len(first_words | second_words)


# The table


def test_catalogue_has_the_facs_numbers_and_names_in_order():
    assert [(number, unit.name) for number, unit in ACTION_UNITS.items()] == list(FACS_NAMES.items())
    assert all(number == unit.number for number, unit in ACTION_UNITS.items())


def test_descriptions_exist_for_exactly_the_catalogue():
    assert list(facs_descriptions.AU_DESCRIPTIONS) == list(ACTION_UNITS)


@every_au
def test_fields_are_filled_from_the_documented_sets(unit):
    assert unit.region in get_args(Region)
    assert unit.face_half in get_args(FaceHalf)
    assert unit.face_half == ("upper" if unit.number in UPPER_FACE else "lower")
    assert unit.muscles and all(unit.muscles)
    assert len(unit.action.split()) >= 3
    assert len(unit.appearance.split()) >= 3


def test_every_region_is_used():
    assert {unit.region for unit in ACTION_UNITS.values()} == set(get_args(Region))


@every_au
def test_exclusions_are_symmetric_and_inside_the_catalogue(unit):
    assert unit.number not in unit.exclusions
    assert list(unit.exclusions) == sorted(set(unit.exclusions))
    for other in unit.exclusions:
        assert unit.number in ACTION_UNITS[other].exclusions


@pytest.mark.parametrize(("first", "second"), [(24, 25), (5, 43), (26, 27), (43, 45), (22, 28)])
def test_contradicting_actions_exclude_each_other(first, second):
    assert second in get_action_unit(first).exclusions


@pytest.mark.parametrize(("first", "second"), [(12, 15), (23, 24), (25, 26), (25, 27), (1, 4), (5, 7), (6, 12)])
def test_actions_that_occur_together_do_not_exclude_each_other(first, second):
    assert second not in get_action_unit(first).exclusions


def test_action_unit_is_immutable():
    with pytest.raises(dataclasses.FrozenInstanceError):
        get_action_unit(12).name = "Other"


@pytest.mark.parametrize("module", [facs, facs_descriptions, facs_states], ids=lambda module: module.__name__)
def test_file_imports_only_the_standard_library_and_flat_siblings(module):
    """The Hub copies these files alone, following `from .x import y`."""
    for node in ast.walk(ast.parse(Path(module.__file__).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            assert {alias.name.split(".")[0] for alias in node.names} <= sys.stdlib_module_names
        elif isinstance(node, ast.ImportFrom):
            is_sibling = node.level == 1 and node.module is not None and "." not in node.module
            assert is_sibling or (node.level == 0 and node.module.split(".")[0] in sys.stdlib_module_names)


# Labels


@pytest.mark.parametrize("number", ACTION_UNITS)
def test_label_and_number_are_inverse(number):
    assert au_label(number) == f"AU{number}"
    assert au_number(au_label(number)) == number


@pytest.mark.parametrize("label", ["AU1", "AU01", "au1", "au01", "1", "01"])
def test_spellings_of_data_sets_are_understood(label):
    assert au_number(label) == 1
    assert get_action_unit(label) is ACTION_UNITS[1]


@pytest.mark.parametrize(
    "label", ["AU3", "AU99", "AU", "", "AU-1", "AU0", "AU12C", "L12", " AU12", "AU1.0", "AU\u0661", "smile"]
)
def test_unknown_label_is_refused_and_known_ones_are_named(label):
    with pytest.raises(
        ValueError, match=r"is not the label of a known Action Unit\. Known are AU1, AU2, .*AU45\."
    ) as error:
        au_number(label)
    assert repr(label) in str(error.value)


@pytest.mark.parametrize("lookup", [au_label, get_action_unit])
@pytest.mark.parametrize("number", [3, 0, -1, 46])
def test_unknown_number_is_refused_and_known_ones_are_named(lookup, number):
    with pytest.raises(ValueError, match=rf"^{number} is not the number of a known Action Unit\. Known are AU1, "):
        lookup(number)


# The sentences


@every_au
def test_au_has_a_canonical_sentence_and_enough_variants(unit):
    assert unit.description
    assert len(unit.variants) >= 20


@every_au
def test_sentence_is_clean_text(unit):
    for sentence in sentences_of(unit):
        assert re.fullmatch(r"[A-Z][A-Za-z ,:;'-]+\.", sentence), sentence
        assert "  " not in sentence


@every_au
def test_sentence_has_a_bounded_number_of_words(unit):
    """A word is at least one word piece, and in this vocabulary below two on average: 9 to 40 pieces."""
    for sentence in sentences_of(unit):
        assert 9 <= len(words_of(sentence)) <= 20, sentence


def test_written_bank_is_good(tokenizer):
    report = validate_bank({unit.label: sentences_of(unit) for unit in ACTION_UNITS.values()}, tokenizer=tokenizer)
    assert report.reasons == []
    # Far below the bound, which is made for sentences of a grammar and of language models too.
    assert 0.2 < report.max_similarity < 0.4


def test_sentences_of_different_aus_share_few_words():
    for first, second in itertools.combinations(ACTION_UNITS.values(), 2):
        for pair in itertools.product(sentences_of(first), sentences_of(second)):
            assert word_overlap(*pair) < MAX_OVERLAP_BETWEEN_AUS, pair


@every_au
def test_variants_of_an_au_are_worded_differently(unit):
    for pair in itertools.combinations(sentences_of(unit), 2):
        assert word_overlap(*pair) < MAX_OVERLAP_WITHIN_AU, pair


def test_labels_of_another_kind_have_no_action_unit_and_name_themselves():
    assert find_action_unit("AU12") is ACTION_UNITS[12]
    assert find_action_unit("wink") is None
    assert (au_name("AU12"), au_name("wink")) == ("Lip Corner Puller", "wink")

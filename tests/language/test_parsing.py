"""Sentences of the bank are read exactly, others by their content or not at all."""

import itertools

import pytest

from hiva_hf.facs import ACTION_UNITS
from hiva_hf.facs_states import NEUTRAL_FACE_SENTENCE, face_sentence, state_sentences
from hiva_hf.language.parsing import Statement, parse_state, parse_statement, read_clauses


BANK = [
    (au, present, text) for au in ACTION_UNITS for present in (True, False) for text in state_sentences(au, present)
]


def reword(text: str) -> dict[str, str]:
    """Small changes that leave the meaning."""
    plain = text.removesuffix(".")
    return {
        "shouted": plain.upper() + "!",
        "without articles": plain.replace("The ", "").replace("the ", ""),
        "contracted": plain.replace("are not", "aren't").replace("do not", "don't").replace("does not", "doesn't"),
        "on this face": f"{plain} on this face",
        "lids": plain.replace("eyelids", "lids").replace("eyebrows", "brows"),
    }


@pytest.mark.parametrize(("au", "present", "text"), BANK)
def test_a_sentence_of_the_bank_is_read_exactly(au, present, text):
    assert parse_state(text, au) is present
    other = 12 if au != 12 else 4
    assert parse_state(text, f"AU{other}") is None


def test_small_changes_are_mostly_read_and_never_wrongly():
    read = [
        parse_statement(changed) == Statement(au, present) or parse_statement(changed)
        for au, present, text in BANK
        for changed in reword(text).values()
    ]
    assert set(read) <= {True, None}
    assert read.count(True) / len(read) > 0.9


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Lip corners pulled up", Statement(12, True)),
        ("The lip corners are no longer pulled up.", Statement(12, False)),
        ("the upper lids aren't raised", Statement(5, False)),
        ("The upper lids aren’t raised.", Statement(5, False)),
        ("The brows are drawn together.", Statement(4, True)),
        ("The brows are never drawn down and together.", Statement(4, False)),
        ("The eyes stay closed.", Statement(43, True)),
        ("The eyes are kept shut and the iris is hidden.", Statement(43, True)),
        ("The lips stay pressed together.", Statement(24, True)),
        ("The jaw stays dropped.", Statement(26, True)),
        ("The eyebrows remain lowered.", Statement(4, True)),
        ("The upper eyelids stay raised.", Statement(5, True)),
        ("The eyes do not stay closed.", Statement(43, False)),
        ("The eyebrows stay low at their inner ends.", Statement(1, False)),
        ("The eyebrows remain quite low at their inner ends, near the middle of the forehead.", Statement(1, False)),
        ("The eyebrows do not stay low at their inner ends.", None),
        ("The chin stays raised and its skin stays smooth.", None),
        ("The eyes stay open.", None),
        ("The lips stay together.", None),
        ("The upper lip and the lower lip", None),
        ("are raised", None),
        ("The weather is fine.", None),
        ("", None),
    ],
)
def test_free_text(text, expected):
    assert parse_statement(text) == expected


@pytest.mark.parametrize("au", ACTION_UNITS)
def test_no_description_is_read_as_its_opposite(au):
    unit = ACTION_UNITS[au]
    assert Statement(au, False) not in map(parse_statement, (unit.description, *unit.variants))


def test_every_pair_and_larger_set_of_action_units_is_read_from_the_face_sentence():
    sets = [*itertools.combinations(ACTION_UNITS, 2), tuple(ACTION_UNITS), (1, 2, 4, 7, 12, 25, 26), (12,)]
    for aus in sets:
        clauses = read_clauses(face_sentence(aus))
        assert {clause.statement for clause in clauses} == {Statement(au, True) for au in aus}, face_sentence(aus)


def test_a_neutral_face_is_no_action_unit_and_nonsense_is_unknown():
    assert read_clauses(NEUTRAL_FACE_SENTENCE) == read_clauses("neutral face") == read_clauses("") == []
    clauses = read_clauses("The weather is fine and the sea is calm.")
    assert [clause.statement for clause in clauses] == [None, None]


def test_clauses_with_and_inside_are_not_cut():
    text = "The eyebrows are drawn down and together, the chin is raised and its skin wrinkles and the jaw is dropped."
    assert [clause.statement for clause in read_clauses(text)] == [
        Statement(4, True),
        Statement(17, True),
        Statement(26, True),
    ]


def test_denied_and_unknown_clauses_are_told_apart():
    clauses = read_clauses("The lips are parted, the jaw is not dropped and the hair is long.")
    assert [clause.statement for clause in clauses] == [Statement(25, True), Statement(26, False), None]


def test_several_sentences_are_read_too():
    statements = [Statement(1, True), Statement(9, False), Statement(15, True)]
    text = " ".join(state_sentences(each.au, each.present)[1] for each in statements)
    assert [clause.statement for clause in read_clauses(text)] == statements


def test_an_unknown_action_unit_is_refused():
    with pytest.raises(ValueError, match="AU99"):
        parse_state("The lips are parted.", "AU99")

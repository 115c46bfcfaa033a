"""The grammar gives any number of different, good descriptions, the same ones for the same seed."""

import pytest

from hiva_hf.facs import ACTION_UNITS
from hiva_hf.language import GRADES, generate_descriptions, validate_bank, validate_description
from hiva_hf.language.grammar import all_descriptions
from hiva_hf.language.validation import MAX_PIECES, MIN_PIECES


every_au = pytest.mark.parametrize("au", ACTION_UNITS)


@every_au
def test_there_are_thousands_of_descriptions(au):
    sentences = [text for grade in GRADES for text in all_descriptions(au, grade)]
    assert len(sentences) >= 2000
    assert len(set(sentences)) == len(sentences)


@every_au
def test_descriptions_are_good(au, tokenizer):
    for text in generate_descriptions(au, 100, seed=1):
        assert validate_description(text, au, tokenizer=tokenizer) == [], text


@every_au
def test_descriptions_of_an_absent_au_are_good(au, tokenizer):
    for text in generate_descriptions(au, 40, seed=1, present=False):
        assert validate_description(text, au, present=False, tokenizer=tokenizer) == [], text


@every_au
def test_longest_descriptions_are_within_40_word_pieces(au, tokenizer):
    for present in (True, False):
        texts = [text for grade in GRADES for text in all_descriptions(au, grade, present)]
        texts.sort(key=len)
        for text in texts[:50] + texts[-100:]:
            assert MIN_PIECES <= len(tokenizer.tokenize(text)) <= MAX_PIECES, text


def test_aus_are_told_apart():
    report = validate_bank({au: generate_descriptions(au, 120, seed=3) for au in ACTION_UNITS})
    assert report.reasons == []


def test_same_seed_gives_the_same_and_another_seed_others():
    assert generate_descriptions(12, 50, seed=7) == generate_descriptions("AU12", 50, seed=7)
    assert generate_descriptions(12, 50, seed=7) != generate_descriptions(12, 50, seed=8)
    assert generate_descriptions(12, 50, seed=7) != generate_descriptions(15, 50, seed=7)


def test_larger_number_continues_a_smaller_one():
    assert generate_descriptions(4, 90)[:20] == generate_descriptions(4, 20)


def test_grades_tell_more_and_more():
    lengths = [sum(len(text.split()) for text in generate_descriptions(6, 200, grade=grade)) / 200 for grade in GRADES]
    assert lengths == sorted(lengths)
    assert lengths[-1] > 1.5 * lengths[0]


def test_without_a_grade_all_are_mixed():
    mixed = generate_descriptions(6, 30)
    for grade in GRADES:
        assert len(set(mixed) & set(all_descriptions(6, grade))) == 10


def test_relations_name_other_aus_by_contrast():
    texts = all_descriptions(6, "medium")
    assert any(text.endswith(", while the lip corners stay level.") for text in texts)


def test_absent_au_is_told_in_the_negative():
    texts = generate_descriptions(12, 200, present=False)
    assert any("stay level" in text for text in texts)
    assert not set(texts) & set(generate_descriptions(12, 200))


def test_all_of_them_can_be_had_and_no_more():
    size = len(all_descriptions(12, "short"))
    assert len(set(generate_descriptions(12, size, grade="short"))) == size
    with pytest.raises(ValueError, match=rf"{size + 1} short descriptions of AU12 were requested, .* give {size}\."):
        generate_descriptions(12, size + 1, grade="short")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((3, 5), "3 is not the number of a known Action Unit"),
        ((12, -1), "must not be negative, got -1"),
        ((12, 5, 0, "huge"), "'huge' is not a grade of descriptions. Choose one of short, medium, long."),
    ],
)
def test_impossible_request_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        generate_descriptions(*arguments)

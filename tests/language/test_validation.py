"""A good description passes, and each way to spoil it is told by its reason."""

import numpy as np
import pytest

from hiva_hf.facs import ACTION_UNITS
from hiva_hf.facs_states import state_clause, state_sentences
from hiva_hf.language import generate_descriptions, validate_bank, validate_description
from hiva_hf.language.lexicon import LEXICON
from hiva_hf.language.validation import KnownDescriptions, count_tokens, folded, similarities


GOOD = "The lip corners are pulled back and up toward the cheekbones, bending the mouth into a curve."


def reasons_of(text, au=12, **options):
    return " | ".join(validate_description(text, au, **options))


def test_good_description_has_no_reason_against_it():
    assert validate_description(GOOD, 12) == validate_description(GOOD, "AU12") == []


def test_two_sentences_are_allowed():
    assert validate_description("The lip corners are pulled up. The mouth bends into a curve.", 12) == []


@pytest.mark.parametrize(
    ("text", "au", "reason"),
    [
        # What it is about.
        ("Both of its ends are pulled back and up toward the cheekbones.", 12, "does not name its region (mouth)"),
        ("Lip corners high up and a mouth like a crescent moon.", 12, "has no verb that says what moves"),
        ("The lip corners are pulled a good way toward the ears.", 12, "has no cue that sets AU12 apart"),
        ("The lip corners are not pulled back and up toward the cheekbones.", 12, "something is not there: not"),
        ("Nothing pulls the lip corners back and up toward the cheekbones.", 12, "something is not there: Nothing"),
        # Other Action Units.
        ("The mouth corners are pulled up and dimples appear beside them.", 12, "a cue of AU14: dimples"),
        ("Zygomaticus minor pulls the corners of the mouth obliquely upward.", 12, "a cue of AU11: Zygomaticus minor"),
        (
            "The lip corner puller at work: the lip corners go up in a curve.",
            6,
            "another Action Unit: lip corner pull",
        ),
        ("With Lips Part, the mouth corners are pulled up into a curve.", 12, "names another Action Unit: Lips Part"),
        ("The lip corners are pulled straight up toward the cheekbones.", 12, "points to a neighbouring Action Unit"),
        (
            "The cheeks are lifted toward the eyes as the mouth widens greatly.",
            6,
            "points to a neighbouring Action Unit",
        ),
        (
            "AU12: the lip corners are pulled back and up into a curve.",
            12,
            "a number of an Action Unit or of something",
        ),
        (
            "In action unit 12 the lip corners are pulled back and up.",
            12,
            "a number of an Action Unit or of something",
        ),
        ("Au 12, the lip corners are pulled back and up into a curve.", 12, "else: 'Au 12'"),
        ("The 2 lip corners are pulled back and up into a curve.", 12, "else: '2'"),
        # Emotions.
        ("The lip corners are pulled back and up into a happy curve.", 12, "words for emotions: happy"),
        ("In a smile the lip corners are pulled back and up.", 12, "words for emotions: smile"),
        # Length and text.
        ("The lip corners are pulled up.", 12, "has 7 word pieces; 9 to 40 are allowed"),
        (GOOD[:-1] + ", " + " ".join(["and up"] * 20) + ".", 12, "word pieces; 9 to 40 are allowed"),
        ("", 12, "is empty"),
        (GOOD[:-1], 12, "does not end with a full stop"),
        (GOOD[:-1] + "!", 12, "does not end with a full stop"),
        (GOOD.lower(), 12, "does not begin with a capital letter"),
        ("The lips curve up. The lip corners rise. They are pulled up.", 12, "has 3 sentences; one or two"),
        (f"- {GOOD}", 12, "begins with the mark of a list"),
        (f"1. {GOOD}", 12, "begins with the mark of a list"),
        (f"a) {GOOD}", 12, "begins with the mark of a list"),
        (f'"{GOOD}"', 12, "has quotation marks, an address or markup"),
        (f"**{GOOD}**", 12, "has quotation marks, an address or markup"),
        (f"<b>{GOOD}</b>", 12, "has quotation marks, an address or markup"),
        (GOOD.replace("mouth", "mouth (see https://example.org)"), 12, "has quotation marks, an address or markup"),
        (GOOD.replace("mouth", "mouth (outer part)"), 12, "no plain English text: ( )"),
        (GOOD.replace("mouth", "m\u043euth"), 12, "no plain English text: \u043e"),
        (GOOD.replace("back and", "back\nand"), 12, "has line breaks, tabs or repeated spaces"),
        (f" {GOOD}", 12, "has line breaks, tabs or repeated spaces"),
    ],
)
def test_bad_description_is_refused_with_its_reason(text, au, reason):
    assert reason in reasons_of(text, au)


def test_own_name_of_an_au_is_no_other_name():
    assert validate_description("The lid tightener narrows the eyes and raises the lower eyelids.", 7) == []


def test_apostrophes_are_plain_text():
    text = "Crow's feet spread from the outer eye corners as the cheeks are lifted."
    assert validate_description(text, 6) == validate_description(text.replace("'", "\u2019"), 6) == []


def test_contrast_may_name_others_but_does_not_count_as_content():
    assert validate_description("The cheeks are lifted toward the eyes, while the lip corners stay level.", 6) == []
    assert "points to a neighbouring" in reasons_of(
        "The cheeks are lifted toward the eyes, while the lip corners are pulled back.", 6
    )
    assert "does not name its region (cheeks)" in reasons_of(
        "The skin is lifted toward the eyes, while the cheeks stay low.", 6
    )


def test_absent_au_has_to_be_denied():
    denial = "The lip corners are not pulled back and up toward the cheekbones."
    assert validate_description(denial, 12, present=False) == []
    assert "does not say that the movement is not there" in reasons_of(GOOD, present=False)


@pytest.mark.parametrize("unit", ACTION_UNITS.values(), ids=lambda unit: unit.label)
def test_description_of_any_other_au_is_refused(unit):
    for other in ACTION_UNITS:
        if other != unit.number:
            assert validate_description(unit.description, other), (unit.label, other)


@pytest.mark.parametrize("au", ACTION_UNITS)
def test_clause_of_another_au_spoils_a_description(au):
    """Mutations of generated sentences: a movement of another region of the face is added."""
    for text in generate_descriptions(au, 5):
        for other in (1, 14, 22):
            slots = LEXICON[other]
            clause = f"{slots.regions[0].text} are {slots.verbs[0]} {slots.directions[1]}"
            if other != au and ACTION_UNITS[other].region != ACTION_UNITS[au].region:
                assert validate_description(f"{text[:-1]}, and {clause}.", au), (text, clause)


@pytest.mark.parametrize("au", ACTION_UNITS)
def test_number_or_emotion_spoils_a_description(au):
    for text in generate_descriptions(au, 5):
        assert "number of an Action Unit" in reasons_of(f"{text[:-1]}, as in AU{au}.", au)
        assert "words for emotions: sad" in reasons_of(f"{text[:-1]}, which looks sad.", au)


def test_tokenizer_counts_its_own_pieces(tokenizer):
    text = "Obliquely upturned, the lip corners are pulled up zygomatically" + ", zygomatically" * 10 + "."
    assert count_tokens(text) == 31
    assert validate_description(text, 12) == []
    assert reasons_of(text, tokenizer=tokenizer) == "has 78 word pieces; 9 to 40 are allowed"


def test_unknown_au_is_refused():
    with pytest.raises(ValueError, match="not the number of a known Action Unit"):
        validate_description(GOOD, 3)


# Banks


def test_repetition_is_found_whatever_its_case_and_marks():
    other = "The LIP CORNERS are pulled back, and up, toward the cheekbones: bending the mouth into a curve."
    report = validate_bank({"AU12": [GOOD, other]})
    assert [(label, text) for label, text, _ in report.reasons] == [("AU12", other)]
    assert report.reasons[0][2] == f"repeats a description of AU12: {GOOD!r}"


def test_repetition_across_aus_is_found():
    text = "The lip corners are pulled straight up."
    reasons = [reason for *_, reason in validate_bank({13: [text], 15: [text]}).reasons]
    assert f"repeats a description of AU13: {text!r}" in reasons


def test_fault_of_a_single_description_is_reported():
    report = validate_bank({12: [GOOD], 6: ["The cheeks are lifted toward the eyes"]})
    assert report.reasons == [("AU6", "The cheeks are lifted toward the eyes", "does not end with a full stop")] + [
        ("AU6", "The cheeks are lifted toward the eyes", "has 7 word pieces; 9 to 40 are allowed")
    ]


def test_aus_that_are_described_alike_are_found():
    low = "The red edge of the lower lip is pulled off the teeth toward the chin."
    high = "The red edge of the upper lip is pulled off the teeth toward the nose."
    report = validate_bank({16: [low], 10: [high]})
    assert report.reasons == [
        ("AU10", high, f"is too similar (0.56; 0.50 is allowed) to a description of AU16: {low!r}")
    ]
    assert validate_bank({16: [low], 10: [high]}, max_similarity=0.7).reasons == []
    assert report.max_similarity == pytest.approx(5 / 9)


def test_candidate_is_compared_with_a_bank():
    bank = {unit.number: [unit.description, *unit.variants] for unit in ACTION_UNITS.values()}
    assert KnownDescriptions(bank).conflicts("Drawn up like a bow, the lip corners swing far outward.", 12) == []
    assert KnownDescriptions(bank).conflicts(GOOD.upper(), 12) == [f"repeats a description of AU12: {GOOD!r}"]
    low = "The red edge of the lower lip is pulled off the teeth toward the chin."
    high = "The red edge of the upper lip is pulled off the teeth toward the nose."
    assert "is too similar" in KnownDescriptions({16: [low]}).conflicts(high, 10)[0]
    # Within an Action Unit, variants may be alike.
    assert KnownDescriptions({10: [low]}).conflicts(high, 10) == []


def test_similarity_is_the_share_of_common_content_words():
    first = ["The lips are pressed together.", "The nose is wrinkled."]
    second = ["Pressed lips, firmly pressed.", "The chin is raised, while the nose stays smooth."]
    # {lips, pressed, together} and {pressed, lips, firmly}; what is said by contrast does not count.
    np.testing.assert_allclose(similarities(first, second), [[0.5, 0], [0, 0]])


def test_folding_keeps_words_alone():
    assert folded("Crow\u2019s feet,  as HERE: spread!") == "crow's feet as here spread"


@pytest.mark.parametrize("max_similarity", [0.1, 0.3])
def test_a_bank_that_grows_compares_as_all_pairs_would(max_similarity):
    bank = {au: generate_descriptions(au, 15) for au in (1, 4, 10, 12, 16)}
    known, rows = KnownDescriptions({}), []
    num_alike = 0
    for texts in zip(*bank.values(), strict=True):
        for au, text in zip(bank, texts, strict=True):
            others = [other for number, other in rows if number != au]
            values = similarities([text], others)[0] if others else np.zeros(1)
            found = known.conflicts(text, au, max_similarity)
            assert bool(found) == (values.max() > max_similarity)
            if found:
                num_alike += 1
                assert found[0].startswith(f"is too similar ({values.max():.2f};")
            known.add(text, au)
            rows.append((au, text))
            assert known.conflicts(text.lower(), au)[0].startswith("repeats a description of")
    assert 0 < num_alike < len(rows)


def test_a_text_without_end_is_not_looked_at_any_further():
    """What a model that repeats itself writes would take minutes."""
    assert validate_description("while the lips " * 100_000, 12) == [
        "has 1500000 characters; 40 word pieces have less than 1000"
    ]


@pytest.mark.parametrize("present", [True, False])
def test_the_sentence_of_another_action_unit_is_found(present):
    accepted = []
    for au, unit in ACTION_UNITS.items():
        own = (unit.description if present else state_sentences(au, present=False)[0]).removesuffix(".")
        for other in ACTION_UNITS:
            text = f"{own}, and {state_clause(other, present)}."
            reasons = [reason for reason in validate_description(text, au, present=present) if "pieces" not in reason]
            if other != au and not reasons:
                accepted.append((au, other))
    assert accepted == []

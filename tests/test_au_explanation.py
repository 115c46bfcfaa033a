"""Explanations from facts that the tests choose: each part of a sentence stands for one of them."""

import numpy as np
import pytest

from hiva_hf.au_explanation import REGIONS, FaceEvidence, explain_face, map_places, region_cells, rule_warnings
from hiva_hf.face_alignment import TEMPLATE
from hiva_hf.facs_states import state_sentences


LABELS = ("AU1", "AU12", "AU25")
PIECES = (
    "[CLS] The inner brow ##s rise . [SEP]",
    "[CLS] The lip corners rise . [SEP]",
    "[CLS] The lips are parted . [SEP]",
)
# Rows and columns of an 8 x 8 map of the aligned crop, whose eyes lie at (2.84, 2.84) and (5.16, 2.84).
BROWS, LEFT_EYE, RIGHT_EYE, MOUTH = (1, slice(2, 6)), (2, 2), (2, 5), (5, slice(3, 5))


def make_evidence(**facts) -> FaceEvidence:
    defaults = {"labels": LABELS, "probabilities": (0.1, 0.9, 0.8), "thresholds": (0.5, 0.5, 0.5)}
    return FaceEvidence(**(defaults | facts))


def make_map(place=None, share: float = 0.8) -> np.ndarray:
    """A map of 8 x 8 tokens with `share` of it spread over `place`, the rest over everything."""
    values = np.full((8, 8), 1 / 64)
    if place is not None:
        values *= 1 - share
        values[place] += share / np.zeros((8, 8))[place].size
    return values / values.sum()


def with_maps(*maps, **facts) -> FaceEvidence:
    return make_evidence(maps=np.stack(maps), landmarks=TEMPLATE, **facts)


def sentences(evidence: FaceEvidence) -> list[str]:
    return [explanation["sentence"] for explanation in explain_face(evidence)["explanations"]]


def test_a_sentence_says_state_probability_and_threshold():
    first, second, _ = sentences(make_evidence(thresholds=(0.5, 0.62, 0.5)))
    assert first == (
        "AU1 Inner Brow Raiser: the inner ends of the eyebrows are not raised (probability 0.10, threshold 0.50)."
    )
    assert second == "AU12 Lip Corner Puller: the lip corners are pulled up (probability 0.90, threshold 0.62)."


def test_what_was_not_measured_is_not_spoken_of():
    explanation = explain_face(make_evidence())["explanations"][0]
    assert "map" not in explanation["sentence"]
    assert {name: value for name, value in explanation.items() if name != "sentence"} == dict.fromkeys(
        ("evidence", "region", "region_share", "side", "region_agrees", "words", "related")
    )


def test_close_calls_are_called_so():
    close, clear, sure = sentences(make_evidence(probabilities=(0.45, 0.55, 0.999)))
    assert "threshold 0.50, a close call)" in close
    assert "a close call" in clear
    assert "a close call" not in sure
    assert "probability 0.999" in sure


def test_regions_do_not_overlap_and_leave_the_background_out():
    cells = region_cells(TEMPLATE, 16, 16)
    assert cells.shape == (len(REGIONS), 16, 16)
    assert cells.sum(axis=0).max() <= 1
    assert cells[:, 0, 0].sum() == cells[:, -1, -1].sum() == 0
    # The landmarks themselves, as (x, y): eyes, nose and mouth corners.
    at = {name: region_cells(TEMPLATE, 200, 200)[row] for row, name in enumerate(REGIONS)}
    for name, (x, y) in zip(("eyes", "eyes", "nose", "mouth", "mouth"), TEMPLATE, strict=True):
        assert at[name][int(200 * y), int(200 * x)] == 1


def test_regions_follow_the_landmarks():
    """A face that is turned by a quarter has its mouth beside its eyes."""
    turned = np.stack([1 - TEMPLATE[:, 1], TEMPLATE[:, 0]], axis=1)
    expected = np.rot90(region_cells(TEMPLATE, 32, 32), k=-1, axes=(1, 2))
    np.testing.assert_allclose(region_cells(turned, 32, 32), expected, atol=0.15)


def test_a_map_on_the_aus_own_region_agrees():
    evidence = with_maps(make_map(BROWS), make_map(MOUTH), make_map(MOUTH))
    explanation = explain_face(evidence)["explanations"][1]
    assert (explanation["region"], explanation["region_agrees"], explanation["side"]) == ("mouth", True, None)
    assert explanation["region_share"] == pytest.approx(0.71, abs=0.01)
    assert "Its attention map lies most on the mouth (71 % of it), where this AU shows." in explanation["sentence"]


def test_sensitivity_is_called_so_and_attention_attention():
    facts = {"maps": np.stack([make_map(), make_map(MOUTH), np.zeros((8, 8))]), "landmarks": TEMPLATE}
    first, second, third = explain_face(make_evidence(kind="sensitivity", **facts))["explanations"]
    assert "What it depends on is not specific: no part of the face stands out." in first["sentence"]
    assert "It depends most on the mouth (71 % of its sensitivity), where this AU shows." in second["sentence"]
    assert [explanation["evidence"] for explanation in (first, second, third)] == ["sensitivity", "sensitivity", None]
    # A map of nothing: it was not measured.
    assert "depends" not in third["sentence"]
    (_, attention, _) = explain_face(make_evidence(**facts))["explanations"]
    assert attention["evidence"] == "attention"


def test_a_map_on_another_region_is_said_to():
    evidence = with_maps(make_map(BROWS), make_map(LEFT_EYE), make_map(MOUTH))
    explanation = explain_face(evidence)["explanations"][1]
    assert (explanation["region"], explanation["region_agrees"], explanation["side"]) == ("eyes", False, "left")
    assert "on the image's left), although this AU shows elsewhere." in explanation["sentence"]


def test_sides_are_those_of_the_image():
    places = map_places(with_maps(make_map(LEFT_EYE), make_map(RIGHT_EYE), make_map(MOUTH)))
    assert [place.side for place in places] == ["left", "right", None]


def test_an_even_map_is_not_specific():
    explanation = explain_face(with_maps(make_map(), make_map(MOUTH), make_map(MOUTH)))["explanations"][0]
    assert explanation["region"] is None
    assert "Its attention map is not specific: no part of the face stands out." in explanation["sentence"]


def test_a_token_that_all_maps_lie_on_is_not_specific():
    evidence = with_maps(*(make_map(LEFT_EYE, 0.95) for _ in LABELS))
    for explanation in explain_face(evidence)["explanations"]:
        assert explanation["region"] is explanation["region_share"] is explanation["region_agrees"] is None
        assert "not specific: it lies on the eyes, as it does for AUs that show elsewhere." in explanation["sentence"]


def test_aus_of_one_region_may_all_have_their_maps_there():
    places = map_places(with_maps(*(make_map(MOUTH) for _ in LABELS), labels=("AU12", "AU25", "AU26")))
    assert all(place.is_specific and place.agrees for place in places)


def test_words_with_the_most_attention_are_named():
    # 9 keys: Z and 8 pieces for AU1, fewer for the others.
    weights = np.array(
        [
            [0.02, 0.02, 0.02, 0.3, 0.2, 0.2, 0.2, 0.02, 0.02],
            [0.1, 0.1, 0.1, 0.1, 0.4, 0.1, 0.05, 0.05, 0.0],
            [0.93, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.0],
        ]
    )
    brows, lips, parted = explain_face(make_evidence(word_weights=weights, description_pieces=PIECES))["explanations"]
    assert [word["word"] for word in brows["words"]] == ["inner", "brows", "rise"]
    assert [word["attention"] for word in brows["words"]] == pytest.approx([9 * 0.3, 9 * 0.2, 9 * 0.2])
    assert 'Of its description it attends most to "inner", "brows" and "rise".' in brows["sentence"]
    assert 'attends most to "corners".' in lips["sentence"]
    # All attention is on Z: no word stands out.
    assert [word["word"] for word in parted["words"]] == ["lips", "parted"]
    assert "attends" not in parted["sentence"]


def test_unknown_words_are_not_guessed():
    weights = np.full((3, 9), 1 / 9)
    assert explain_face(make_evidence(word_weights=weights))["explanations"][0]["words"] is None


def test_related_aus_are_those_of_the_graph_without_itself():
    graph = np.array([[1, 1, 0], [0, 1, 1], [1, 0, 1]])
    first, second, third = explain_face(make_evidence(graph=graph))["explanations"]
    assert [first["related"], second["related"], third["related"]] == [["AU12"], ["AU25"], ["AU1"]]
    assert first["sentence"].endswith("Of the AUs most similar to it here (AU12), AU12 is active.")
    assert third["sentence"].endswith("None of the AUs most similar to it here (AU1) is active.")


def test_experimental_aus_are_marked():
    result = explain_face(make_evidence(experimental=["AU12"]))
    assert "Experimental: this detector is unreliable at it on real photos." in result["explanations"][1]["sentence"]
    assert "Experimental" not in result["explanations"][2]["sentence"]
    assert result["summary"] == (
        "The lip corners are pulled up and the lips are parted. Active: AU12 (0.90, experimental) and AU25 (0.80)."
    )


def test_a_neutral_face_is_called_neutral():
    result = explain_face(make_evidence(probabilities=(0.1, 0.2, 0.3)))
    assert result["summary"] == "Neutral face. None of 3 AUs is active."
    assert result["warnings"] == []


def test_contradictions_among_active_aus_are_warned_of_once():
    facts = {"labels": ("AU25", "AU24", "AU43", "AU5"), "thresholds": (0.5,) * 4}
    assert rule_warnings(FaceEvidence(probabilities=(0.9, 0.6, 0.7, 0.95), **facts)) == [
        "AU5 Upper Lid Raiser (0.95) and AU43 Eyes Closed (0.70) contradict each other: either the upper eyelids are "
        "raised or the eyes are closed. The less sure of the two is AU43.",
        "AU24 Lip Pressor (0.60) and AU25 Lips Part (0.90) contradict each other: either the lips are pressed "
        "together or the lips are parted. The less sure of the two is AU24.",
    ]
    assert rule_warnings(FaceEvidence(probabilities=(0.9, 0.4, 0.4, 0.95), **facts)) == []


def test_the_less_sure_au_is_the_one_nearer_to_its_threshold():
    facts = {"labels": ("AU24", "AU25"), "probabilities": (0.4, 0.6)}
    assert rule_warnings(FaceEvidence(thresholds=(0.05, 0.55), **facts))[0].endswith("is AU25.")
    assert rule_warnings(FaceEvidence(thresholds=(0.35, 0.05), **facts))[0].endswith("is AU24.")


def test_labels_that_the_catalogue_lacks_are_explained_by_their_figures():
    facts = {"labels": ("smile", "AU12"), "probabilities": (0.9, 0.9), "thresholds": (0.5, 0.5)}
    evidence = with_maps(make_map(MOUTH), make_map(MOUTH), **facts)
    result = explain_face(evidence)
    assert result["explanations"][0]["sentence"] == (
        "smile: it is there (probability 0.90, threshold 0.50). Its attention map lies most on the mouth (71 % of it)."
    )
    assert result["explanations"][0]["region_agrees"] is None
    assert result["summary"] == "The lip corners are pulled up. Active: smile (0.90) and AU12 (0.90)."


def test_sentences_of_the_detector_itself_take_the_place_of_ours():
    written = ["No brow moves.", "The mouth smiles.", "The lips part."]
    result = explain_face(make_evidence(sentences=written))
    assert [explanation["sentence"] for explanation in result["explanations"]] == written


def test_a_written_sentence_about_the_face_takes_the_place_of_ours():
    assert explain_face(make_evidence(face_text="Both smile."))["summary"].startswith("Both smile. Active: ")


def test_a_written_sentence_that_says_the_opposite_of_the_probability_is_told():
    label = "AU12"
    written = [state_sentences(label, present)[1] for present in (True, False)]
    for sentence, probability, state in ((written[0], 0.1, "not active"), (written[1], 0.9, "active")):
        evidence = FaceEvidence(labels=[label], probabilities=[probability], thresholds=[0.5], sentences=[sentence])
        (warning,) = explain_face(evidence)["warnings"]
        assert f"{state}, but wrote the opposite" in warning
        assert sentence in warning
    agreeing = FaceEvidence(labels=[label], probabilities=[0.9], thresholds=[0.5], sentences=[written[0]])
    assert explain_face(agreeing)["warnings"] == []


@pytest.mark.parametrize(
    "face_text, scores, wanted",
    [
        ("The lips are parted and the lip corners are pulled up.", (0.9, 0.9), []),
        ("Neutral face.", (0.1, 0.1), []),
        ("Neutral face.", (0.9, 0.1), ["AU12 (0.90) active, but its sentence about the face leaves it out"]),
        ("The lip corners are pulled up.", (0.9, 0.9), ["AU25 (0.90) active, but its sentence about the face leaves"]),
        ("The lips are parted.", (0.1, 0.1), ["AU25 (0.10) not active, but wrote of the face that the lips are"]),
        ("The lips are parted.", (0.9, 0.1), ["AU12 (0.90) active", "AU25 (0.10) not active"]),
        # Other words than those that the sentences are made of can't be compared.
        ("Both smile.", (0.9, 0.1), []),
    ],
)
def test_a_written_sentence_about_the_face_is_compared_with_the_probabilities(face_text, scores, wanted):
    evidence = FaceEvidence(labels=["AU12", "AU25"], probabilities=scores, thresholds=[0.5, 0.5], face_text=face_text)
    warnings = explain_face(evidence)["warnings"]
    assert len(warnings) == len(wanted)
    for warning, part in zip(warnings, wanted, strict=True):
        assert part in warning

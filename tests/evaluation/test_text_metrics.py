"""Text scores by hand, and against the libraries called directly."""

import json
import sys

import numpy as np
import pytest
from pycocoevalcap.cider.cider import Cider
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu import corpus_bleu
from sklearn.metrics import f1_score

from hiva_hf.evaluation.text_metrics import compare_wordings, read_states, score_texts
from hiva_hf.facs_states import face_sentence, state_sentences


AUS = ["AU4", "AU12", "AU24", "AU25"]


@pytest.fixture(scope="module")
def labels():
    return (np.random.default_rng(0).random((40, 4)) < 0.4).astype(int)


def sentences_of(states) -> list[list[str]]:
    return [[state_sentences(au, bool(state))[0] for au, state in zip(AUS, row, strict=True)] for row in states]


def alternatives_of(states) -> list[list[tuple[str, ...]]]:
    return [[state_sentences(au, bool(state)) for au, state in zip(AUS, row, strict=True)] for row in states]


# Wording


def test_wording_by_hand():
    """5 of 6 unigrams, 4 of 5 bigrams, 3 of 4 trigrams and 2 of 3 4-grams; 5 of 6 words in common, in order."""
    scores = compare_wordings(["The lip corners are pulled down."], ["the lip corners are pulled up"])
    assert scores["num_texts"] == 1
    assert scores["bleu"] == pytest.approx((5 / 6 * 4 / 5 * 3 / 4 * 2 / 3) ** 0.25)
    assert scores["rouge_l"] == pytest.approx(5 / 6)
    # One text alone: no n-gram tells it from others.
    assert scores["cider"] == 0


def test_cider_by_hand():
    """Two texts without a word in common: equal to its reference 10, all else 0."""
    references = ["the jaw is dropped", "both lips press together hard"]
    assert compare_wordings(references, references)["cider"] == pytest.approx(10)
    assert compare_wordings(references[::-1], references)["cider"] == pytest.approx(0)
    assert compare_wordings([references[0]] * 2, references)["cider"] == pytest.approx(5)


def test_wording_is_what_the_libraries_say(labels):
    rng = np.random.default_rng(1)
    alternatives = [texts for row in alternatives_of(labels) for texts in row]
    predictions = [texts[rng.integers(4)] for row in alternatives_of(1 - labels) for texts in row]
    # Some stand there several times.
    predictions, alternatives = predictions + predictions[:40] * 2, alternatives + alternatives[:40] * 2
    scores = compare_wordings(predictions, alternatives)

    def plain(text):
        return text.lower().replace(".", "").replace(",", "")

    predictions = [plain(text) for text in predictions]
    alternatives = [[plain(text) for text in texts] for texts in alternatives]
    streams = [list(stream) for stream in zip(*alternatives, strict=True)]
    assert scores["bleu"] == pytest.approx(corpus_bleu(predictions, streams).score / 100)
    scorer = RougeScorer(["rougeL"])
    rouge = [
        max(scorer.score(target, text)["rougeL"].fmeasure for target in texts)
        for texts, text in zip(alternatives, predictions, strict=True)
    ]
    assert scores["rouge_l"] == pytest.approx(np.mean(rouge))
    cider, _ = Cider().compute_score(dict(enumerate(alternatives)), {k: [text] for k, text in enumerate(predictions)})
    assert scores["cider"] == pytest.approx(cider)
    assert 0 < scores["bleu"] < scores["rouge_l"] < 1


def test_bleu_is_not_smoothed():
    """Three common words in order, and no four."""
    assert compare_wordings(["the jaw is dropped wide"], ["the jaw is not dropped"])["bleu"] == 0


def test_contracted_words_are_one_token():
    """2 of 3 words; in two parts each it would be 3 of 4."""
    assert compare_wordings(["jaw doesn't drop"], ["jaw don't drop"])["rouge_l"] == pytest.approx(2 / 3)


def test_texts_may_have_different_numbers_of_references():
    scores = compare_wordings(["the jaw is dropped", "lips part"], [["no", "the jaw is dropped"], "lips part"])
    assert (scores["bleu"], scores["rouge_l"]) == (pytest.approx(1), 1)


# What the texts say


def test_perfect_texts_of_action_units(labels):
    scores = score_texts(sentences_of(labels), alternatives_of(labels), labels, 0.8 * labels + 0.1, AUS)
    for name in ("bleu", "rouge_l", "mean_text_f1", "agreement", *(f"text_f1_{au}" for au in AUS)):
        assert scores[name] == pytest.approx(1), name
    assert (scores["num_texts"], scores["unread_rate"], scores["undefined_text_f1"]) == (160, 0, [])
    both = int((labels[:, 2] & labels[:, 3]).sum())
    assert scores["contradictions"] == {"AU24+AU25": both}
    assert scores["contradiction_rate"] == scores["label_contradiction_rate"] == both / 40 > 0
    json.dumps(scores)


def test_without_the_extra_only_the_wording_is_not_scored(labels, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    scores = score_texts(sentences_of(labels), alternatives_of(labels), labels, labels, AUS)
    assert (scores["bleu"], scores["rouge_l"], scores["cider"]) == (None, None, None)
    assert (scores["num_texts"], scores["mean_text_f1"], scores["agreement"]) == (160, 1, 1)
    assert "hiva-hf[language]" in caplog.text
    with pytest.raises(ImportError, match="language"):
        compare_wordings(["The lips are parted."], ["The lips are parted."])


def test_perfect_sentences_about_faces(labels):
    faces = [face_sentence(np.array(AUS)[row == 1]) for row in labels]
    scores = score_texts(faces, faces, labels, None, AUS)
    assert "agreement" not in scores
    assert (scores["num_texts"], scores["mean_text_f1"], scores["unread_rate"]) == (40, 1, 0)
    assert scores["contradiction_rate"] == scores["label_contradiction_rate"]


def test_f1_is_of_what_the_text_says_and_agreement_of_what_the_network_says(labels):
    said = labels.copy()
    said[:10] = 1 - said[:10]
    scores = score_texts(sentences_of(said), alternatives_of(labels), labels, np.where(said == 1, 0.3, 0.1), AUS, 0.2)
    assert scores["agreement"] == 1
    expected = [f1_score(labels[:, au], said[:, au]) for au in range(4)]
    assert [scores[f"text_f1_{label}"] for label in AUS] == pytest.approx(expected)
    assert scores["mean_text_f1"] == pytest.approx(np.mean(expected))
    at_half = score_texts(sentences_of(said), alternatives_of(labels), labels, np.where(said == 1, 0.3, 0.1), AUS)
    assert at_half["agreement"] == pytest.approx(1 - said.mean())


def test_unknown_labels_leave_f1_and_wording(labels):
    unknown = labels.copy()
    unknown[:5, 1] = -100
    references = alternatives_of(labels)
    for face in range(5):
        references[face][1] = None
    said = labels.copy()
    said[:5, 1] = 1 - said[:5, 1]
    scores = score_texts(sentences_of(said), references, unknown, None, AUS)
    assert (scores["num_texts"], scores["mean_text_f1"], scores["bleu"]) == (155, 1, pytest.approx(1))


def test_unread_texts_find_nothing_and_agree_with_nothing():
    labels = [[1, 0, 0, 0], [1, 0, 0, 1]]
    sentences = sentences_of(labels)
    sentences[0] = ["Lorem ipsum."] * 4
    scores = score_texts(sentences, alternatives_of(labels), labels, np.array(labels, dtype=float), AUS)
    assert (scores["unread_rate"], scores["agreement"]) == (0.5, 0.5)
    assert scores["text_f1_AU4"] == pytest.approx(2 / 3)
    assert scores["undefined_text_f1"] == ["AU12", "AU24"]
    assert scores["text_f1_AU12"] is None
    faces = ["Lorem ipsum.", face_sentence(["AU4", "AU25"])]
    scores = score_texts(faces, faces, labels, np.array(labels, dtype=float), AUS)
    assert (scores["unread_rate"], scores["agreement"], scores["text_f1_AU4"]) == (0.5, 0.5, pytest.approx(2 / 3))


def test_contradictions_are_exclusions_and_denials_of_what_is_claimed():
    texts = [
        "The lips are pressed together and the lips are parted.",
        "The eyes are closed, the upper eyelids are raised and the lips are parted.",
        "The jaw is dropped and the jaw is not dropped.",
        "Neutral face.",
    ]
    read = read_states(texts, AUS)
    assert read.contradictions == (
        (("AU24", "AU25"),),
        # Also of Action Units that are not asked for.
        (("AU5", "AU43"),),
        (("AU26", "AU26"),),
        (),
    )
    assert read.states.tolist() == [[0, 0, 1, 1], [0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0]]
    scores = score_texts(texts, texts, np.zeros((4, 4)), None, AUS)
    assert scores["contradiction_rate"] == 0.75
    assert scores["contradictions"] == {"AU24+AU25": 1, "AU26+AU26": 1, "AU5+AU43": 1}
    assert scores["label_contradiction_rate"] == 0


# Mistakes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"predictions": []}, "no texts to score"),
        ({"predictions": "The lips are parted."}, "no texts to score"),
        ({"labels": [[1]]}, r"need labels of shape \(2, 2\)"),
        ({"labels": [[1, 2], [0, 0]]}, "labels must be 0, 1 or -100 for unknown, but row 0, AU12, is 2"),
        ({"references": ["a"]}, "there are 1 references"),
        ({"references": ["a", []]}, "1 of them empty"),
        ({"predictions": ["a", ["b", "c"]]}, "mixes sentences"),
        ({"predictions": [["a", "b"], ["c"]], "references": [["a", "b"], ["c", "d"]]}, "Face 1 needs one sentence"),
        ({"au_labels": ["AU4", "AU04"]}, "must differ"),
        ({"au_labels": ["AU4", "AU99"]}, "AU99"),
        ({"probabilities": [[0.5, 3], [0, 0]]}, "between 0 and 1"),
    ],
)
def test_mistakes_are_named(change, message):
    arguments = {
        "predictions": ["The eyebrows are lowered.", "Neutral face."],
        "references": ["The eyebrows are lowered.", "Neutral face."],
        "labels": [[1, 0], [0, 0]],
        "probabilities": None,
        "au_labels": ["AU4", "AU12"],
    }
    with pytest.raises(ValueError, match=message):
        score_texts(**(arguments | change))

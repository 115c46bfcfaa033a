"""Metrics of sentences about Action Units: their wording, their accuracy, and their consistency with the network.

The wording is compared with references by the libraries that captioning papers use: BLEU-4 (sacrebleu), ROUGE-L
(rouge-score) and CIDEr (pycocoevalcap, its authors' own code, without the parts that need Java). The content is parsed
by `hiva_hf.language.parsing` and compared with the labels and with the probabilities of the same network. A text that
claims mutually exclusive Action Units contradicts itself.
"""

import logging
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..extras import import_from_extra
from ..facs import ACTION_UNITS, au_number
from ..language.parsing import parse_state, read_clauses
from .metrics import DEFAULT_THRESHOLD, count_au_predictions, mean_over_aus, none_if_undefined


logger = logging.getLogger(__name__)

# One text, or several equally correct ones.
Reference = str | Sequence[str]
# A text and its references, tokenized, and how often they occur together.
_Pairs = Counter[tuple[str, tuple[str, ...]]]

_EXTRA, _PURPOSE = "language", "Comparing wordings"
_WORDING_SCORES = ("bleu", "rouge_l", "cider")
_TOKEN = re.compile(r"[a-z0-9]+(?:'[a-z]+)?")


@dataclass(frozen=True, eq=False)
class TextStates:
    """What texts say about n faces.

    Attributes:
        states: [n, N], 1 where the text says that the AU is present, 0 where it says that it is absent or doesn't
            mention it.
        was_read: [n, N], False where a text could not be parsed. A sentence about a whole face counts as parsed for
            all AUs or none.
        contradictions: For each face the pairs of mutually exclusive AUs that the text claims; an AU that is both
            claimed and denied is paired with itself.
    """

    states: NDArray[np.int8]
    was_read: NDArray[np.bool_]
    contradictions: tuple[tuple[tuple[str, str], ...], ...]


def score_texts(
    predictions: Sequence[str] | Sequence[Sequence[str]],
    references: Sequence[Reference] | Sequence[Sequence[Reference | None]],
    labels: ArrayLike,
    probabilities: ArrayLike | None,
    au_labels: Sequence[str],
    threshold: float | ArrayLike = DEFAULT_THRESHOLD,
) -> dict[str, float | int | list[str] | dict[str, int] | None]:
    """Scores the sentences of a network about n faces and N Action Units.

    Args:
        predictions: [n], one sentence about each face; or [n][N], one about the state of each AU of each face.
        references: In the same form; each entry is a text, or several equally correct ones. An AU's entry may be None
            if its label is unknown: its wording is not scored.
        labels: [n, N], 1 present, 0 absent, -100 unknown.
        probabilities: [n, N], the AU probabilities of the same network; None omits the agreement.
        au_labels: N labels, for example "AU12".
        threshold: Lowest probability that counts as detected: one number, or one per AU [N].

    Returns:
        For JSON, undefined numbers being None:

        - `num_texts`; `bleu` (BLEU-4 of the corpus, 0 to 1), `rouge_l` (mean F1 of the longest common subsequence,
          0 to 1) and `cider` (mean, 0 to 10, CIDEr-D of its authors' code; papers often print it times 100). Without
          the extra `language` these three are None, and a warning says so;
        - `mean_text_f1`, `undefined_text_f1` and `text_f1_AU12` for each AU: F1 of the text against the labels, an AU
          counting as detected if the text says that it is present;
        - `unread_rate`: the share of faces and AUs whose text could not be parsed; they count as not detected;
        - `agreement`: the share of faces and AUs where text and probability agree. An unparsed text never agrees;
        - `contradiction_rate`: the share of faces whose text claims mutually exclusive AUs (`hiva_hf.facs`), or claims
          and denies the same AU; `contradictions` counts each pair ("AU24+AU25"); `label_contradiction_rate` is the
          same share for the labels, since coders can contradict themselves too.

    Raises:
        ValueError: If there are no texts, lengths or forms disagree, an AU is not in the catalogue, or a number is out
            of range.
    """
    numbers = [au_number(label) for label in au_labels]
    labels = np.asarray(labels)
    _check_forms(predictions, references, labels, numbers)
    texts, wanted = _flatten(predictions, references)
    read = read_states(predictions, au_labels)
    try:
        results = compare_wordings(texts, wanted)
    except ImportError as error:
        logger.warning("The wording of %d texts is not scored, only their content. %s", len(texts), error)
        results = {"num_texts": len(texts)} | dict.fromkeys(_WORDING_SCORES)
    results |= _score_states(read, labels, au_labels)
    results["unread_rate"] = float(1 - read.was_read.mean())
    if probabilities is not None:
        results["agreement"] = _agreement(read, labels, probabilities, threshold, au_labels)
    pairs = Counter("+".join(pair) for face in read.contradictions for pair in face)
    results["contradiction_rate"] = float(np.mean([len(face) > 0 for face in read.contradictions]))
    results["contradictions"] = dict(sorted(pairs.items()))
    results["label_contradiction_rate"] = float(
        np.mean([len(_exclusive_pairs(np.array(numbers)[row == 1])) > 0 for row in labels])
    )
    return results


def compare_wordings(predictions: Sequence[str], references: Sequence[Reference]) -> dict[str, float | int | None]:
    """Compares texts with references, ignoring case and punctuation.

    Args:
        predictions: n texts.
        references: n texts, or n sequences of equally correct texts.

    Returns:
        `num_texts`, `bleu`, `rouge_l` and `cider`, see [`score_texts`]; the scores are None if there are no texts.

    Raises:
        ValueError: If lengths differ or a text has no reference.
        ImportError: If the extra `language` is not installed.
    """
    alternatives = [[text] if isinstance(text, str) else list(text) for text in references]
    if len(predictions) != len(alternatives) or not all(alternatives):
        raise ValueError(
            f"Every text needs a reference, but there are {len(predictions)} texts and {len(alternatives)} "
            f"references, {sum(not texts for texts in alternatives)} of them empty."
        )
    if not predictions:
        return {"num_texts": 0} | dict.fromkeys(_WORDING_SCORES)
    tokens = {text: _tokenize(text) for text in {*predictions, *(text for texts in alternatives for text in texts)}}
    # Networks repeat themselves, and so do references: each distinct pair is compared once.
    pairs = Counter(
        (tokens[text], tuple(tokens[wanted] for wanted in texts))
        for text, texts in zip(predictions, alternatives, strict=True)
    )
    return {
        "num_texts": len(predictions),
        "bleu": _bleu(pairs),
        "rouge_l": _rouge_l(pairs),
        "cider": _cider(pairs),
    }


def read_states(predictions: Sequence[str] | Sequence[Sequence[str]], au_labels: Sequence[str]) -> TextStates:
    """Parses from texts which Action Units they say are present.

    Args:
        predictions: [n], one sentence about each face; or [n][N], one about the state of each AU of each face.
        au_labels: N labels.

    Raises:
        ValueError: If an AU is not in the catalogue, or a face does not have one sentence for each AU.
    """
    if predictions and isinstance(predictions[0], str):
        return _read_face_sentences(predictions, au_labels)
    return _read_au_sentences(predictions, au_labels)


def _read_face_sentences(sentences: Sequence[str], au_labels: Sequence[str]) -> TextStates:
    numbers = [au_number(label) for label in au_labels]
    states = np.zeros((len(sentences), len(numbers)), dtype=np.int8)
    was_read = np.ones(states.shape, dtype=bool)
    contradictions = []
    for face, sentence in enumerate(sentences):
        clauses = read_clauses(sentence)
        statements = {clause.statement for clause in clauses if clause.statement is not None}
        claimed = {statement.au for statement in statements if statement.present}
        denied = {statement.au for statement in statements if not statement.present}
        states[face] = [number in claimed for number in numbers]
        was_read[face] = _is_understood(sentence, clauses)
        both = tuple((ACTION_UNITS[au].label,) * 2 for au in sorted(claimed & denied))
        contradictions.append(_exclusive_pairs(claimed) + both)
    return TextStates(states, was_read, tuple(contradictions))


def _is_understood(sentence: str, clauses: Sequence) -> bool:
    """The sentence about a neutral face has no clause; in others, every clause must be recognised."""
    return bool(_tokenize(sentence)) and all(clause.statement is not None for clause in clauses)


def _read_au_sentences(sentences: Sequence[Sequence[str]], au_labels: Sequence[str]) -> TextStates:
    numbers = np.array([au_number(label) for label in au_labels])
    # Networks repeat themselves: each distinct sentence about an AU is parsed once.
    known: dict[tuple[str, int], bool | None] = {}
    states = np.zeros((len(sentences), len(numbers)), dtype=np.int8)
    was_read = np.zeros(states.shape, dtype=bool)
    for face, row in enumerate(sentences):
        for column, (text, number) in enumerate(zip(row, numbers.tolist(), strict=True)):
            if (text, number) not in known:
                known[text, number] = parse_state(text, number)
            state = known[text, number]
            states[face, column] = state is True
            was_read[face, column] = state is not None
    return TextStates(states, was_read, tuple(_exclusive_pairs(numbers[row == 1]) for row in states))


def _exclusive_pairs(aus: Sequence[int] | set[int] | NDArray[np.int64]) -> tuple[tuple[str, str], ...]:
    claimed = sorted(int(au) for au in aus)
    return tuple(
        (ACTION_UNITS[first].label, ACTION_UNITS[second].label)
        for first in claimed
        for second in ACTION_UNITS[first].exclusions
        if first < second and second in claimed
    )


def _score_states(read: TextStates, labels: NDArray, au_labels: Sequence[str]) -> dict:
    f1 = count_au_predictions(labels, read.states, au_names=au_labels).f1
    mean, undefined = mean_over_aus(f1, au_labels)
    each = {f"text_f1_{label}": none_if_undefined(value) for label, value in zip(au_labels, f1, strict=True)}
    return {"mean_text_f1": none_if_undefined(mean), "undefined_text_f1": undefined} | each


def _agreement(
    read: TextStates,
    labels: NDArray,
    probabilities: ArrayLike,
    threshold: float | ArrayLike,
    au_labels: Sequence[str],
) -> float:
    probabilities = np.asarray(probabilities, dtype=np.float64)
    # Checks shapes and ranges as the scores do.
    count_au_predictions(labels, probabilities, threshold, au_labels)
    return float((((probabilities >= threshold) == (read.states == 1)) & read.was_read).mean())


def _bleu(pairs: _Pairs) -> float:
    sacrebleu = import_from_extra("sacrebleu", _EXTRA, _PURPOSE)
    # `effective_order` affects the score of a sentence only, not its counts, which are used here.
    scorer = sacrebleu.BLEU(tokenize="none", effective_order=True)
    scores = [scorer.sentence_score(hypothesis, texts) for hypothesis, texts in pairs]
    counts = np.array([[score.sys_len, score.ref_len, *score.counts, *score.totals] for score in scores])
    sys_len, ref_len, *matches = (np.array(list(pairs.values())) @ counts).tolist()
    correct, total = matches[: len(matches) // 2], matches[len(matches) // 2 :]
    # Corpus-level and unsmoothed, as captioning papers report it: 0 without a common 4-gram.
    return sacrebleu.BLEU.compute_bleu(correct, total, sys_len, ref_len, smooth_method="none").score / 100


class _Blanks:
    """Splits the output of `_tokenize`; rouge-score's own tokenizer would split "doesn't" in two."""

    def tokenize(self, text: str) -> list[str]:
        return text.split()


def _rouge_l(pairs: _Pairs) -> float:
    rouge_scorer = import_from_extra("rouge_score.rouge_scorer", _EXTRA, _PURPOSE)
    scorer = rouge_scorer.RougeScorer(["rougeL"], tokenizer=_Blanks())
    scores = [scorer.score_multi(texts, hypothesis)["rougeL"].fmeasure for hypothesis, texts in pairs]
    return float(np.average(scores, weights=list(pairs.values())))


def _cider(pairs: _Pairs) -> float:
    cider = import_from_extra("pycocoevalcap.cider.cider_scorer", _EXTRA, _PURPOSE)
    scorer = cider.CiderScorer()
    for hypothesis, texts in pairs:
        scorer += (hypothesis, list(texts))
    # As in its `compute_score`, but counting each pair as often as it occurs.
    for texts, count in zip(scorer.crefs, pairs.values(), strict=True):
        for ngram in set().union(*texts):
            scorer.document_frequency[ngram] += count
    # The length of this list is used as the number of texts; entries after the last hypothesis are not read.
    scorer.crefs += [[]] * (pairs.total() - len(pairs))
    return float(np.average(scorer.compute_cider(), weights=list(pairs.values())))


def _tokenize(text: str) -> str:
    """Lower-case words separated by single blanks, so that all three metrics see the same tokens."""
    return " ".join(_TOKEN.findall(text.lower().replace("’", "'")))


def _flatten(predictions: Sequence, references: Sequence) -> tuple[list[str], list[Reference]]:
    """The texts whose wording is scored, with their references."""
    if isinstance(predictions[0], str):
        return list(predictions), list(references)
    pairs = [
        (text, reference)
        for texts, wanted in zip(predictions, references, strict=True)
        for text, reference in zip(texts, wanted, strict=True)
        if reference is not None
    ]
    return [text for text, _ in pairs], [reference for _, reference in pairs]


def _check_forms(predictions: Sequence, references: Sequence, labels: NDArray, numbers: Sequence[int]):
    if len(predictions) == 0 or isinstance(predictions, str):
        raise ValueError("There are no texts to score: `predictions` needs one entry for each face.")
    if len(set(numbers)) != len(numbers):
        raise ValueError(f"`au_labels` must differ from each other, but denote the AUs {list(numbers)}.")
    expected = (len(predictions), len(numbers))
    if labels.shape != expected or len(references) != len(predictions):
        raise ValueError(
            f"{len(predictions)} faces and {len(numbers)} AUs need labels of shape {expected} and {len(predictions)} "
            f"references, but labels have {labels.shape} and there are {len(references)} references."
        )
    if isinstance(predictions[0], str):
        if not all(isinstance(text, str) for text in predictions):
            raise ValueError("`predictions` mixes sentences about faces with sentences about AUs: pass one kind only.")
        return
    for face, (texts, wanted) in enumerate(zip(predictions, references, strict=True)):
        if isinstance(texts, str) or isinstance(wanted, str) or not len(texts) == len(wanted) == len(numbers):
            raise ValueError(
                f"Face {face} needs one sentence and one reference for each of the {len(numbers)} AUs, because the "
                "first face has sentences about AUs."
            )

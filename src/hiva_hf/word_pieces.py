# Copyright 2026 The hiva-hf authors.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""Which word each key of the text memory stands for: stored when descriptions are encoded, read by explanations.

The format is one line of text for each description, its pieces in order and separated by spaces, so that a checkpoint
needs no tokenizer to name its words: "[CLS] lip ##s pu ##cker . [SEP]".
"""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase


CONTINUATION = "##"
# Words that say nothing about a face, however much attention they get.
_STOP_WORDS = """
    a about across against all along also an and are as at be become becomes been being both but by can do does
    down each for from give gives has have her him his if in into is it its itself let like make makes may more
    most no nor not of off on one ones only onto or other others out over own show shows so some such than that
    the their them then there these they this those through to toward towards under up upon very was way were what
    when where which while who will with without you your
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())
# Letters of any script; inner hyphens and apostrophes belong to the word.
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")


def name_word_pieces(tokenizer: PreTrainedTokenizerBase, descriptions: Sequence[str]) -> list[str] | None:
    """Names the word pieces of descriptions in the format of this file.

    Args:
        tokenizer: Reads the descriptions as [`HiVAForAUDetection.encode_descriptions`] does.
        descriptions: Sentences.

    Returns:
        One line for each sentence; None for a tokenizer that can't map pieces to their positions in a sentence (all
        that transformers calls "fast" can).
    """
    if not tokenizer.is_fast:
        return None
    encoded = tokenizer(list(descriptions), return_offsets_mapping=True)
    return [_line(sentence, encoded, row) for row, sentence in enumerate(descriptions)]


def _line(sentence: str, encoded, row: int) -> str:
    pieces, previous = [], None
    for token, word, (start, end) in zip(
        encoded.tokens(row), encoded.word_ids(row), encoded["offset_mapping"][row], strict=True
    ):
        # Special tokens belong to no word.
        text = token if word is None else "".join(sentence[start:end].split()) or "[]"
        pieces.append(CONTINUATION + text if word is not None and word == previous else text)
        previous = word
    return " ".join(pieces)


def mean_word_weights(pieces: str, weights: NDArray[np.floating]) -> list[tuple[str, float]]:
    """Merges the weights of word pieces into those of words.

    The weight of a word is the mean over its pieces, in all its occurrences: a rare word is not favoured for being
    split into many pieces. Special tokens, punctuation, numbers and stop words are left out.

    Args:
        pieces: A line in the format of this file.
        weights: [L], at least one for each piece; more are padding.

    Returns:
        Words in lower case with their weights, the largest first; equal ones in the order of the sentence.
    """
    names = pieces.split()
    words: list[tuple[str, list[float]]] = []
    for piece, weight in zip(names, weights[: len(names)].tolist(), strict=True):
        if piece.startswith(CONTINUATION) and words:
            text, own = words.pop()
            words.append((text + piece.removeprefix(CONTINUATION), [*own, weight]))
        else:
            words.append((piece, [weight]))
    merged: dict[str, list[float]] = {}
    for text, own in words:
        word = text.lower()
        # Single letters are left over from apostrophes.
        if len(word) > 1 and _WORD.fullmatch(word) and word not in STOP_WORDS:
            merged.setdefault(word, []).extend(own)
    means = {word: float(np.mean(own)) for word, own in merged.items()}
    return sorted(means.items(), key=lambda item: -item[1])

"""The sentences that VL-FAU learns to write: made from the labels, drawn anew for each face in each epoch."""

import random
from collections.abc import Sequence

import torch
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from ..data import MISSING_LABEL
from ..facs_states import face_sentence, state_sentences
from .augmentation import AugmentedFaces, FaceTransform


# Label of tokens that the loss ignores, as in transformers.
IGNORED_TOKEN = -100


class StateSentences:
    """Makes the sentences for the labels of a face, tokenized and padded to the longest possible one.

    Args:
        tokenizer: Tokenizer of the network.
        au_labels: The N AUs, in the order of the labels.
        writes_local: Whether sentences about single AUs are made.
        writes_global: Whether a sentence about the face is made.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        au_labels: Sequence[str],
        writes_local: bool = True,
        writes_global: bool = True,
    ):
        self.tokenizer = tokenizer
        self.au_labels = list(au_labels)
        self.writes_local, self.writes_global = writes_local, writes_global
        # Sentences of each AU: those for its absence, then those for its presence.
        written = [[state_sentences(au, state) for state in (False, True)] for au in self.au_labels]
        length = max(len(self._ids(text)) for states in written for texts in states for text in texts)
        self.local_ids = [[[self._padded(text, length) for text in texts] for texts in states] for states in written]
        self.global_length = max(len(self._ids(face_sentence(aus))) for aus in ((), self.au_labels))

    def _ids(self, text: str) -> list[int]:
        return self.tokenizer(text)["input_ids"]

    def _padded(self, text: str, length: int) -> torch.Tensor:
        ids = self._ids(text)
        return torch.tensor(ids + [IGNORED_TOKEN] * (length - len(ids)))

    def draw(self, labels: torch.Tensor, seed: int) -> dict[str, torch.Tensor]:
        """Keyword arguments of the network's `forward` for one face.

        For each AU, one of the written sentences about its state is drawn; for the whole face there is only one. A
        face with an unknown AU gets no sentence about the whole face, which would have to leave that AU out.

        Args:
            labels: `[N]`, 1 present, 0 absent, -100 unknown.
            seed: The same seed draws the same sentences.

        Returns:
            `local_labels` `[N, L]` and `global_labels` `[L]`, padded with -100.
        """
        drawn = {}
        states = labels.tolist()
        if self.writes_local:
            generator = random.Random(seed)
            # One is drawn for an unknown AU too; the network leaves it out of the loss.
            texts = [ids[state == 1] for ids, state in zip(self.local_ids, states, strict=True)]
            drawn["local_labels"] = torch.stack([generator.choice(of_state) for of_state in texts])
        if self.writes_global:
            active = [au for au, state in zip(self.au_labels, states, strict=True) if state == 1]
            drawn["global_labels"] = self._padded(face_sentence(active), self.global_length)
            if MISSING_LABEL in states:
                drawn["global_labels"].fill_(IGNORED_TOKEN)
        return drawn


class DescribedFaces(AugmentedFaces):
    """Training faces with the sentences about them.

    Args:
        dataset: Rows with `image` and `labels`.
        augmentation: Transform of each picture.
        seed: Seed of the run. [`set_epoch`] must be called before each pass.
        sentences: Makes the sentences.
    """

    def __init__(self, dataset: Dataset, augmentation: FaceTransform, seed: int, sentences: StateSentences):
        super().__init__(dataset, augmentation, seed)
        self.sentences = sentences

    def __getitems__(self, indices: list[int]) -> list[dict[str, torch.Tensor]]:
        items = super().__getitems__(indices)
        return [
            item | self.sentences.draw(item["labels"], seed)
            for item, seed in zip(items, self.seeds(indices), strict=True)
        ]

"""The sentences that stage 2 reads: the frozen part of the text encoder sees each of them once, ever."""

import torch
from transformers import PreTrainedTokenizerBase

from ..facs import get_action_unit
from ..modeling_hiva import HiVAForAUDetection


class DescriptionBank:
    """Every description of every AU after the frozen text layers; a step draws one for each AU.

    Args:
        model: A detector whose configuration says whether variants are used (`config.augments_descriptions`).
        tokenizer: Tokenizer of its text encoder.
    """

    def __init__(self, model: HiVAForAUDetection, tokenizer: PreTrainedTokenizerBase):
        sentences, self.counts = [], []
        for label in model.config.au_labels:
            unit = get_action_unit(label)
            own = [unit.name] if model.config.variant == "names_only" else [unit.description]
            own += list(unit.variants) if model.config.augments_descriptions else []
            sentences += own
            self.counts.append(len(own))
        encoded = tokenizer(sentences, padding=True, return_tensors="pt").to(model.device)
        self.attention_mask = encoded["attention_mask"]
        # [num_sentences, sequence_length, text_hidden_size]
        self.hidden_states = model.text_model.encode_frozen(encoded["input_ids"], self.attention_mask)

    def draw(self, generator: torch.Generator) -> dict[str, torch.Tensor]:
        """One description for each AU, as keyword arguments of the model's `forward`."""
        rows, first = [], 0
        for count in self.counts:
            rows.append(first + int(torch.randint(count, (), generator=generator)))
            first += count
        return {"text_hidden_states": self.hidden_states[rows], "attention_mask": self.attention_mask[rows]}

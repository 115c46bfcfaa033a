"""The descriptions that stage 2 reads: the frozen part of the text encoder encodes each of them only once."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from ..facs import get_action_unit
from ..language.grammar import generate_descriptions
from ..language.review import accepted_descriptions
from ..modeling_hiva import HiVAForAUDetection, evaluation_mode
from .run_folder import EMBEDDINGS_FOLDER


# Drawn once for a run; more would only lengthen its start.
NUM_GENERATED = 100
_SENTENCES_AT_A_TIME = 512


def description_variants(source: str, au_labels: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The descriptions that training samples besides the canonical ones, by AU label.

    Args:
        source: "written", "generated" or a review file, see `AUTrainingArguments.descriptions`.
        au_labels: The AUs.

    Raises:
        FileNotFoundError: if the review file does not exist.
        ValueError: if it is not a review file, or has no accepted description of an AU.
    """
    if source == "written":
        return {label: get_action_unit(label).variants for label in au_labels}
    if source == "generated":
        return {label: tuple(generate_descriptions(label, NUM_GENERATED)) for label in au_labels}
    if not Path(source).is_file():
        raise FileNotFoundError(
            f"`descriptions` is {source!r}, which is neither `written` nor `generated` nor an existing file."
        )
    accepted = accepted_descriptions(source)
    missing = [label for label in au_labels if label not in accepted]
    if missing:
        raise ValueError(
            f"{source} has no accepted description of {', '.join(missing)}, which are trained on. Add some: "
            f"`hiva-hf describe --aus {' '.join(missing)} --output {source} ...`."
        )
    return {label: accepted[label] for label in au_labels}


class DescriptionBank:
    """All descriptions of all AUs, encoded by the frozen text layers; each step draws one for each AU.

    Args:
        model: A detector whose configuration says whether variants are used (`config.augments_descriptions`).
        tokenizer: Tokenizer of its text encoder.
        source: Where the variants come from, see `description_variants`.
    """

    def __init__(self, model: HiVAForAUDetection, tokenizer: PreTrainedTokenizerBase, source: str = "written"):
        self.tokenizer, self.canonical_sentences = tokenizer, []
        sentences, self.counts = [], []
        variants = description_variants(source, model.config.au_labels) if model.config.augments_descriptions else {}
        for label in model.config.au_labels:
            unit = get_action_unit(label)
            own = [unit.name] if model.config.variant == "names_only" else [unit.description]
            own += variants.get(label, ())
            sentences += own
            self.canonical_sentences.append(own[0])
            self.counts.append(len(own))
        encoded = tokenizer(sentences, padding=True, return_tensors="pt").to(model.device)
        self.attention_mask = encoded["attention_mask"]
        # In chunks: thousands of descriptions for each AU would fill the memory of a GPU.
        parts = [encoded[name].split(_SENTENCES_AT_A_TIME) for name in ("input_ids", "attention_mask")]
        # [num_sentences, sequence_length, text_hidden_size]
        self.hidden_states = torch.cat([model.text_model.encode_frozen(*part) for part in zip(*parts, strict=True)])

    def draw(self, generator: torch.Generator) -> dict[str, torch.Tensor]:
        """One description for each AU, as keyword arguments of the model's `forward`."""
        chosen = [int(torch.randint(count, (), generator=generator)) for count in self.counts]
        return self._rows(chosen)

    def canonical(self) -> dict[str, torch.Tensor]:
        """The description of each AU that evaluation and inference read, padded to the longest of these."""
        inputs = self._rows([0] * len(self.counts))
        length = int(inputs["attention_mask"].sum(dim=1).max())
        return {name: tensor[:, :length] for name, tensor in inputs.items()}

    def _rows(self, chosen: list[int]) -> dict[str, torch.Tensor]:
        firsts = np.cumsum([0, *self.counts[:-1]])
        rows = [int(first) + number for first, number in zip(firsts, chosen, strict=True)]
        return {"text_hidden_states": self.hidden_states[rows], "attention_mask": self.attention_mask[rows]}

    @torch.no_grad()
    def renew_text_memory(self, model: HiVAForAUDetection) -> torch.Tensor:
        """Does what `model.encode_descriptions` does, without running the frozen layers again.

        Returns:
            `H` `[num_labels, text_hidden_size]`.
        """
        canonical = self.canonical()
        with evaluation_mode([model.text_model]):
            text = model.text_model(canonical["text_hidden_states"], canonical["attention_mask"])
        model.keep_text_memory(text, self.tokenizer, self.canonical_sentences)
        return text.description_embeddings


def write_description_embeddings(output_dir: Path, epoch: int, embeddings: torch.Tensor):
    """Saves `H` of a stage-2 epoch, counted from 1: Figure 5 shows how its rows diverge."""
    folder = output_dir / EMBEDDINGS_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / f"epoch-{epoch:03d}.npy", embeddings.float().cpu().numpy())

"""The sentences of a trained VL-FAU about a split, as a file and as scores."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from datasets import Dataset
from torch.utils.data import DataLoader
from tqdm.auto import tqdm
from transformers import PreTrainedTokenizerBase

from ..atomic_files import write_text
from ..data import MISSING_LABEL
from ..evaluation.predictions import ROW_COLUMNS
from ..evaluation.text_metrics import score_texts
from ..facs_states import face_sentence, state_sentences
from ..modeling_vl_fau import VLFAUForAUDetection


@torch.no_grad()
def write_sentences(
    accelerator: Accelerator,
    model: VLFAUForAUDetection,
    tokenizer: PreTrainedTokenizerBase,
    loader: DataLoader,
    description: str,
    after_batch: Callable[[], None] = lambda: None,
) -> dict[str, list]:
    """Writes sentences, by greedy decoding, about all faces of a prepared loader, once each and in the loader's order.

    Args:
        accelerator: Accelerator of the run.
        model: The network; it is left in evaluation mode.
        tokenizer: Tokenizer of its sentences.
        loader: Prepared by `accelerator`.
        description: Label of the progress bar.
        after_batch: Called after each batch, in all processes equally often.

    Returns:
        `"local"`: for each face the N sentences about its AUs, and `"global"`: the sentence about the face; only what
        the model has a decoder for.
    """
    model.eval()
    config = model.config
    written: dict[str, list] = {level: [] for level in config.sentence_levels}
    for batch in tqdm(loader, desc=description, leave=False, disable=not accelerator.is_local_main_process):
        with accelerator.autocast():
            outputs = model(pixel_values=batch["pixel_values"])
            for level, texts in written.items():
                ids = model.generate(encoder_outputs=outputs, level=level)
                new = tokenizer.batch_decode(ids, skip_special_tokens=True)
                if level == "local":
                    new = [new[start : start + config.num_labels] for start in range(0, len(new), config.num_labels)]
                texts += accelerator.gather_for_metrics(new, use_gather_object=True)
        after_batch()
    return written


def score_sentences(
    written: dict[str, list], labels: np.ndarray, probabilities: np.ndarray, au_labels: Sequence[str]
) -> dict[str, Any]:
    """Scores written sentences against references made from the labels; see `evaluation.text_metrics`.

    Faces with an unknown AU have no correct sentence about the whole face; their wording is compared with one that
    leaves that AU out.

    Args:
        written: What [`write_sentences`] returned.
        labels: [n, N].
        probabilities: [n, N], of the same network.
        au_labels: The N AUs.

    Returns:
        The scores under `local_...` and `global_...`.
    """
    references = {
        "local": [
            [
                None if state == MISSING_LABEL else state_sentences(au, state == 1)
                for au, state in zip(au_labels, row, strict=True)
            ]
            for row in labels
        ],
        "global": [
            face_sentence([au for au, state in zip(au_labels, row, strict=True) if state == 1]) for row in labels
        ],
    }
    scores = {}
    for level, texts in written.items():
        found = score_texts(texts, references[level], labels, probabilities, au_labels)
        scores |= {f"{level}_{name}": value for name, value in found.items()}
    return scores


def save_sentences(path: Path, faces: Dataset, written: dict[str, list], au_labels: Sequence[str]):
    """Writes one line of JSON for each face: which frame it is, the sentence about it, and one about each AU."""
    rows = {name: faces[name][:] for name in ROW_COLUMNS}
    lines = []
    for number in range(len(faces)):
        line: dict[str, Any] = {name: values[number] for name, values in rows.items()}
        if "global" in written:
            line["face"] = written["global"][number]
        if "local" in written:
            line["aus"] = dict(zip(au_labels, written["local"][number], strict=True))
        lines.append(json.dumps(line))
    write_text(path, "".join(f"{line}\n" for line in lines))

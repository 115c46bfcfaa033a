"""Verify a pushed model: downloaded again, it must give the same numbers, bit by bit, and the same sentences."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from huggingface_hub import HfApi
from transformers import AutoModel, AutoTokenizer, PreTrainedModel

from ..image_processing_hiva import HiVAImageProcessor


class PublishedModelError(OSError):
    """The downloaded model differs from the trained one."""


@torch.no_grad()
def verify_published_model(
    run_dir: Path, folder: Path, repo_id: str, revision: str, token: str | bool | None = None
) -> None:
    """Downloads a model into an empty cache and compares it with the run on two noise images.

    Args:
        run_dir: Folder of the run.
        folder: Folder that was pushed.
        repo_id: `ORG/NAME`.
        revision: The commit.
        token: Token for a private repository.

    Raises:
        PublishedModelError: if files are missing, pixel values or logits differ in a single bit, or a generative model
            writes other sentences.
    """
    wanted = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    missing = wanted - set(HfApi(token=token).list_repo_files(repo_id, revision=revision))
    if missing:
        raise PublishedModelError(f"{repo_id} lacks {', '.join(sorted(missing))}. Push again.")
    pictures = list(np.random.default_rng(0).integers(0, 256, (2, 256, 256, 3), dtype=np.uint8))
    local = _readings(str(run_dir), pictures)
    with TemporaryDirectory() as cache:
        published = _readings(repo_id, pictures, revision=revision, token=token, cache_dir=cache)
    for name in ("pixel values", "logits"):
        if not torch.equal(local[name], published[name]):
            raise PublishedModelError(
                f"The {name} of {repo_id} at {revision} differ from those of {run_dir} by up to "
                f"{float((local[name] - published[name]).abs().max()):.3g}. Don't use it; push again."
            )
    if local["sentences"] != published["sentences"]:
        raise PublishedModelError(
            f"The sentences of {repo_id} at {revision} differ from those of {run_dir}. Don't use it; push again."
        )


def _readings(name_or_path: str, pictures: list[np.ndarray], **options) -> dict[str, Any]:
    processor = HiVAImageProcessor.from_pretrained(name_or_path, **options)
    # Works for both model types, which the package registers.
    model = AutoModel.from_pretrained(name_or_path, **options).eval()
    pixel_values = processor(images=pictures, return_tensors="pt")["pixel_values"]
    outputs = model(pixel_values=pixel_values.to(model.dtype))
    sentences = []
    # CODEPATH: VL-FAU writes its own sentences, HiVA does not.
    if model.can_generate():
        sentences = _sentences(model, outputs, AutoTokenizer.from_pretrained(name_or_path, **options))
    return {"pixel values": pixel_values, "logits": outputs.logits, "sentences": sentences}


def _sentences(model: PreTrainedModel, outputs: Any, tokenizer: Any) -> list[str]:
    """The sentences that the model writes about the faces of `outputs`, at each level that it has a decoder for."""
    sentences = []
    for level in model.config.sentence_levels:
        sentences += tokenizer.batch_decode(model.generate(encoder_outputs=outputs, level=level))
    return sentences

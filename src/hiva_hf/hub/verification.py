"""Whether what was pushed is what was trained: loaded back from the Hub, it must give the same numbers, bit by bit."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from huggingface_hub import HfApi

from ..image_processing_hiva import HiVAImageProcessor
from ..modeling_hiva import HiVAForAUDetection


class PublishedModelError(OSError):
    """What can be downloaded is not what was trained."""


@torch.no_grad()
def verify_published_model(
    run_dir: Path, folder: Path, repo_id: str, revision: str, token: str | bool | None = None
) -> torch.Tensor:
    """Downloads into an empty cache and compares with the run.

    Args:
        run_dir: Folder of the run.
        folder: What was pushed.
        repo_id: `ORG/NAME`.
        revision: The commit.
        token: For a private repository.

    Returns:
        The logits `[2, N]` of two pictures of noise that both gave.

    Raises:
        PublishedModelError: if files are missing, or pixel values or logits differ in a single bit.
    """
    wanted = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    missing = wanted - set(HfApi(token=token).list_repo_files(repo_id, revision=revision))
    if missing:
        raise PublishedModelError(f"{repo_id} lacks {', '.join(sorted(missing))}. Push again.")
    pictures = list(np.random.default_rng(0).integers(0, 256, (2, 256, 256, 3), dtype=np.uint8))
    local = _logits(str(run_dir), pictures)
    with TemporaryDirectory() as cache:
        published = _logits(repo_id, pictures, revision=revision, token=token, cache_dir=cache)
    for name, ours, theirs in zip(("pixel values", "logits"), local, published, strict=True):
        if not torch.equal(ours, theirs):
            raise PublishedModelError(
                f"{repo_id} at {revision} gives other {name} than {run_dir}, by up to "
                f"{float((ours - theirs).abs().max()):.3g}. Don't use it; push again."
            )
    return local[1]


def _logits(name_or_path: str, pictures: list[np.ndarray], **options) -> tuple[torch.Tensor, torch.Tensor]:
    processor = HiVAImageProcessor.from_pretrained(name_or_path, **options)
    model = HiVAForAUDetection.from_pretrained(name_or_path, **options).eval()
    pixel_values = processor(images=pictures, return_tensors="pt")["pixel_values"]
    return pixel_values, model(pixel_values=pixel_values.to(model.dtype)).logits

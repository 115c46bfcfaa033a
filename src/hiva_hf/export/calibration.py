"""Faces to calibrate and compare an export on, as model inputs."""

import logging
import os
from collections.abc import Iterator

import numpy as np
import torch
from tqdm.auto import tqdm

from ..data import load_au_dataset
from ..data.views import evenly_spaced
from ..inference.sources import find_sources
from ..pipeline_au_detection import AUDetectionPipeline
from .formats import SYNTHFACS


logger = logging.getLogger(__name__)

# No subject of these splits is in the test split, which stays unseen.
_CALIBRATION_SPLIT, _COMPARISON_SPLIT = "train", "validation"


def calibration_faces(
    detector: AUDetectionPipeline,
    source: str | os.PathLike,
    num_calibration: int,
    num_comparison: int,
    aligned: bool = False,
    progress: bool = True,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Faces to calibrate on, and others to compare on.

    Args:
        detector: Detects and aligns faces, and converts them to model inputs.
        source: `"synthfacs"`, the rendered faces of the package (fold 1: training and validation split), or a folder
            of photos.
        num_calibration: Largest number of faces to calibrate on.
        num_comparison: Largest number of faces to compare on.
        aligned: Whether the photos of the folder are cropped and aligned faces.
        progress: Whether to show progress bars.

    Returns:
        Two tensors `(faces, 3, image_size, image_size)`.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: There are not enough faces in it.
    """
    if os.fspath(source) == SYNTHFACS:
        counts = {_CALIBRATION_SPLIT: num_calibration, _COMPARISON_SPLIT: num_comparison}
        return tuple(_synthfacs_faces(detector, split, number, progress) for split, number in counts.items())
    wanted = num_calibration + num_comparison
    faces = []
    for face in _photo_faces(detector, source, aligned, wanted, progress):
        faces.append(face)
        if len(faces) == wanted:
            break
    needed = (num_calibration > 0) + (num_comparison > 0)
    if len(faces) < needed:
        raise ValueError(
            f"{source} shows {len(faces)} faces, but at least {needed} are needed, and some hundreds are better. Pass "
            "`--aligned` if its photos are cropped faces."
        )
    if len(faces) < wanted:
        logger.warning("%s shows %d faces; %d were requested.", source, len(faces), wanted)
    # The photos are in random order, but faces of the same photo are adjacent.
    number = min(num_comparison, max(1, len(faces) * num_comparison // wanted)) if num_comparison else 0
    compared = set(np.linspace(0, len(faces) - 1, number).round().astype(int).tolist())
    split = ([face for index, face in enumerate(faces) if (index in compared) == side] for side in (False, True))
    return tuple(torch.stack(part) if part else torch.empty(0) for part in split)


def _synthfacs_faces(detector: AUDetectionPipeline, split: str, number: int, progress: bool) -> torch.Tensor:
    faces = load_au_dataset(SYNTHFACS, fold=1, split=split)
    chosen = faces.select(evenly_spaced(len(faces), number))
    bar = tqdm(chosen, desc=f"Faces of SynthFACS ({split})", disable=None if progress else True)
    inputs = [detector.image_processor(images=row["image"], return_tensors="pt")["pixel_values"][0] for row in bar]
    return torch.stack(inputs) if inputs else torch.empty(0)


def _photo_faces(
    detector: AUDetectionPipeline, folder: str | os.PathLike, aligned: bool, wanted: int, progress: bool
) -> Iterator[torch.Tensor]:
    photos, _ = find_sources([folder])
    # Not all photos may be needed, and adjacent ones often show the same person.
    photos = [photos[index] for index in np.random.default_rng(0).permutation(len(photos))]
    for photo in tqdm(photos, desc="Faces of the photos", disable=None if progress else True):
        for chunk in detector.preprocess(photo, detect_faces=not aligned, on_error="return"):
            if chunk.get("error") is not None:
                logger.warning("Skipped: %s", chunk["error"])
            elif chunk["face"] is not None:
                yield chunk["pixel_values"][0].float()

# Copyright 2026 The HiVA-HF Authors. Licensed under the Apache License, Version 2.0.
"""What to render. Needs no assets."""

from dataclasses import dataclass

from ..data.sets import NEVER_TESTED
from .identity import NUM_FOLDS, fold_of_subject


@dataclass(frozen=True)
class GenerationConfig:
    """Configuration of the data set; the same values give the same files.

    Attributes:
        num_subjects: Number of people; a multiple of 3 gives folds of equal size.
        images_per_subject: Number of pictures of each person.
        image_size: Side of the aligned crops in pixels.
        jpeg_quality: 1 to 100.
        seed: Seed of everything, at least 0; if it is not 0, it is part of the names of the people.
        first_subject: Number of the first person, from 0; the embedded data set has the people 0 to 239 of seed 0.
        training_only: Whether to assign nobody to a test fold: the faces are for training and validation, beside a
            data set that has folds.

    Raises:
        ValueError: If a number is out of its range.
    """

    num_subjects: int = 240
    images_per_subject: int = 16
    image_size: int = 160
    jpeg_quality: int = 90
    seed: int = 0
    first_subject: int = 0
    training_only: bool = False

    def __post_init__(self) -> None:
        if self.num_subjects < NUM_FOLDS:
            raise ValueError(f"At least {NUM_FOLDS} subjects are needed for as many folds, got {self.num_subjects}.")
        if self.images_per_subject < 1 or self.image_size < 32:
            raise ValueError(
                "Expected at least 1 image per subject and 32 pixels per side, got "
                f"images_per_subject={self.images_per_subject}, image_size={self.image_size}."
            )
        if not 1 <= self.jpeg_quality <= 100:
            raise ValueError(f"jpeg_quality must lie between 1 and 100, got {self.jpeg_quality}.")
        if self.first_subject < 0 or self.seed < 0:
            raise ValueError(
                f"first_subject and seed must be at least 0, got first_subject={self.first_subject}, seed={self.seed}."
            )

    @property
    def subjects(self) -> range:
        """Numbers of the people to render."""
        return range(self.first_subject, self.first_subject + self.num_subjects)

    def fold_of(self, index: int) -> int:
        """The fold of a person, 1 to 3, or `NEVER_TESTED`."""
        return NEVER_TESTED if self.training_only else fold_of_subject(index)

"""Subject-disjoint splits: fold k tests the subjects of part k, validation subjects are carved from the rest."""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np


Split = Literal["train", "validation", "test"]

VALIDATION_SHARE = 0.15
# Not a training seed: the same validation subjects in every run, so that runs can be compared.
_VALIDATION_SEED = 0


def split_subjects(subject_folds: dict[str, int], fold: int) -> dict[Split, list[str]]:
    """Deals the subjects of a data set to train, validation and test.

    Args:
        subject_folds: Part (1, 2, 3, ...) of each subject.
        fold: The part that is tested.

    Returns:
        Sorted subjects of each split; no subject is in two of them.

    Raises:
        ValueError: if `fold` is not a part of the data set.
    """
    parts = sorted(set(subject_folds.values()))
    if fold not in parts:
        raise ValueError(f"`fold` is {fold!r}, but this data set has the folds {', '.join(map(str, parts))}.")
    test = sorted(subject for subject, part in subject_folds.items() if part == fold)
    rest = sorted(subject for subject, part in subject_folds.items() if part != fold)
    order = np.random.default_rng(_VALIDATION_SEED).permutation(len(rest))
    num_validation = max(1, round(VALIDATION_SHARE * len(rest)))
    validation = sorted(rest[index] for index in order[:num_validation])
    train = sorted(set(rest) - set(validation))
    return {"train": train, "validation": validation, "test": test}


def check_split(split: str) -> Split:
    """Returns `split`, or raises a ValueError that names the splits there are."""
    if split not in get_args(Split):
        raise ValueError(f"`split` is {split!r}, but there are {', '.join(get_args(Split))}.")
    return split


def rows_of_subjects(subjects: Sequence[str], chosen: Sequence[str]) -> list[int]:
    """Row numbers whose subject is among `chosen`, in order."""
    wanted = set(chosen)
    return [row for row, subject in enumerate(subjects) if subject in wanted]

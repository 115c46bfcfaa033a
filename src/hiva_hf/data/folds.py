"""Subject-disjoint splits: fold k tests the subjects of part k, validation subjects are drawn from the rest."""

from collections.abc import Collection, Mapping
from typing import Literal, get_args

import numpy as np

from ..listings import first_of
from .sets import AU_DATASETS, NEVER_TESTED


Split = Literal["train", "validation", "test"]

VALIDATION_SHARE = 0.15
# Independent of the training seed: all runs have the same validation subjects and can be compared.
_VALIDATION_SEED = 0


def split_subjects(
    subject_parts: Mapping[str, int], fold: int, validation_subjects: Collection[str] = ()
) -> dict[Split, list[str]]:
    """Splits the subjects of a data set into train, validation and test.

    Args:
        subject_parts: Part (1, 2, 3, ...) of each subject; no fold tests those of part `NEVER_TESTED`.
        fold: The part that is tested.
        validation_subjects: The customary ones, if there are any. By default, 15 % of the subjects that are not
            tested are drawn, always the same ones; if only one is not tested, it is used for training.

    Returns:
        Sorted subjects of each split; no subject is in two of them. If no part is ever tested, all subjects are in
        train.

    Raises:
        ValueError: if `fold` is not a fold of the data set.
    """
    if not folds_of(subject_parts):
        return {"train": sorted(subject_parts), "validation": [], "test": []}
    check_fold(fold, subject_parts)
    test = sorted(subject for subject, part in subject_parts.items() if part == fold)
    rest = sorted(subject for subject, part in subject_parts.items() if part != fold)
    if validation_subjects:
        validation = sorted(set(rest) & set(validation_subjects))
    elif len(rest) == 1:
        validation = []
    else:
        order = np.random.default_rng(_VALIDATION_SEED).permutation(len(rest))
        num_validation = max(1, round(VALIDATION_SHARE * len(rest)))
        validation = sorted(rest[index] for index in order[:num_validation])
    train = sorted(set(rest) - set(validation))
    return {"train": train, "validation": validation, "test": test}


def split_set(name: str, subject_parts: Mapping[str, int], fold: int) -> dict[Split, list[str]]:
    """[`split_subjects`] with the customary validation subjects of a set, if it has any."""
    customary = AU_DATASETS[name].validation_subjects if name in AU_DATASETS else ()
    return split_subjects(subject_parts, fold, customary)


def names_of_subjects(subjects: Collection[str], most: int = 20) -> str:
    """Lists subjects by name, since the literature numbers folds differently: "F001, F002 and 11 more"."""
    return first_of(sorted(subjects), most)


def folds_of(subject_parts: Mapping[str, int]) -> list[int]:
    """The folds that can be tested, ascending."""
    return sorted(set(subject_parts.values()) - {NEVER_TESTED})


def check_fold(fold: int, subject_parts: Mapping[str, int], place: str = "this data set") -> None:
    """Raises a ValueError that lists the folds of `place` if it has some, but not this one."""
    folds = folds_of(subject_parts)
    if folds and fold not in folds:
        raise ValueError(f"`fold` is {fold!r}, but {place} has the folds {', '.join(map(str, folds))}.")


def check_split(split: str) -> Split:
    """Returns `split`, or raises a ValueError that lists the valid splits."""
    if split not in get_args(Split):
        raise ValueError(f"`split` is {split!r}, but it must be one of {', '.join(get_args(Split))}.")
    return split

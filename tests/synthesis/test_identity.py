"""Subjects repeat with their seed, differ from each other, and are dealt evenly to folds."""

from collections import Counter

import pytest

from hiva_hf.synthesis.identity import (
    DETAIL_LIMIT,
    HAIR,
    SKINS,
    fold_of_subject,
    sample_subject,
    subject_name,
)


def test_same_seed_gives_same_subject():
    assert sample_subject(5, seed=0) == sample_subject(5, seed=0)
    assert sample_subject(5, seed=0) != sample_subject(5, seed=1)


def test_subjects_differ():
    subjects = [sample_subject(index, seed=0) for index in range(30)]
    assert len({subject.name for subject in subjects}) == 30
    assert len({tuple(sorted(subject.shape.items())) for subject in subjects}) == 30


def test_names_count_from_one_and_tell_the_seed():
    assert subject_name(0, seed=0) == "S0001"
    assert sample_subject(11, seed=0).name == "S0012"
    assert sample_subject(11, seed=1).name == subject_name(11, seed=1) == "S0012-seed1"


@pytest.mark.parametrize("index", range(0, 60, 7))
def test_nobody_is_a_caricature(index):
    subject = sample_subject(index, seed=0)
    details = [weight for name, weight in subject.shape.items() if not name.startswith(("macrodetails", "head/head-"))]
    # Features may lean to one side by a few percent on top of the limit.
    assert max(details) <= 1.3 * DETAIL_LIMIT
    assert all(0.0 <= strength <= 0.5 for strength in subject.resting_wrinkles.values())


def test_only_hair_that_leaves_brows_free_or_can_be_cut():
    cuts = {sample_subject(index, seed=0).hair for index in range(200)}
    assert cuts <= set(HAIR) | {""}


def test_folds_are_equal_in_size_and_share_every_skin():
    folds = [fold_of_subject(index) for index in range(3 * len(SKINS))]
    assert Counter(folds) == {1: len(SKINS), 2: len(SKINS), 3: len(SKINS)}
    for fold in (1, 2, 3):
        skins = {sample_subject(index, seed=0).skin for index, f in enumerate(folds) if f == fold}
        assert len(skins) == len(SKINS)

import pytest

from hiva_hf.data import AU_DATASETS
from hiva_hf.data.folds import VALIDATION_SHARE, check_split, folds_of, names_of_subjects, split_set, split_subjects


SUBJECT_FOLDS = {f"S{number:03d}": number % 3 + 1 for number in range(60)}


@pytest.mark.parametrize("fold", [1, 2, 3])
def test_splits_share_no_subject_and_lose_none(fold):
    splits = split_subjects(SUBJECT_FOLDS, fold)
    everyone = splits["train"] + splits["validation"] + splits["test"]
    assert sorted(everyone) == sorted(SUBJECT_FOLDS)


@pytest.mark.parametrize("fold", [1, 2, 3])
def test_fold_k_tests_the_subjects_of_part_k(fold):
    assert {SUBJECT_FOLDS[subject] for subject in split_subjects(SUBJECT_FOLDS, fold)["test"]} == {fold}


def test_validation_subjects_are_the_stated_share_of_the_training_parts():
    splits = split_subjects(SUBJECT_FOLDS, 1)
    assert len(splits["validation"]) == round(VALIDATION_SHARE * 40)


def test_the_only_subject_that_is_not_tested_is_for_training():
    assert split_subjects({"A": 1, "B": 2}, 1) == {"train": ["B"], "validation": [], "test": ["A"]}


def test_splits_do_not_depend_on_the_order_of_the_subjects():
    reordered = dict(sorted(SUBJECT_FOLDS.items(), reverse=True))
    assert split_subjects(reordered, 2) == split_subjects(SUBJECT_FOLDS, 2)


def test_a_fold_that_does_not_exist_is_refused_with_those_that_do():
    with pytest.raises(ValueError, match="`fold` is 4, but this data set has the folds 1, 2, 3"):
        split_subjects(SUBJECT_FOLDS, 4)


def test_an_unknown_split_is_refused_with_those_that_exist():
    with pytest.raises(ValueError, match="`split` is 'dev', but it must be one of train, validation, test"):
        check_split("dev")


@pytest.mark.parametrize("fold", [1, 2])
def test_subjects_of_part_0_are_never_tested(fold):
    subject_parts = {"A": 0, "B": 0, "C": 1, "D": 2}
    splits = split_subjects(subject_parts, fold)
    assert {"A", "B"} <= {*splits["train"], *splits["validation"]}
    assert folds_of(subject_parts) == [1, 2]
    with pytest.raises(ValueError, match="`fold` is 0, but this data set has the folds 1, 2"):
        split_subjects(subject_parts, 0)


def test_customary_validation_subjects_are_taken_instead_of_carved_ones():
    splits = split_subjects(SUBJECT_FOLDS, 1, validation_subjects=("S001", "S004", "S000", "nobody"))
    # S000 is in part 1, which is tested.
    assert splits["validation"] == ["S001", "S004"]
    assert len(splits["train"]) == 40 - 2


def test_gft_has_its_official_split_and_no_other():
    gft = AU_DATASETS["gft"]
    splits = split_set("gft", gft.parts, fold=1)
    assert {split: len(subjects) for split, subjects in splits.items()} == {"train": 60, "validation": 18, "test": 18}
    assert {subject[:3] for subject in splits["test"]} == {"008", "010", "019", "022", "028", "030"}
    assert {subject[:3] for subject in splits["validation"]} == {"005", "012", "013", "015", "027", "032"}
    with pytest.raises(ValueError, match="`fold` is 2, but this data set has the folds 1"):
        split_set("gft", gft.parts, fold=2)


@pytest.mark.parametrize("name", ["bp4d", "disfa"])
@pytest.mark.parametrize("fold", [1, 2, 3])
def test_validation_subjects_of_other_sets_are_carved(name, fold):
    parts = AU_DATASETS[name].parts
    splits = split_set(name, parts, fold)
    assert splits == split_subjects(parts, fold)
    assert {parts[subject] for subject in splits["test"]} == {fold}


def test_subjects_are_named_and_many_are_counted():
    assert names_of_subjects({"M001", "F002", "F001"}) == "F001, F002, M001"
    assert names_of_subjects([f"{number:02d}" for number in range(23)], most=2) == "00, 01 and 21 more"

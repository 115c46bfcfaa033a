import pytest

from hiva_hf.data.folds import VALIDATION_SHARE, check_split, rows_of_subjects, split_subjects


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


def test_splits_do_not_depend_on_the_order_of_the_subjects():
    reordered = dict(sorted(SUBJECT_FOLDS.items(), reverse=True))
    assert split_subjects(reordered, 2) == split_subjects(SUBJECT_FOLDS, 2)


def test_a_fold_that_does_not_exist_is_refused_with_those_that_do():
    with pytest.raises(ValueError, match="`fold` is 4, but this data set has the folds 1, 2, 3"):
        split_subjects(SUBJECT_FOLDS, 4)


def test_an_unknown_split_is_refused_with_those_that_exist():
    with pytest.raises(ValueError, match="`split` is 'dev', but there are train, validation, test"):
        check_split("dev")


def test_rows_keep_their_order():
    assert rows_of_subjects(["b", "a", "c", "a"], ["a", "c"]) == [1, 2, 3]

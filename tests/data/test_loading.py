import datasets
import numpy as np
import pytest

import hiva_hf
from hiva_hf.data import AU_SETS, au_features, load_au_dataset


@pytest.fixture(scope="module")
def splits():
    return {split: load_au_dataset("synthfacs", split=split, fold=1) for split in ("train", "validation", "test")}


def test_the_embedded_set_is_a_datasets_dataset_in_the_common_schema(splits):
    assert isinstance(hiva_hf.load_au_dataset("synthfacs", split="train", fold=1), datasets.Dataset)
    assert splits["train"].features == au_features(len(AU_SETS["synthfacs"]))


def test_no_subject_is_in_two_splits(splits):
    train, validation, test = (set(splits[split]["subject"]) for split in ("train", "validation", "test"))
    assert not train & validation
    assert not train & test
    assert not validation & test


def test_the_test_split_is_the_asked_for_part(splits):
    assert set(splits["test"]["fold"]) == {1}
    assert 1 not in set(splits["train"]["fold"]) | set(splits["validation"]["fold"])


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_every_au_is_present_and_absent_in_every_split(splits, split):
    rates = np.array(splits[split]["labels"]).mean(axis=0)
    assert rates.shape == (len(AU_SETS["synthfacs"]),)
    assert (rates > 0).all()
    assert (rates < 1).all()


def test_labels_say_that_the_intensity_is_above_zero(splits):
    rows = splits["validation"]
    assert ((np.array(rows["intensities"]) > 0) == np.array(rows["labels"])).all()


def test_an_unknown_data_set_is_refused_with_those_that_exist():
    with pytest.raises(ValueError, match="There is no AU data set 'affectnet'. Known: .*synthfacs"):
        load_au_dataset("affectnet")


def test_a_folder_without_shards_is_refused_by_name(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"{tmp_path} holds no .parquet file"):
        load_au_dataset("synthfacs", data_dir=tmp_path)


def test_shards_with_another_number_of_labels_are_refused(tmp_path, splits):
    row = splits["test"].select([0]).to_dict()
    row["labels"], row["intensities"] = [[0, 1]], [[0, 3]]
    datasets.Dataset.from_dict(row, features=au_features(2)).to_parquet(tmp_path / "old.parquet")
    with pytest.raises(ValueError, match="have 2 labels for each face, but synthfacs has"):
        load_au_dataset("synthfacs", data_dir=tmp_path)

import os
import subprocess
import sys
from pathlib import Path

import datasets
import numpy as np
import pytest
from torch.utils.data import DataLoader

import hiva_hf
from hiva_hf.data import (
    AU_DATASETS,
    AU_SETS,
    MISSING_LABEL,
    au_features,
    au_numbers,
    load_au_dataset,
    load_au_datasets,
    push_prepared_to_hub,
    shared_aus,
)


BP4D_PARTS = {"F001": 1, "F002": 1, "F003": 2, "F005": 2, "F004": 3, "M003": 3, "M006": 3}
DISFA_PARTS = {"SN001": 1, "SN002": 1, "SN006": 2, "SN011": 2, "SN003": 3, "SN004": 3}
CUSTOM_AUS = (4, 12, 45)
SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def splits():
    return {split: load_au_dataset("synthfacs", split=split, fold=1) for split in ("train", "validation", "test")}


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, write_prepared):
    """Folders of small prepared sets, and the rows in them, by name."""
    root = tmp_path_factory.mktemp("prepared")
    rows = {
        "bp4d": write_prepared(root / "bp4d", "bp4d", BP4D_PARTS),
        "disfa": write_prepared(root / "disfa", "disfa", DISFA_PARTS),
        "gft": write_prepared(root / "gft", "gft", AU_DATASETS["gft"].parts, num_rows=2),
        "custom": write_prepared(root / "custom", "custom", {"a": 1, "b": 2, "c": 2, "d": 0}, aus=CUSTOM_AUS),
    }
    return {name: (root / name, rows[name]) for name in rows}


@pytest.fixture(scope="module")
def load(prepared, cache_dir):
    """[`load_au_dataset`] of a small prepared set."""

    def load_prepared(name, **options):
        return load_au_dataset(name, prepared[name][0], cache_dir=cache_dir, **options)

    return load_prepared


def plain(dataset):
    """Rows as they are stored, pictures encoded."""
    return list(dataset.cast_column("image", datasets.Image(decode=False)))


# The embedded set


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


def test_the_validation_subjects_stay_what_they_were(splits):
    assert " ".join(sorted(set(splits["validation"]["subject"]))) == (
        "S0009 S0017 S0063 S0080 S0081 S0083 S0104 S0108 S0126 S0134 S0135 S0140 "
        "S0155 S0156 S0161 S0162 S0167 S0173 S0204 S0210 S0218 S0221 S0227 S0239"
    )


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_every_au_is_present_and_absent_in_every_split(splits, split):
    rates = np.array(splits[split]["labels"]).mean(axis=0)
    assert rates.shape == (len(AU_SETS["synthfacs"]),)
    assert (rates > 0).all()
    assert (rates < 1).all()


def test_labels_say_that_the_intensity_is_above_zero(splits):
    rows = splits["validation"]
    assert ((np.array(rows["intensities"]) > 0) == np.array(rows["labels"])).all()


def test_shards_without_a_detector_score_get_nulls(splits):
    assert splits["test"]["detector_score"][:] == [None] * len(splits["test"])


def test_streaming_the_embedded_set_gives_the_same_rows(splits):
    streamed = load_au_dataset("synthfacs", split="validation", fold=1, streaming=True)
    assert isinstance(streamed, datasets.IterableDataset)
    assert plain(streamed) == plain(splits["validation"])


def test_a_stream_of_a_relative_folder_goes_on_after_the_folder_is_changed(splits, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("faces").mkdir()
    splits["test"].select([0, 1]).to_parquet("faces/some.parquet")
    streamed = load_au_dataset("synthfacs", data_dir="faces", split="test", fold=1, streaming=True)
    monkeypatch.chdir("faces")
    assert len(list(streamed)) == 2


def test_aus_may_be_an_array():
    aus = np.array([12, 1])
    streamed = load_au_dataset("synthfacs", split="test", aus=aus, streaming=True)
    stored = load_au_dataset("synthfacs", split="test", aus=aus)
    assert next(iter(streamed))["labels"] == stored[0]["labels"]
    assert len(stored[0]["labels"]) == 2


def test_a_folder_without_shards_is_refused_by_name(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"{tmp_path} holds no .parquet file"):
        load_au_dataset("synthfacs", data_dir=tmp_path)


def test_shards_with_another_number_of_labels_are_refused(tmp_path, splits):
    row = splits["test"].select([0]).to_dict()
    row["labels"], row["intensities"] = [[0, 1]], [[0, 3]]
    datasets.Dataset.from_dict(row, features=au_features(2)).to_parquet(tmp_path / "old.parquet")
    with pytest.raises(ValueError, match="has 2 labels for each face, but synthfacs has 20"):
        load_au_dataset("synthfacs", data_dir=tmp_path)


def test_shards_without_labels_are_refused(tmp_path):
    datasets.Dataset.from_dict({"text": ["a"]}).to_parquet(tmp_path / "texts.parquet")
    with pytest.raises(ValueError, match="texts.parquet has no column fold, .*labels.*, only text"):
        load_au_dataset("synthfacs", data_dir=tmp_path)


# Prepared sets


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("name", ["bp4d", "disfa", "custom"])
def test_the_splits_of_every_fold_give_each_prepared_row_once(prepared, load, name, streaming):
    rows = prepared[name][1]
    for fold in {row["fold"] for row in rows} - {0}:
        parts = {split: plain(load(name, fold=fold, split=split, streaming=streaming)) for split in SPLITS}
        loaded = [row for split in parts.values() for row in split]
        assert sorted(loaded, key=row_key) == sorted(rows, key=row_key)
        assert {row["fold"] for row in parts["test"]} == {fold}


def row_key(row):
    return row["subject"], row["task"], row["frame"]


def test_all_sets_have_one_schema(load):
    for name in ("bp4d", "disfa", "gft", "custom"):
        for streaming in (False, True):
            dataset = load(name, split="test", aus=(12, 4), streaming=streaming)
            assert dataset.features == au_features(2)
            assert dataset.column_names == list(au_features(2))


def test_a_split_knows_its_name(load):
    assert load("bp4d", split="validation").split == "validation"
    assert load("bp4d", split="validation", streaming=True).split == "validation"


def test_pictures_are_decoded(load):
    picture = load("bp4d", split="test")[0]["image"]
    assert (picture.size, picture.mode, picture.format) == ((16, 16), "RGB", "JPEG")


def test_all_folds_and_choices_of_aus_share_one_copy_on_disk(prepared, tmp_path):
    folder = prepared["bp4d"][0]
    files = set()
    for options in ({"fold": 1}, {"fold": 2, "split": "test"}, {"aus": (1, 45)}):
        dataset = load_au_dataset("bp4d", folder, cache_dir=tmp_path, **options)
        files |= {file["filename"] for file in dataset.cache_files}
    assert len(files) == 1


def test_gft_has_its_official_split(load):
    found = {split: set(load("gft", split=split)["subject"]) for split in SPLITS}
    assert found["test"] == {subject for subject, part in AU_DATASETS["gft"].parts.items() if part == 1}
    assert found["validation"] == set(AU_DATASETS["gft"].validation_subjects)
    assert len(found["train"]) == 60
    with pytest.raises(ValueError, match=r"`fold` is 2, but .*gft \(GFT\) has the folds 1"):
        load("gft", fold=2)


def test_custom_sets_bring_their_own_aus(prepared, load):
    assert au_numbers("custom", prepared["custom"][0]) == CUSTOM_AUS
    assert load("custom", split="test").features == au_features(3)


def test_au_numbers_are_those_of_the_label_columns(prepared):
    assert au_numbers("synthfacs") == AU_SETS["synthfacs"]
    assert au_numbers("disfa", prepared["disfa"][0]) == AU_SETS["disfa"]


def test_an_empty_split_is_told_with_the_subjects_there_are(tmp_path, write_prepared):
    write_prepared(tmp_path / "set", "bp4d", {"F001": 1, "F003": 2}, num_rows=2)
    options = {"data_dir": tmp_path / "set", "cache_dir": tmp_path / "cache"}
    assert set(load_au_dataset("bp4d", split="test", **options)["subject"]) == {"F001"}
    assert set(load_au_dataset("bp4d", split="train", **options)["subject"]) == {"F003"}
    complaint = r"The validation split of fold 1 is empty: .* BP4D: F001 \(part 1\), F003 \(part 2\). Validation needs"
    for streaming in (False, True):
        with pytest.raises(ValueError, match=complaint):
            load_au_dataset("bp4d", split="validation", streaming=streaming, **options)


def test_an_unknown_split_is_refused_before_anything_is_read():
    with pytest.raises(ValueError, match="`split` is 'dev', but it must be one of train, validation, test"):
        load_au_dataset("synthfacs", split="dev")


def test_a_shard_that_was_changed_after_the_preparation_is_named(tmp_path, write_prepared):
    write_prepared(tmp_path / "set", "bp4d", {"F001": 1, "F003": 2, "F004": 3}, num_rows=2)
    options = {"data_dir": tmp_path / "set", "cache_dir": tmp_path / "cache"}
    load_au_dataset("bp4d", **options)
    shard = tmp_path / "set/data/F003_T1-000.parquet"
    shard.write_bytes((tmp_path / "set/data/F003_T2-001.parquet").read_bytes())
    with pytest.raises(ValueError, match="F003_T1-000.parquet is not the file that dataset.json lists"):
        load_au_dataset("bp4d", **options)


def test_a_set_that_was_prepared_anew_is_loaded_anew(tmp_path, write_prepared):
    options = {"data_dir": tmp_path / "set", "cache_dir": tmp_path / "cache", "split": "test"}
    write_prepared(tmp_path / "set", "bp4d", {"F001": 1, "F003": 2, "F004": 3}, num_rows=2)
    assert len(load_au_dataset("bp4d", **options)) == 2
    rows = write_prepared(tmp_path / "set", "bp4d", {"F001": 1, "F003": 2, "F004": 3}, num_rows=4)
    assert plain(load_au_dataset("bp4d", **options)) == [row for row in rows if row["subject"] == "F001"]


def test_changed_plain_shards_are_loaded_anew(tmp_path, splits):
    rows = splits["test"].select(range(16))
    rows.to_parquet(tmp_path / "faces.parquet")
    options = {"data_dir": tmp_path, "cache_dir": tmp_path / "cache", "split": "test"}
    assert load_au_dataset("synthfacs", **options)["labels"][0] == rows["labels"][0]
    flipped = [[1 - label for label in row] for row in rows["labels"]]
    feature = rows.features["labels"]
    rows.remove_columns("labels").add_column("labels", flipped, feature=feature).to_parquet(tmp_path / "faces.parquet")
    assert load_au_dataset("synthfacs", **options)["labels"][0] == flipped[0]


# Other AUs, several sets


def test_labels_follow_the_asked_for_aus_exactly(prepared, load):
    wanted = (12, 9, 1)
    rows = {row_key(row): row for row in prepared["bp4d"][1]}
    places = {au: index for index, au in enumerate(AU_SETS["bp4d"])}
    for streaming in (False, True):
        for row in load("bp4d", split="test", aus=wanted, streaming=streaming):
            original = rows[row_key(row)]
            for column in ("labels", "intensities"):
                # BP4D has no AU9.
                expected = [original[column][places[12]], MISSING_LABEL, original[column][places[1]]]
                assert row[column] == expected


def test_an_au_outside_the_catalogue_is_refused():
    with pytest.raises(ValueError, match="`aus` has 3, which the FACS catalogue doesn't know"):
        load_au_dataset("synthfacs", aus=(1, 3))


@pytest.mark.parametrize("streaming", [False, True])
def test_several_sets_are_joined_over_all_their_aus(prepared, cache_dir, streaming):
    folders = {name: prepared[name][0] for name in ("bp4d", "disfa")}
    joined = load_au_datasets(folders, fold=2, split="test", streaming=streaming, cache_dir=cache_dir)
    union = sorted({*AU_SETS["bp4d"], *AU_SETS["disfa"]})
    assert joined.features == au_features(len(union))
    rows = list(joined)
    assert {row["subject"] for row in rows} == {"F003", "F005", "SN006", "SN011"}
    for row in rows:
        own = AU_SETS["disfa" if row["subject"].startswith("SN") else "bp4d"]
        lacking = [index for index, au in enumerate(union) if au not in own]
        assert lacking
        assert {row["labels"][index] for index in lacking} == {MISSING_LABEL}
        assert {row["labels"][index] for index in range(len(union)) if index not in lacking} > {0, 1}


def test_shared_aus_have_labels_in_every_set(prepared, cache_dir):
    shared = shared_aus(AU_SETS["bp4d"], AU_SETS["disfa"])
    assert shared == (1, 2, 4, 6, 12)
    folders = {name: prepared[name][0] for name in ("bp4d", "disfa")}
    labels = np.array(load_au_datasets(folders, aus=shared, cache_dir=cache_dir)["labels"])
    assert labels.shape[1] == 5
    assert (labels != MISSING_LABEL).any(axis=0).all()


def test_joined_sets_feed_a_data_loader(prepared, cache_dir):
    folders = {"bp4d": prepared["bp4d"][0], "synthfacs": None}
    joined = load_au_datasets(folders, split="test", aus=(12,), cache_dir=cache_dir).with_format("torch")
    loader = DataLoader(joined.select_columns(["labels", "fold"]), batch_size=64, num_workers=2, shuffle=True)
    assert sum(len(batch["labels"]) for batch in loader) == len(joined)


def test_a_subject_name_in_two_sets_is_refused(prepared, tmp_path, write_prepared):
    write_prepared(tmp_path / "other", "custom", {"z": 1, "c": 2}, num_rows=2, aus=(1,))
    pairs = [("custom", prepared["custom"][0]), ("disfa", prepared["disfa"][0]), ("custom", tmp_path / "other")]
    with pytest.raises(ValueError, match=f"Subject c is in {prepared['custom'][0]} and in {tmp_path / 'other'}"):
        load_au_datasets(pairs)


def test_joining_nothing_is_refused():
    with pytest.raises(ValueError, match="`sources` is empty"):
        load_au_datasets({})


def test_people_who_are_never_tested_are_all_for_training(tmp_path, write_prepared, cache_dir):
    write_prepared(tmp_path / "own", "custom", {"a": 0, "b": 0}, num_rows=2, aus=(1,))
    for fold in (1, 3):
        loaded = load_au_dataset("custom", tmp_path / "own", fold=fold, cache_dir=cache_dir)
        assert set(loaded["subject"]) == {"a", "b"}
    with pytest.raises(ValueError, match="The test split of fold 1 is empty"):
        load_au_dataset("custom", tmp_path / "own", split="test", cache_dir=cache_dir)
    with pytest.raises(ValueError, match="None of the people in .* is ever tested"):
        push_prepared_to_hub(tmp_path / "own", "org/own")


def test_each_of_several_sets_may_have_its_own_fold(prepared, cache_dir):
    pairs = [("bp4d", prepared["bp4d"][0]), ("gft", prepared["gft"][0])]
    joined = load_au_datasets(pairs, fold=[2, 1], split="test", aus=(12,), cache_dir=cache_dir)
    first, second = (
        load_au_dataset(*pair, fold=fold, split="test", cache_dir=cache_dir)
        for pair, fold in zip(pairs, (2, 1), strict=True)
    )
    assert joined["subject"] == [*first["subject"], *second["subject"]]
    with pytest.raises(ValueError, match="`fold` has 1 entries, but there are 2 data sets"):
        load_au_datasets(pairs, fold=[2])


def test_a_cache_that_can_not_be_written_is_named_with_what_helps(tmp_path):
    """As in containers whose user has no home."""
    (tmp_path / "a file").touch()
    script = "import hiva_hf; hiva_hf.load_au_dataset('synthfacs', split='train')"
    environment = os.environ | {"HF_HOME": "a file"}
    result = subprocess.run(
        [sys.executable, "-c", script], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert "Set HF_HOME to a writable folder" in result.stderr

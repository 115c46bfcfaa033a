import hashlib
import os
import pickle
from collections import Counter

import datasets
import pytest
from datasets.distributed import split_dataset_by_node
from torch.utils.data import DataLoader

from hiva_hf.data import AU_SETS, AUFaces, au_features
from hiva_hf.data.parquet import read_shard


PARTS = {"F001": 1, "F002": 1, "F003": 2, "F005": 2, "F004": 3, "M003": 3, "M006": 3}
ROWS_PER_SUBJECT = 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("prepared") / "bp4d"


@pytest.fixture(scope="module")
def rows(folder, write_prepared):
    return write_prepared(folder, "bp4d", PARTS, ROWS_PER_SUBJECT)


@pytest.fixture
def make_builder(folder, rows, tmp_path):
    """[`AUFaces`] of the small prepared set with a cache of its own."""
    return lambda **options: AUFaces("bp4d", folder, cache_dir=tmp_path / "cache", **options)


def keys(dataset):
    return [(row["subject"], row["task"], row["frame"]) for row in dataset]


def keys_of(rows, *parts):
    return [(row["subject"], row["task"], row["frame"]) for row in rows if row["fold"] in parts]


def read_by_workers(dataset, num_workers):
    loader = DataLoader(dataset.select_columns(["subject", "task", "frame"]), batch_size=None, num_workers=num_workers)
    return keys(loader)


# On disk


def test_download_and_prepare_gives_the_splits_of_a_fold(make_builder, rows):
    builder = make_builder(fold=2)
    builder.download_and_prepare()
    subjects = {split: set(faces["subject"]) for split, faces in builder.as_dataset().items()}
    assert subjects["test"] == {"F003", "F005"}
    assert subjects["train"] | subjects["validation"] == {"F001", "F002", "F004", "M003", "M006"}
    assert not subjects["train"] & subjects["validation"]
    assert keys(builder.as_dataset(split="test")) == keys_of(rows, 2)
    assert builder.info.features == au_features(len(AU_SETS["bp4d"]))


def test_without_a_fold_all_faces_are_in_one_split(make_builder, rows):
    builder = make_builder()
    builder.download_and_prepare()
    assert keys(builder.as_dataset(split="all")) == keys_of(rows, 1, 2, 3)
    assert keys(builder.as_streaming_dataset(split="all")) == keys_of(rows, 1, 2, 3)


def test_several_processes_build_the_same_rows_in_the_same_order(make_builder, rows):
    builder = make_builder()
    builder.download_and_prepare(num_proc=3)
    faces = builder.as_dataset(split="all")
    # One file for each process.
    assert len(faces.cache_files) == 3
    assert list(faces.cast_column("image", datasets.Image(decode=False))) == rows


def test_a_second_builder_finds_the_cache_of_the_first(make_builder):
    first = make_builder()
    first.download_and_prepare()
    arrow = first.as_dataset(split="all").cache_files[0]["filename"]
    built = os.stat(arrow).st_mtime_ns
    second = make_builder()
    second.download_and_prepare()
    assert second.cache_dir == first.cache_dir
    assert os.stat(arrow).st_mtime_ns == built


@pytest.mark.parametrize("options", [{"fold": 1}, {"aus": (1, 2)}, {"aus": (2, 1)}, {"fold": 1, "aus": (2, 1)}])
def test_other_folds_and_aus_have_other_caches(make_builder, options):
    assert make_builder(**options).cache_dir != make_builder().cache_dir


def test_a_changed_shard_is_built_anew(tmp_path, write_prepared):
    rows = write_prepared(tmp_path / "set", "bp4d", PARTS, num_rows=2)

    def labels():
        builder = AUFaces("bp4d", tmp_path / "set", cache_dir=tmp_path / "cache")
        builder.download_and_prepare()
        return builder.as_dataset(split="all")["labels"][:]

    assert labels() == [row["labels"] for row in rows]
    shard = tmp_path / "set/data/F001_T1-000.parquet"
    before = hashlib.sha256(shard.read_bytes()).hexdigest()
    flipped = [abs(label - 1) if label >= 0 else label for label in rows[0]["labels"]]
    faces = datasets.Dataset.from_parquet(str(shard), cache_dir=tmp_path / "other")
    faces.map(lambda row: {"labels": flipped}, features=faces.features).to_parquet(shard)
    manifest = tmp_path / "set/dataset.json"
    manifest.write_text(manifest.read_text().replace(before, hashlib.sha256(shard.read_bytes()).hexdigest()))
    assert labels() == [flipped, *(row["labels"] for row in rows[1:])]


def test_a_split_without_subjects_is_not_offered(tmp_path, write_prepared):
    write_prepared(tmp_path / "set", "bp4d", {"F001": 1, "F003": 2}, num_rows=2)
    builder = AUFaces("bp4d", tmp_path / "set", fold=1, cache_dir=tmp_path / "cache")
    builder.download_and_prepare()
    assert set(builder.as_dataset()) == {"train", "test"}
    with pytest.raises(ValueError, match="Bad split: validation. Available splits:"):
        builder.as_streaming_dataset(split="validation")


def test_unknown_folds_and_aus_are_refused(make_builder):
    with pytest.raises(ValueError, match="`fold` is 4"):
        make_builder(fold=4)
    with pytest.raises(ValueError, match="`aus` has 99"):
        make_builder(aus=(99,))


# Streaming


def test_streamed_splits_are_those_on_disk(make_builder):
    builder = make_builder(fold=3, aus=(24, 5, 1))
    builder.download_and_prepare()
    for split, faces in builder.as_dataset().items():
        streamed = builder.as_streaming_dataset(split=split)
        assert streamed.features == faces.features
        assert list(streamed.cast_column("image", datasets.Image(decode=False))) == list(
            faces.cast_column("image", datasets.Image(decode=False))
        )


def test_workers_see_each_row_once(make_builder, rows):
    streamed = make_builder().as_streaming_dataset(split="all")
    assert Counter(read_by_workers(streamed, num_workers=2)) == Counter(keys_of(rows, 1, 2, 3))


@pytest.mark.parametrize("fold", [1, None])
def test_two_nodes_of_two_workers_see_each_row_once(make_builder, rows, fold):
    builder = make_builder(fold=fold)
    names = ["all"] if fold is None else ["train", "validation", "test"]
    parts = [builder.as_streaming_dataset(split=name) for name in names]
    assert sum(part.num_shards for part in parts) == 14
    seen = Counter()
    for part in parts:
        for rank in range(2):
            node = split_dataset_by_node(part, rank=rank, world_size=2)
            seen.update(read_by_workers(node, num_workers=2))
    assert seen == Counter(keys_of(rows, 1, 2, 3))


def test_three_nodes_share_two_shards_row_by_row(make_builder, rows):
    faces = make_builder(fold=3).as_streaming_dataset(split="validation")
    assert faces.num_shards == 2
    seen = [read_by_workers(split_dataset_by_node(faces, rank, 3), num_workers=2) for rank in range(3)]
    assert Counter(key for part in seen for key in part) == Counter(keys(faces))


def test_shuffled_shards_still_give_each_row_once(make_builder, rows):
    streamed = make_builder().as_streaming_dataset(split="all").shuffle(seed=1, buffer_size=4)
    first = read_by_workers(streamed, num_workers=2)
    assert first != keys_of(rows, 1, 2, 3)
    assert Counter(first) == Counter(keys_of(rows, 1, 2, 3))


def test_a_stopped_stream_goes_on_where_it_was(make_builder, rows):
    streamed = make_builder().as_streaming_dataset(split="all").select_columns(["subject", "task", "frame"])
    iterator = iter(streamed)
    seen = keys(next(iterator) for _ in range(8))
    state = streamed.state_dict()
    resumed = make_builder().as_streaming_dataset(split="all").select_columns(["subject", "task", "frame"])
    resumed.load_state_dict(state)
    assert seen + keys(resumed) == keys_of(rows, 1, 2, 3)


def test_shards_can_be_made_smaller_for_more_workers(make_builder, rows):
    streamed = make_builder().as_streaming_dataset(split="all")
    smaller = streamed.reshard()
    # Three rows in row groups of two.
    assert (streamed.num_shards, smaller.num_shards) == (14, 28)
    assert Counter(keys(smaller)) == Counter(keys_of(rows, 1, 2, 3))


def test_the_embedded_set_is_split_into_row_groups(tmp_path):
    builder = AUFaces("synthfacs", fold=1, cache_dir=tmp_path)
    test = builder.as_streaming_dataset(split="test")
    train = builder.as_streaming_dataset(split="train")
    assert test.num_shards == 5
    assert train.num_shards == 10
    seen = Counter(read_by_workers(test, num_workers=2))
    assert len(seen) == 1280
    assert set(seen.values()) == {1}


def test_a_stream_goes_to_other_processes_by_pickle(make_builder, rows):
    streamed = pickle.loads(pickle.dumps(make_builder(fold=1).as_streaming_dataset(split="test")))
    assert keys(streamed) == keys_of(rows, 1)


def test_shards_are_read_in_batches_that_keep_to_row_groups(folder, rows):
    tables = list(read_shard(str(folder / "data/F001_T1-000.parquet")))
    assert [len(table) for table in tables] == [2, 1]
    only_second = list(read_shard(str(folder / "data/F001_T1-000.parquet"), row_groups=(1,)))
    assert [table["frame"].to_pylist() for table in only_second] == [[3]]


def test_large_row_groups_are_read_in_pieces(tmp_path, make_rows):
    rows = make_rows("S0001", 1, "single", 1000, (1, 12))
    faces = datasets.Dataset.from_list(rows, features=au_features(2))
    faces.to_parquet(tmp_path / "faces.parquet", batch_size=1000)
    tables = list(read_shard(str(tmp_path / "faces.parquet")))
    assert max(len(table) for table in tables) <= 256
    assert [frame for table in tables for frame in table["frame"].to_pylist()] == list(range(1, 1001))

"""A shard is trusted only if it is whole and made from just these inputs."""

import errno
import json
import os
import shutil
from dataclasses import asdict, replace
from io import BytesIO
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset

from hiva_hf.atomic_files import UNFINISHED_SUFFIX, write_bytes
from hiva_hf.data.bp4d import read_bp4d
from hiva_hf.data.frames import ImageFiles, VideoFile
from hiva_hf.data.raw import Problem, RawDataError, RawDataset, RawSequence
from hiva_hf.data.schema import au_features
from hiva_hf.data.shards import Chunk, ShardFolder, ShardState, cut_into_chunks, parquet_bytes


AUS = (1, 12)


def make_sequence(root, num_frames=4, subject="S1", source=None) -> RawSequence:
    frames = np.arange(1, num_frames + 1, dtype=np.int32)
    labels = np.stack([frames % 2, frames % 3 == 0], axis=1).astype(np.int8)
    source = source or ImageFiles({int(frame): root / f"{frame}.jpg" for frame in frames})
    return RawSequence(subject, "", 1, frames, labels, np.full_like(labels, -100), source)


def make_raw(root, *sequences, **fields) -> RawDataset:
    return replace(RawDataset("custom", AUS, root, sequences or (make_sequence(root),)), **fields)


@pytest.fixture
def make_table(make_rows):
    """Makes a shard's table with so many rows."""
    schema = au_features(len(AUS)).arrow_schema
    return lambda num_rows: pa.Table.from_pylist(make_rows("S1", 1, "", num_rows, AUS), schema=schema)


@pytest.fixture
def folder(tmp_path):
    folder = ShardFolder(tmp_path / "out")
    folder.create()
    return folder


@pytest.fixture
def chunk(tmp_path) -> Chunk:
    (chunk,) = cut_into_chunks(make_raw(tmp_path))
    return chunk


@pytest.fixture
def finished(folder, chunk, make_table) -> SimpleNamespace:
    """A folder with one finished shard."""
    num_bytes, sha256 = folder.write_rows(chunk.name, make_table(3))
    problem = Problem("no face", "4.jpg", "S1", "", 4)
    state = ShardState(chunk.fingerprint, 3, num_bytes, sha256, (problem,), {"decode": 0.5})
    folder.write_state(chunk.name, state)
    return SimpleNamespace(folder=folder, chunk=chunk, state=state)


# Chunks


def test_chunks_hold_every_frame_once_and_a_thousand_at_most(tmp_path):
    chunks = cut_into_chunks(make_raw(tmp_path, make_sequence(tmp_path, 2500)))
    assert [chunk.name for chunk in chunks] == ["S1-000", "S1-001", "S1-002"]
    assert [len(chunk) for chunk in chunks] == [1000, 1000, 500]
    whole = make_sequence(tmp_path, 2500)
    for name in ("frames", "labels", "intensities"):
        parts = [getattr(chunk.sequence, name) for chunk in chunks]
        assert np.array_equal(np.concatenate(parts), getattr(whole, name))


def test_a_chunk_of_picture_files_has_its_own_only(tmp_path):
    chunks = cut_into_chunks(make_raw(tmp_path, make_sequence(tmp_path, 1002)))
    assert list(chunks[1].sequence.source.paths) == [1001, 1002]


def test_two_recordings_of_one_name_are_refused(tmp_path):
    first = replace(make_sequence(tmp_path), subject="S1_T1")
    second = replace(make_sequence(tmp_path), task="T1")
    with pytest.raises(RawDataError, match="S1_T1-000"):
        cut_into_chunks(make_raw(tmp_path, first, second))


# Fingerprints


def edited(sequence: RawSequence, name: str, value: int) -> RawSequence:
    array = getattr(sequence, name).copy()
    array[-1] = value
    return replace(sequence, **{name: array})


@pytest.mark.parametrize(
    "edit",
    [
        pytest.param(lambda sequence: edited(sequence, "labels", -100), id="label"),
        pytest.param(lambda sequence: edited(sequence, "intensities", 5), id="intensity"),
        pytest.param(lambda sequence: edited(sequence, "frames", 9), id="frame"),
        pytest.param(lambda sequence: replace(sequence, part=2), id="part"),
        pytest.param(lambda sequence: replace(sequence, task="T1"), id="task"),
    ],
)
def test_a_fingerprint_tells_every_field_of_a_sequence(tmp_path, chunk, edit):
    (other,) = cut_into_chunks(make_raw(tmp_path, edit(make_sequence(tmp_path))))
    assert other.fingerprint != chunk.fingerprint


@pytest.mark.parametrize("fields", [{"settings": {"threshold": 3}}, {"aus": (1, 2)}])
def test_a_fingerprint_tells_the_settings(tmp_path, chunk, fields):
    (other,) = cut_into_chunks(make_raw(tmp_path, **fields))
    assert other.fingerprint != chunk.fingerprint


def test_a_fingerprint_tells_which_picture_belongs_to_which_frame(tmp_path, chunk):
    paths = chunk.sequence.source.paths
    swapped = make_sequence(tmp_path, source=ImageFiles({**paths, 1: paths[2], 2: paths[1]}))
    (other,) = cut_into_chunks(make_raw(tmp_path, swapped))
    assert other.fingerprint != chunk.fingerprint


def test_a_fingerprint_tells_where_a_video_starts(tmp_path):
    sources = (VideoFile(tmp_path / "a.avi", first) for first in (0, 1))
    raws = (make_raw(tmp_path, make_sequence(tmp_path, source=source)) for source in sources)
    first, second = (cut_into_chunks(raw)[0].fingerprint for raw in raws)
    assert first != second


@pytest.mark.parametrize("change", ["size", "time", "vanished", "appeared"])
def test_a_changed_file_changes_the_fingerprint_of_its_sequence_alone(tmp_path, make_bp4d_tree, change):
    tree = make_bp4d_tree(tmp_path / "raw", missing=[("F001", "T2", 2)])
    before = {chunk.name: chunk.fingerprint for chunk in cut_into_chunks(read_bp4d(tree.root))}
    pictures = tree.root / "Sequences(2D+3D)/F001/T2"
    path = pictures / "3.jpg"
    time = path.stat().st_mtime_ns
    if change == "size":
        path.write_bytes(path.read_bytes() + b"more")
        os.utime(path, ns=(time, time))
    elif change == "time":
        os.utime(path, ns=(time + 1, time + 1))
    elif change == "vanished":
        path.unlink()
    else:
        shutil.copy2(path, pictures / "2.jpg")
    after = {chunk.name: chunk.fingerprint for chunk in cut_into_chunks(read_bp4d(tree.root))}
    assert {name for name in before if before[name] != after[name]} == {"F001_T2-000"}


def test_moved_raw_data_keep_their_fingerprints(tmp_path, make_bp4d_tree):
    tree = make_bp4d_tree(tmp_path / "raw")
    before = [chunk.fingerprint for chunk in cut_into_chunks(read_bp4d(tree.root))]
    tree.root.rename(tmp_path / "moved")
    assert [chunk.fingerprint for chunk in cut_into_chunks(read_bp4d(tmp_path / "moved"))] == before


# Trust


def test_a_finished_shard_is_known_with_everything_that_was_noted(finished):
    assert finished.folder.finished(finished.chunk) == finished.state


def test_a_shard_without_rows_has_no_file_and_is_finished(folder, chunk, make_table):
    folder.parquet_path(chunk.name).write_bytes(b"from before")
    num_bytes, sha256 = folder.write_rows(chunk.name, make_table(0))
    folder.write_state(chunk.name, ShardState(chunk.fingerprint, 0, num_bytes, sha256))
    assert not folder.parquet_path(chunk.name).exists()
    assert folder.finished(chunk).num_rows == 0


def test_a_shard_of_other_inputs_is_not_trusted(finished):
    assert finished.folder.finished(replace(finished.chunk, fingerprint="other")) is None


def test_a_shard_without_a_note_is_not_trusted(finished):
    finished.folder.forget(finished.chunk.name)
    assert finished.folder.finished(finished.chunk) is None


def test_a_note_without_a_shard_is_not_trusted(finished):
    finished.folder.parquet_path(finished.chunk.name).unlink()
    assert finished.folder.finished(finished.chunk) is None


def test_a_shard_that_was_cut_short_is_not_trusted(finished):
    path = finished.folder.parquet_path(finished.chunk.name)
    path.write_bytes(path.read_bytes()[:-1])
    assert finished.folder.finished(finished.chunk) is None


@pytest.mark.parametrize("note", [b"", b"{", b"[]", b"null", b"{}", b'{"problems": 3}', b"\xff"])
def test_a_damaged_note_is_not_trusted(finished, note):
    finished.folder.state_path(finished.chunk.name).write_bytes(note)
    assert finished.folder.finished(finished.chunk) is None


def test_a_note_with_other_fields_is_not_trusted(finished):
    note = asdict(finished.state) | {"new": 1}
    finished.folder.state_path(finished.chunk.name).write_text(json.dumps(note), encoding="utf-8")
    assert finished.folder.finished(finished.chunk) is None


def test_what_a_killed_run_was_writing_is_removed(finished):
    folder = finished.folder
    leftovers = [
        path.with_name(path.name + UNFINISHED_SUFFIX) for path in (folder.parquet_path("a"), folder.state_path("a"))
    ]
    for leftover in leftovers:
        leftover.write_bytes(b"half")
    folder.remove_leftovers()
    assert not any(leftover.exists() for leftover in leftovers)
    assert folder.names() == [finished.chunk.name]


# Files


def test_datasets_restores_the_features_from_a_shard(finished, make_table, tmp_path):
    path = finished.folder.parquet_path(finished.chunk.name)
    dataset = Dataset.from_parquet(str(path), cache_dir=str(tmp_path / "cache"))
    assert dataset.features == au_features(2)
    assert dataset.remove_columns("image")[2] == make_table(3).drop_columns("image").to_pylist()[2]


def test_row_groups_are_small_enough_for_streaming(make_table):
    file = pq.ParquetFile(BytesIO(parquet_bytes(make_table(250))))
    assert [file.metadata.row_group(index).num_rows for index in range(3)] == [100, 100, 50]


def test_a_file_that_can_not_be_written_leaves_the_old_one_alone(tmp_path):
    path = tmp_path / "file"
    write_bytes(path, b"old")
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError) as caught:
            write_bytes(path, bytes(2000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.errno == errno.EFBIG
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["file"]

"""Whatever happens to a run, the folder ends with the same files, and nothing half-done is ever trusted."""

import io
import json
import multiprocessing
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterable
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pyarrow.parquet as pq
import pytest
from datasets import Dataset
from filelock import FileLock
from PIL import Image

from hiva_hf.data import shards
from hiva_hf.data.bp4d import read_bp4d
from hiva_hf.data.crops import ChunkPreparer, read_pictures
from hiva_hf.data.disfa import read_disfa
from hiva_hf.data.frames import ImageFiles, VideoFile
from hiva_hf.data.prepare import OutputFolderError, PreparationError, prepare
from hiva_hf.data.raw import RawDataError, RawDataset, RawSequence
from hiva_hf.data.schema import au_features
from hiva_hf.data.workers import group_chunks
from hiva_hf.face_detection import DetectedFace


SEQUENCES = {("F001", "T1"): range(2440, 2444), ("F001", "T2"): range(1, 3), ("F003", "T1"): range(1, 5)}
FACELESS, TRUNCATED, MISSING = ("F001", "T1", 2441), ("F003", "T1", 3), ("F003", "T1", 4)


@pytest.fixture
def make_tree(make_bp4d_tree, tmp_path):
    """The same small release in a folder of the test's own."""

    def make():
        return make_bp4d_tree(
            tmp_path / "raw", SEQUENCES, faceless=[FACELESS], truncated=[TRUNCATED], missing=[MISSING]
        )

    return make


@pytest.fixture(scope="module")
def long_tree(make_bp4d_tree, tmp_path_factory):
    """Enough shards for being interrupted half-way."""
    sequences = {(subject, f"T{task}"): range(1, 4) for subject in ("F001", "F003", "M003") for task in range(1, 7)}
    return make_bp4d_tree(tmp_path_factory.mktemp("long"), sequences)


@pytest.fixture(scope="module")
def long_files(long_tree, tmp_path_factory):
    """What one process makes of `long_tree` without an interruption."""
    output_dir = tmp_path_factory.mktemp("long-out")
    prepare(read_bp4d(long_tree.root), output_dir, num_proc=1)
    return contents(output_dir)


def contents(output_dir: Path) -> dict[str, bytes]:
    """All files that depend on the data alone."""
    paths = (*output_dir.glob("data/*"), *output_dir.glob("report.*"), output_dir / "dataset.json")
    return {path.relative_to(output_dir).as_posix(): path.read_bytes() for path in paths}


def shard_times(output_dir: Path) -> dict[str, list[tuple[int, int]]]:
    """Inode and time of the files of each finished shard: they tell whether it was touched."""
    notes = sorted(output_dir.glob("state/*.json"))
    files = {note.stem: (note, output_dir / f"data/{note.stem}.parquet") for note in notes}
    return {
        name: [(path.stat().st_ino, path.stat().st_mtime_ns) for path in paths if path.exists()]
        for name, paths in files.items()
    }


def rows_of(output_dir: Path) -> list[dict]:
    return [row for path in sorted(output_dir.glob("data/*")) for row in pq.read_table(path).to_pylist()]


def decode(row: dict) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(row["image"]["bytes"])))


def write_video(path: Path, picture: Image.Image, brightness: Iterable[float]) -> None:
    """Shows one picture, each time with another brightness."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=20)
        (stream.width, stream.height), stream.pix_fmt, stream.bit_rate = picture.size, "yuv420p", 4_000_000
        for factor in brightness:
            shown = picture.point(lambda level, factor=factor: level * factor)
            container.mux(stream.encode(av.VideoFrame.from_image(shown)))
        container.mux(stream.encode())


@contextmanager
def once_some_are_done(output_dir: Path, action):
    """Calls `action` from another thread as soon as two shards are finished."""

    def watch():
        deadline = time.monotonic() + 120
        while len(list(output_dir.glob("state/*.json"))) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        action()

    watcher = threading.Thread(target=watch)
    watcher.start()
    yield
    watcher.join()


@contextmanager
def once_workers_run(action):
    """Calls `action` with two worker processes from another thread as soon as they were started."""

    def watch():
        deadline = time.monotonic() + 60
        while len(multiprocessing.active_children()) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        action(multiprocessing.active_children())

    watcher = threading.Thread(target=watch)
    watcher.start()
    yield
    watcher.join()


@contextmanager
def largest_file(num_bytes: int):
    """The disk seems to be full for whoever writes more into one file."""
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


# Rows


def test_every_labelled_frame_with_a_face_becomes_the_row_that_it_should(make_tree, tmp_path):
    tree = make_tree()
    prepare(read_bp4d(tree.root), tmp_path / "out", num_proc=1)
    rows = rows_of(tmp_path / "out")
    found = {(row["subject"], row["task"], row["frame"]): row for row in rows}
    assert len(rows) == len(found)
    assert list(found) == list(tree.prepared_rows)
    for key, expected in tree.prepared_rows.items():
        assert tuple(found[key]["labels"]) == expected.labels
        assert tuple(found[key]["intensities"]) == expected.intensities
        assert found[key]["fold"] == tree.parts[key[0]]
        assert 0.5 < found[key]["detector_score"] <= 1


def test_frames_that_give_no_row_are_named_with_the_reason(make_tree, tmp_path):
    tree = make_tree()
    report = prepare(read_bp4d(tree.root), tmp_path / "out", num_proc=1)
    found = {(problem.subject, problem.task, problem.frame): problem for problem in report.problems}
    assert {key: problem.kind for key, problem in found.items()} == tree.failures
    assert found[FACELESS].where == "Sequences(2D+3D)/F001/T1/2441.jpg"
    assert found[TRUNCATED].where == "Sequences(2D+3D)/F003/T1/3.jpg"
    assert found[MISSING].where == "Sequences(2D+3D)/F003/T1"
    assert str(tmp_path) not in (tmp_path / "out/report.json").read_text()
    assert str(tmp_path) not in (tmp_path / "out/report.txt").read_text()


def test_datasets_reads_the_shards_with_their_features(make_tree, tmp_path):
    prepare(read_bp4d(make_tree().root), tmp_path / "out", num_proc=1)
    files = [str(path) for path in sorted((tmp_path / "out/data").iterdir())]
    dataset = Dataset.from_parquet(files, cache_dir=str(tmp_path / "cache"))
    assert dataset.features == au_features(12)
    assert len(dataset) == 7
    assert dataset[0]["image"].size == (256, 256)


def test_each_row_has_the_picture_of_its_own_frame(pictures, tmp_path):
    brightness = {10: 0.6, 11: 1.0, 12: 0.7, 15: 0.9}
    face = pictures.draw_picture("S1", (90, 90, 90))
    for frame, factor in brightness.items():
        face.point(lambda level, factor=factor: level * factor).save(tmp_path / f"{frame}.png")
    frames = np.array(list(brightness), dtype=np.int32)
    labels = np.ones((4, 1), np.int8)
    source = ImageFiles({frame: tmp_path / f"{frame}.png" for frame in brightness})
    sequence = RawSequence("S1", "", 1, frames, labels, labels, source)
    prepare(RawDataset("custom", (12,), tmp_path, [sequence]), tmp_path / "out", num_proc=1)
    means = {row["frame"]: decode(row).mean() for row in rows_of(tmp_path / "out")}
    assert list(means) == list(brightness)
    for frame, factor in brightness.items():
        assert means[frame] == pytest.approx(factor * means[11], rel=0.02)


def test_crops_are_upright_faces_of_256_pixels_with_full_colour_resolution(make_tree, tmp_path):
    prepare(read_bp4d(make_tree().root), tmp_path / "out", num_proc=1)
    image = Image.open(io.BytesIO(rows_of(tmp_path / "out")[0]["image"]["bytes"]))
    assert image.size == (256, 256)
    assert {layer[1:3] for layer in image.layer} == {(1, 1)}
    image.save(tmp_path / "same-quality.jpg", quality=95)
    assert image.quantization == Image.open(tmp_path / "same-quality.jpg").quantization


def test_of_several_faces_the_largest_is_taken(pictures, tmp_path):
    face = pictures.draw_picture("S1", (90, 90, 90))
    both = Image.new("RGB", (640, 480), "gray")
    both.paste(face.point(lambda level: level * 0.5), (0, 0))
    both.paste(face.resize((480, 360)), (160, 120))
    both.save(tmp_path / "1.png")
    face.save(tmp_path / "2.png")
    frames, labels = np.array([1, 2], dtype=np.int32), np.ones((2, 1), np.int8)
    source = ImageFiles({frame: tmp_path / f"{frame}.png" for frame in (1, 2)})
    raw = RawDataset("custom", (12,), tmp_path, [RawSequence("S1", "", 1, frames, labels, labels, source)])
    prepare(raw, tmp_path / "out", num_proc=1)
    # The small face is half as bright. Only the middle of the crops is the same face and nothing else.
    both_crop, alone_crop = (decode(row)[64:192, 64:192].mean() for row in rows_of(tmp_path / "out"))
    assert both_crop == pytest.approx(alone_crop, rel=0.1)


def test_landmarks_that_form_no_face_count_as_no_face(make_tree, tmp_path):
    tree = make_tree()
    folder = shards.ShardFolder(tmp_path)
    folder.create()
    preparer = ChunkPreparer(folder, tree.root, 12)
    preparer.detector = lambda image: [DetectedFace((0.0, 0.0, 9.0, 9.0), 0.9, np.zeros((5, 2)))]
    chunk = shards.cut_into_chunks(read_bp4d(tree.root))[1]
    state = preparer(chunk, read_pictures([chunk]), lambda: None)
    assert state.num_rows == 0
    assert [(problem.kind, problem.frame) for problem in state.problems] == [("no face", 1), ("no face", 2)]
    assert "do not form a face" in state.problems[0].detail


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_a_picture_whose_name_is_no_text_can_be_prepared(make_disfa_tree, tmp_path):
    tree = make_disfa_tree(tmp_path / "raw", {"SN001": 2, "SN003": 2}, pictures="frames/{subject}/{number}.jpg")
    picture = tree.root / "frames/SN001/1.jpg"
    os.rename(picture, os.fsencode(picture.parent) + b"/b\xe9b\xe9 1.jpg")
    (tree.root / "frames/SN003/1.jpg").rename(os.fsdecode(os.fsencode(tree.root) + b"/frames/SN003/\xe9 1.jpg"))
    next((tree.root / "frames/SN003").glob("* 1.jpg")).write_bytes(b"no picture")
    report = prepare(read_disfa(tree.root), tmp_path / "out", num_proc=1)
    assert [problem.where for problem in report.problems] == ["frames/SN003/\\xe9 1.jpg"]
    assert len(rows_of(tmp_path / "out")) == len(tree.prepared_rows) - 1


def test_frames_of_a_video_become_rows(make_disfa_tree, tmp_path):
    tree = make_disfa_tree(tmp_path / "raw", {"SN001": 4, "SN003": 3}, short_video=["SN003"])
    report = prepare(read_disfa(tree.root), tmp_path / "out", num_proc=1)
    rows = {(row["subject"], row["task"], row["frame"]): row for row in rows_of(tmp_path / "out")}
    assert list(rows) == list(tree.prepared_rows)
    assert all(tuple(rows[key]["intensities"]) == row.intensities for key, row in tree.prepared_rows.items())
    assert [(problem.kind, problem.frame) for problem in report.problems] == [("missing frame", 3)]


def test_each_chunk_of_a_video_has_its_own_frames_however_much_of_it_is_prepared(pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "FRAMES_PER_SHARD", 3)
    brightness = {frame: 1 - 0.05 * frame for frame in range(8)}
    write_video(tmp_path / "S1.avi", pictures.draw_picture("S1", (90, 90, 90)), brightness.values())
    frames = np.array([0, 1, 2, 3, 4, 6, 7], dtype=np.int32)
    labels = np.ones((7, 1), np.int8)
    sequence = RawSequence("S1", "", 1, frames, labels, labels, VideoFile(tmp_path / "S1.avi", first_frame=0))
    raw = RawDataset("custom", (12,), tmp_path, [sequence])
    prepare(raw, tmp_path / "out", num_proc=1)
    assert sorted(shard_times(tmp_path / "out")) == ["S1-000", "S1-001", "S1-002"]
    means = {row["frame"]: decode(row).mean() for row in rows_of(tmp_path / "out")}
    assert list(means) == frames.tolist()
    for frame, mean in means.items():
        assert mean == pytest.approx(brightness[frame] * means[0], rel=0.02)
    whole = contents(tmp_path / "out")
    (tmp_path / "out/state/S1-001.json").unlink()
    prepare(raw, tmp_path / "out", num_proc=1)
    assert contents(tmp_path / "out") == whole


@pytest.mark.parametrize(("num_proc", "expected"), [(1, [3, 3, 3, 3]), (2, [1] * 12)])
def test_a_video_is_decoded_once_unless_processes_would_wait_for_it(tmp_path, monkeypatch, num_proc, expected):
    monkeypatch.setattr(shards, "FRAMES_PER_SHARD", 2)
    frames, labels = np.arange(6, dtype=np.int32), np.ones((6, 1), np.int8)
    names = ["S1", "S2", "S3", "S4"]
    sequences = [RawSequence(name, "", 1, frames, labels, labels, VideoFile(tmp_path / name)) for name in names]
    chunks = shards.cut_into_chunks(RawDataset("custom", (12,), tmp_path, sequences))
    groups = group_chunks(chunks, num_proc)
    assert [len(group) for group in groups] == expected
    assert [chunk for group in groups for chunk in group] == chunks


def test_chunks_of_picture_files_are_dealt_out_one_by_one(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "FRAMES_PER_SHARD", 2)
    frames, labels = np.arange(6, dtype=np.int32), np.ones((6, 1), np.int8)
    source = ImageFiles({frame: tmp_path / f"{frame}.jpg" for frame in range(6)})
    chunks = shards.cut_into_chunks(
        RawDataset("custom", (12,), tmp_path, [RawSequence("S1", "", 1, frames, labels, labels, source)])
    )
    assert [len(group) for group in group_chunks(chunks, 1)] == [1, 1, 1]


# The folder


def test_the_list_of_shards_tells_what_each_of_them_holds(make_tree, tmp_path):
    prepare(read_bp4d(make_tree().root), tmp_path / "out", num_proc=1)
    listed = json.loads((tmp_path / "out/dataset.json").read_text())
    assert (listed["name"], listed["title"], listed["num_rows"]) == ("bp4d", "BP4D", 7)
    assert listed["settings"] == {"frame_offset": 0}
    found = {shard["file"]: (shard["subject"], shard["task"], shard["fold"]) for shard in listed["shards"]}
    assert found == {
        "data/F001_T1-000.parquet": ("F001", "T1", 1),
        "data/F001_T2-000.parquet": ("F001", "T2", 1),
        "data/F003_T1-000.parquet": ("F003", "T1", 2),
    }
    assert [shard["num_rows"] for shard in listed["shards"]] == [3, 2, 2]


def test_a_recording_without_any_face_is_finished_and_not_listed(make_bp4d_tree, tmp_path):
    sequences = {("F001", "T1"): range(1, 3), ("F001", "T2"): range(1, 3)}
    tree = make_bp4d_tree(tmp_path / "raw", sequences, faceless=[("F001", "T1", 1), ("F001", "T1", 2)])
    prepare(read_bp4d(tree.root), tmp_path / "out", num_proc=1)
    listed = json.loads((tmp_path / "out/dataset.json").read_text())
    assert [shard["file"] for shard in listed["shards"]] == ["data/F001_T2-000.parquet"]
    before = shard_times(tmp_path / "out")
    prepare(read_bp4d(tree.root), tmp_path / "out", num_proc=1)
    assert shard_times(tmp_path / "out") == before


def test_a_finished_folder_is_left_alone(make_tree, tmp_path):
    tree = make_tree()
    prepare(read_bp4d(tree.root), tmp_path / "out", num_proc=1)
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.*") if path.name != ".lock"}
    prepare(read_bp4d(tree.root), tmp_path / "out", num_proc=1)
    assert {path: path.stat().st_mtime_ns for path in times} == times


def test_the_timing_tells_the_share_of_each_stage(make_tree, tmp_path):
    prepare(read_bp4d(make_tree().root), tmp_path / "out", num_proc=1)
    timing = json.loads((tmp_path / "out/timing.json").read_text())
    assert list(timing["all_shards"]["share"]) == ["decode", "detect", "align", "encode", "write"]
    assert sum(timing["all_shards"]["share"].values()) == pytest.approx(1, abs=0.001)
    assert timing["last_run"]["frames"] == 10


# Changes


@pytest.mark.parametrize("change", ["label", "picture"])
def test_changed_raw_data_redo_their_shard_alone(make_tree, tmp_path, change):
    tree = make_tree()
    prepare(read_bp4d(tree.root), tmp_path / "out", num_proc=1)
    before, rows = shard_times(tmp_path / "out"), rows_of(tmp_path / "out")
    pictures = tree.root / "Sequences(2D+3D)/F001"
    if change == "picture":
        (pictures / "T2/1.jpg").write_bytes((pictures / "T1/2440.jpg").read_bytes())
    else:
        table = tree.root / "AUCoding/AU_OCC/F001_T2.csv"
        header, first, second = table.read_text().splitlines()
        cells = first.split(",")
        cells[1] = "9"
        table.write_text("\n".join([header, ",".join(cells), second, ""]))
    prepare(read_bp4d(tree.root), tmp_path / "out", num_proc=1)
    after = shard_times(tmp_path / "out")
    assert {name for name in before if after[name] != before[name]} == {"F001_T2-000"}
    differing = [old["frame"] for old, new in zip(rows, rows_of(tmp_path / "out"), strict=True) if old != new]
    assert differing == [1]


@pytest.mark.parametrize("kind", ["pictures", "video"])
def test_a_disk_that_drops_out_costs_no_frame(make_tree, make_disfa_tree, tmp_path, monkeypatch, kind):
    if kind == "pictures":
        raw, place = read_bp4d(make_tree().root), tmp_path / "raw/Sequences(2D+3D)"
    else:
        tree = make_disfa_tree(tmp_path / "raw", {"SN001": 2, "SN003": 2})
        raw, place = read_disfa(tree.root), next(tree.root.rglob("*SN003*.avi"))
    prepare(raw, tmp_path / "undisturbed", num_proc=1)

    def drop_out(preparer, sequence, index, *others):
        if index == 1:
            place.rename(tmp_path / "unplugged")
        return make_row(preparer, sequence, index, *others)

    make_row = ChunkPreparer._row
    monkeypatch.setattr(ChunkPreparer, "_row", drop_out)
    with pytest.raises(PreparationError, match="was there when the preparation began and is gone.*same command"):
        prepare(raw, tmp_path / "out", num_proc=1)
    monkeypatch.undo()
    (tmp_path / "unplugged").rename(place)
    prepare(raw, tmp_path / "out", num_proc=1)
    assert contents(tmp_path / "out") == contents(tmp_path / "undisturbed")


def test_list_report_and_note_are_gone_as_long_as_a_shard_is_redone(make_tree, tmp_path):
    tree = make_tree()
    prepare(read_bp4d(tree.root), tmp_path / "out", num_proc=1)
    os.utime(tree.root / "Sequences(2D+3D)/F001/T1/2440.jpg")
    with largest_file(20_000), pytest.raises(PreparationError, match="2 of 3 shards"):
        prepare(read_bp4d(tree.root), tmp_path / "out", num_proc=1)
    assert not (tmp_path / "out/dataset.json").exists()
    assert not (tmp_path / "out/report.json").exists()
    assert not (tmp_path / "out/state/F001_T1-000.json").exists()


def test_a_forged_shard_is_replaced(make_tree, tmp_path):
    tree = make_tree()
    prepare(read_bp4d(tree.root), tmp_path / "whole", num_proc=1)
    forged = tmp_path / "out/data/F001_T1-000.parquet"
    forged.parent.mkdir(parents=True)
    shutil.copy(tmp_path / "whole/prepare.json", tmp_path / "out")
    forged.write_bytes((tmp_path / "whole/data/F001_T1-000.parquet").read_bytes()[:1000])
    prepare(read_bp4d(tree.root), tmp_path / "out", num_proc=1)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_other_settings_are_refused_with_both_spelled_out(make_tree, tmp_path):
    tree = make_tree()
    prepare(read_bp4d(tree.root), tmp_path / "out", num_proc=1)
    before = contents(tmp_path / "out")
    raw = replace(read_bp4d(tree.root), settings={"frame_offset": 1})
    with pytest.raises(OutputFolderError, match="started with.*'frame_offset': 0.*this run has.*'frame_offset': 1"):
        prepare(raw, tmp_path / "out", num_proc=1)
    assert contents(tmp_path / "out") == before


@pytest.mark.parametrize("claim", ["", "{", "3"])
def test_a_damaged_note_on_the_settings_is_refused(make_tree, tmp_path, claim):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/prepare.json").write_text(claim)
    with pytest.raises(OutputFolderError, match="damaged"):
        prepare(read_bp4d(make_tree().root), tmp_path / "out", num_proc=1)


def test_shards_of_recordings_that_are_gone_are_refused_by_name_before_any_work(make_tree, tmp_path):
    tree = make_tree()
    prepare(read_bp4d(tree.root), tmp_path / "out", num_proc=1)
    before = contents(tmp_path / "out")
    (tree.root / "AUCoding/AU_OCC/F001_T2.csv").unlink()
    with pytest.raises(OutputFolderError, match="F001_T2-000.*Restore"):
        prepare(read_bp4d(tree.root), tmp_path / "out", num_proc=1)
    assert contents(tmp_path / "out") == before


def test_the_folder_of_the_raw_data_is_refused(make_tree):
    tree = make_tree()
    with pytest.raises(OutputFolderError, match="raw data"):
        prepare(read_bp4d(tree.root), tree.root / "AUCoding" / "..", num_proc=1)
    assert not (tree.root / "prepare.json").exists()


@pytest.mark.parametrize("name", ["report.txt", "data/table.csv", "state/x"])
def test_a_folder_of_somebody_else_is_refused_and_left_alone(make_tree, tmp_path, name):
    path = tmp_path / "out" / name
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    with pytest.raises(OutputFolderError, match=f"no prepare.json.*holds {name.split('/')[0]}, which would"):
        prepare(read_bp4d(make_tree().root), tmp_path / "out", num_proc=1)
    assert [file for file in (tmp_path / "out").rglob("*") if file.is_file()] == [path]


def test_leftovers_of_others_are_left_alone(make_bp4d_tree, tmp_path):
    tree = make_bp4d_tree(tmp_path / "raw", {("F001", "T1"): range(1, 3)})
    (tmp_path / "out").mkdir()
    (tmp_path / "out/download.unfinished").write_text("mine")
    (tmp_path / "out/report.txt.unfinished").write_text("half")
    prepare(read_bp4d(tree.root), tmp_path / "out", num_proc=1)
    assert [path.name for path in (tmp_path / "out").rglob("*.unfinished")] == ["download.unfinished"]


def test_a_release_that_gives_no_row_is_no_data_set(make_bp4d_tree, tmp_path):
    frames = range(1, 3)
    lost = [("F001", "T1", frame) for frame in frames]
    tree = make_bp4d_tree(tmp_path / "raw", {("F001", "T1"): frames}, faceless=lost)
    for _ in range(2):
        with pytest.raises(PreparationError, match="None of the 2 labelled .*: 2 times no face. The first is .*1.jpg"):
            prepare(read_bp4d(tree.root), tmp_path / "out", num_proc=1)
        assert not (tmp_path / "out/dataset.json").exists()
    assert "F001 T1 frame 1" in (tmp_path / "out/report.txt").read_text()


def test_a_release_without_labelled_frames_is_refused(tmp_path):
    with pytest.raises(RawDataError, match="no labelled frame"):
        prepare(RawDataset("custom", (1,), tmp_path, []), tmp_path / "out", num_proc=1)


def test_less_than_one_process_is_refused(make_tree, tmp_path):
    with pytest.raises(ValueError, match="num_proc must be at least 1, got 0"):
        prepare(read_bp4d(make_tree().root), tmp_path / "out", num_proc=0)


# Failures


def test_a_second_run_into_the_same_folder_is_refused(make_tree, tmp_path):
    (tmp_path / "out").mkdir()
    with (
        FileLock(tmp_path / "out/.lock"),
        pytest.raises(OutputFolderError, match="Another run is preparing"),
    ):
        prepare(read_bp4d(make_tree().root), tmp_path / "out", num_proc=1)
    prepare(read_bp4d(make_tree().root), tmp_path / "out", num_proc=1)


def test_a_full_disk_is_told_with_what_is_done_and_the_same_call_goes_on(make_tree, tmp_path):
    tree = make_tree()
    prepare(read_bp4d(tree.root), tmp_path / "whole", num_proc=1)
    sizes = {path.stem: path.stat().st_size for path in (tmp_path / "whole/data").iterdir()}
    # The first shard is larger than both others.
    room = sorted(sizes.values())[-1] - 1
    raw = read_bp4d(tree.root)
    raw = replace(raw, sequences=raw.sequences[::-1])
    with largest_file(room), pytest.raises(PreparationError, match="disk is full.*F001_T1-000.*2 of 3 shards"):
        prepare(raw, tmp_path / "out", num_proc=1)
    assert not list((tmp_path / "out").rglob("*.unfinished"))
    before = shard_times(tmp_path / "out")
    assert set(before) == {"F001_T2-000", "F003_T1-000"}
    prepare(read_bp4d(tree.root), tmp_path / "out", num_proc=1)
    after = shard_times(tmp_path / "out")
    assert {name: after[name] for name in before} == before
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_a_disk_that_is_full_from_the_start_is_told(make_tree, tmp_path):
    raw = read_bp4d(make_tree().root)
    with largest_file(10), pytest.raises(PreparationError, match="disk is full"):
        prepare(raw, tmp_path / "out", num_proc=1)


def test_any_other_failure_names_the_shard(make_tree, tmp_path):
    raw = read_bp4d(make_tree().root)
    second = raw.sequences[1]
    broken = replace(second, labels=second.labels[:, :3])
    with pytest.raises(PreparationError, match="F001_T2-000 could not be made: .*1 of 2 shards"):
        prepare(replace(raw, sequences=[raw.sequences[0], broken]), tmp_path / "out", num_proc=1)


def test_an_interruption_says_how_to_go_on(long_tree, long_files, tmp_path):
    raw = read_bp4d(long_tree.root)
    with (
        once_some_are_done(tmp_path, lambda: os.kill(os.getpid(), signal.SIGINT)),
        pytest.raises(KeyboardInterrupt, match="of 18 shards are done.*same command"),
    ):
        prepare(raw, tmp_path, num_proc=1)
    assert not list(tmp_path.rglob("*.unfinished"))
    prepare(raw, tmp_path, num_proc=1)
    assert contents(tmp_path) == long_files


def test_the_death_of_a_worker_is_told_and_ends_the_others(long_tree, tmp_path):
    with (
        once_workers_run(lambda workers: workers[0].kill()),
        pytest.raises(PreparationError, match=r"worker process was killed.*\d+ of 18 shards are done.*--num_proc 1"),
    ):
        prepare(read_bp4d(long_tree.root), tmp_path, num_proc=2)
    assert not multiprocessing.active_children()


def test_an_interruption_of_all_processes_is_answered_by_the_first_alone(long_tree, tmp_path):
    def press_ctrl_c(workers):
        for worker in workers:
            os.kill(worker.pid, signal.SIGINT)
        # Were workers to end by it, the other error would come first.
        time.sleep(1)
        os.kill(os.getpid(), signal.SIGINT)

    with once_workers_run(press_ctrl_c), pytest.raises(KeyboardInterrupt, match=r"\d+ of 18 shards are done"):
        prepare(read_bp4d(long_tree.root), tmp_path, num_proc=2)
    assert not multiprocessing.active_children()

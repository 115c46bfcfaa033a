"""`hiva_hf.detect`: files in, a table out, which goes on after an interruption as if there had been none."""

import os
import shutil
import sys

import numpy as np
import pandas as pd
import pytest

import hiva_hf
from hiva_hf.inference import detection, read_table, records_of_frame
from hiva_hf.inference.job import DetectionJob
from hiva_hf.inference.records import table_columns
from hiva_hf.inference.writers import open_table


@pytest.fixture(scope="module")
def table(media, detector):
    return hiva_hf.detect(media, detector, batch_size=4, progress=False)


def test_every_face_of_every_file_has_a_row(table, media, detector):
    assert list(table.columns) == table_columns(detector.model.config.au_labels)
    assert table["source"].unique().tolist() == [str(media / name) for name in ("1.png", "2.mp4", "3.mp4", "4.jpg")]
    video = table[table["source"] == str(media / "2.mp4")]
    assert video.groupby("frame").size().tolist() == [2] * 4 + [1] * 4 + [2] * 6
    assert video["face_id"].unique().tolist() == [0, 1]
    # Faces keep their numbers: each stays on its side.
    middles = (video["xmin"] + video["xmax"]) / 2
    assert middles[video["face_id"] == 0].max() < 160 < middles[video["face_id"] == 1].min()
    times = video.groupby("frame")["timestamp"].first() * 1000
    np.testing.assert_allclose(times, [0, 40, 90, 130, 300, 340, 380, 420, 461, 500, 700, 741, 800, 2000], atol=1)
    assert table["timestamp"][table["source"] == str(media / "1.png")].isna().all()


def test_a_video_that_is_turned_by_its_metadata_is_read_upright(table, media):
    upright, turned = (
        table[(table["source"] == str(media / name)) & (table["frame"] == 0)] for name in ("2.mp4", "3.mp4")
    )
    corners = ["xmin", "ymin", "xmax", "ymax"]
    np.testing.assert_allclose(upright[corners].to_numpy(float), turned[corners].to_numpy(float), atol=6)


def test_what_cannot_be_read_has_a_row_with_the_reason(table, media, detector):
    (row,) = table[table["error"].notna()].to_dict("records")
    assert row["source"] == str(media / "4.jpg")
    assert "4.jpg' cannot" in row["error"] or "Cannot use" in row["error"]
    assert pd.isna(row["face_id"]) and pd.isna(row["AU12"])
    with pytest.raises(RuntimeError, match=r"4\.jpg"):
        hiva_hf.detect(media / "4.jpg", detector, on_error="raise", progress=False)


def test_aus_that_the_model_is_unreliable_at_are_marked(media, detector, monkeypatch, tmp_path):
    monkeypatch.setattr(detector.model.config, "experimental_labels", ["AU4"])
    for output in (None, tmp_path / "faces.csv"):
        table = hiva_hf.detect(media / "1.png", detector, progress=False, output=output)
        assert table.attrs["experimental_labels"] == ["AU4"]
    (record,) = records_of_frame(detector(str(media / "1.png")), "1.png")
    assert record.experimental == {"AU4"}


def test_photos_agree_with_the_pipeline(table, media, detector):
    (face,) = detector(str(media / "1.png"))
    (row,) = table[table["source"] == str(media / "1.png")].to_dict("records")
    assert [row[name] for name in ("xmin", "ymin", "xmax", "ymax")] == list(face["box"].values())
    for au in face["aus"]:
        assert row[f"AU{int(au['label'][2:]):02d}"] == pytest.approx(au["score"], abs=2e-6)
        assert row[f"AU{int(au['label'][2:]):02d}_c"] == au["active"]


def assert_equal(found, expected):
    pd.testing.assert_frame_equal(found, expected, check_exact=False, rtol=0, atol=3e-6)


@pytest.mark.parametrize("name", ["faces.csv", "faces.parquet", "faces.jsonl"])
def test_a_file_gets_the_same_rows(table, media, detector, tmp_path, name):
    found = hiva_hf.detect(media, detector, output=tmp_path / name, batch_size=4, progress=False)
    assert_equal(found, table)
    assert_equal(read_table(tmp_path / name), table)


@pytest.mark.parametrize("num_records", [1, 6, 13, 24])
@pytest.mark.parametrize("name", ["faces.csv", "faces.parquet"])
def test_an_interrupted_run_goes_on_to_the_same_table(table, media, detector, tmp_path, name, num_records):
    files = sorted(str(path) for path in media.iterdir())
    job = DetectionJob(files, [], detector, batch_size=2)
    with pytest.raises(KeyboardInterrupt), open_table(tmp_path / name, job.labels) as writer:
        for number, _ in enumerate(job.run(writer, progress=False), start=1):
            if number == num_records:
                raise KeyboardInterrupt
    assert num_records <= len(read_table(tmp_path / name)) < len(table)
    found = hiva_hf.detect(media, detector, output=tmp_path / name, resume=True, batch_size=4, progress=False)
    assert_equal(found, table)


def test_a_finished_run_that_is_resumed_stays_as_it_is(table, media, detector, tmp_path):
    path = tmp_path / "faces.csv"
    hiva_hf.detect(media, detector, output=path, progress=False)
    before = path.read_bytes()
    hiva_hf.detect(media, detector, output=path, resume=True, progress=False)
    assert read_table(path)["frame"].tolist() == table["frame"].tolist()
    assert path.read_bytes().splitlines()[:10] == before.splitlines()[:10]


def test_nobody_else_writes_a_table_before_it_is_read_back(media, detector, tmp_path, monkeypatch):
    read = detection.read_table

    def read_beside_others(path):
        with pytest.raises(BlockingIOError):
            open_table(path, detector.model.config.au_labels, overwrite=True)
        return read(path)

    monkeypatch.setattr(detection, "read_table", read_beside_others)
    found = hiva_hf.detect(media / "1.png", detector, output=tmp_path / "faces.parquet", progress=False)
    assert found["source"].tolist() == [str(media / "1.png")]


def test_an_output_is_not_replaced_unasked(media, detector, tmp_path):
    (tmp_path / "faces.csv").write_text("mine")
    with pytest.raises(FileExistsError, match=r"faces\.csv exists"):
        hiva_hf.detect(media, detector, output=tmp_path / "faces.csv", progress=False)
    assert (tmp_path / "faces.csv").read_text() == "mine"


def test_every_nth_frame_has_rows(media, detector):
    found = hiva_hf.detect([media / "2.mp4"], detector, every=5, progress=False)
    assert found["frame"].unique().tolist() == [0, 5, 10]


def test_the_columns_of_other_tools(media, detector, tmp_path):
    hiva_hf.detect(media / "2.mp4", detector, output=tmp_path / "a.csv", format="openface", progress=False)
    openface = pd.read_csv(tmp_path / "a.csv")
    assert openface.columns[:5].tolist() == ["frame", "face_id", "timestamp", "confidence", "success"]
    assert openface["frame"].max() == 14
    found = hiva_hf.detect(media, detector, output=tmp_path / "b.csv", format="pyfeat", progress=False)
    pyfeat = pd.read_csv(tmp_path / "b.csv")
    assert len(pyfeat) == len(found)
    assert "AU12" in pyfeat and "FaceRectX" in pyfeat


def test_the_pipelines_own_limits_hold_for_photos(media, detector):
    """They are told when the file is read: a limit that was raised would come too late afterwards."""
    assert hiva_hf.detect(media / "1.png", detector, max_pixels=150 * 180, progress=False)["error"].isna().all()
    (error,) = hiva_hf.detect(media / "1.png", detector, max_pixels=150 * 180 - 1, progress=False)["error"]
    assert error.startswith(f"Cannot use '{media / '1.png'}': it has 150 x 180 pixels")


def test_small_faces_are_found_in_a_larger_search(detector, scene, tmp_path):
    from PIL import Image

    path = tmp_path / "group.png"
    Image.fromarray(scene([(600, 300, 40)], size=(720, 1280))).save(path)
    assert hiva_hf.detect(path, detector, progress=False)["face_id"].isna().all()
    found = hiva_hf.detect(path, detector, face_search_size=1280, progress=False)
    assert found["face_id"].tolist() == [0]
    with pytest.raises(ValueError, match="leave it out if you pass `face_detector`"):
        hiva_hf.detect(path, detector, face_search_size=1280, face_detector=detector.default_face_detector)


def test_explanations_are_asked_for_by_their_file(media, detector):
    with pytest.raises(ValueError, match="pass a file as `explanations`"):
        hiva_hf.detect(media / "1.png", detector, explain=True)


@pytest.mark.parametrize("name", ["faces.csv", "faces"])
def test_a_video_that_was_begun_is_finished_before_one_that_came_in_between(media, detector, tmp_path, name):
    """Both are stopped in the middle, one after the other."""
    folder, output = tmp_path / "in", tmp_path / name
    folder.mkdir()
    table_format = "openface" if name == "faces" else None
    for video, num_frames in (("b.mp4", 5), ("a.mp4", 4)):
        shutil.copy(media / "2.mp4", folder / video)
        files = sorted(str(path) for path in folder.iterdir())
        job = DetectionJob(files, [], detector, batch_size=1)
        writer = open_table(output, job.labels, table_format, files, resume=output.exists())
        with pytest.raises(KeyboardInterrupt), writer:
            for record in job.run(writer, progress=False):
                if record.source.endswith(video) and record.frame == num_frames:
                    raise KeyboardInterrupt
    hiva_hf.detect(folder, detector, output=output, format=table_format, resume=True, progress=False)
    files = [output / "a.csv", output / "b.csv"] if name == "faces" else [output]
    found = pd.concat(pd.read_csv(file).assign(file=file.name) for file in files)
    for _, rows in found.groupby("source" if name == "faces.csv" else "file"):
        assert rows["frame"].nunique() == rows["timestamp"].nunique() == 14


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_a_source_whose_name_is_no_text_is_not_done_twice(media, detector, tmp_path):
    source = os.fsdecode(os.fsencode(tmp_path) + b"/a\xe9.png")
    shutil.copy(media / "1.png", source)
    for resume in (False, True):
        found = hiva_hf.detect([source], detector, output=tmp_path / "t.csv", resume=resume, progress=False)
        assert len(found) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every": 0}, "every must be at least 1"),
        ({"resume": True, "overwrite": True, "output": "a.csv"}, "set only one"),
    ],
)
def test_wrong_arguments_are_refused(media, detector, options, message):
    with pytest.raises(ValueError, match=message):
        hiva_hf.detect(media, detector, progress=False, **options)

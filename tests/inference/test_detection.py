"""`hiva_hf.detect`: files in, a table out, which goes on after an interruption as if there had been none."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import pipeline

import hiva_hf
from hiva_hf import AUDetectionPipeline
from hiva_hf.inference import detection, read_table, records_of_frame
from hiva_hf.inference.detection import DetectionJob, describe, load_detector
from hiva_hf.inference.records import table_columns
from hiva_hf.inference.writers import open_table


@pytest.fixture(scope="module")
def media(tmp_path_factory, astronaut, scene, make_video):
    """A video with two heads, of which one leaves for some frames, a photo, a photo without a face, a broken one."""
    folder = tmp_path_factory.mktemp("media")
    astronaut.crop((150, 20, 300, 200)).save(folder / "1.png")
    frames = [
        scene([(60 + 2 * n, 110, 110), *([(250, 120, 100)] if not 4 <= n < 8 else [])], seed=0) for n in range(14)
    ]
    make_video(folder / "2.mp4", frames, times=[0, 40, 90, 130, 300, 340, 380, 420, 461, 500, 700, 741, 800, 2000])
    make_video(folder / "3.mp4", [np.rot90(frame, -1) for frame in frames[:2]], rotation=90)
    (folder / "4.jpg").write_bytes(b"no photo")
    return folder


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


def test_pictures_are_drawn_beside(media, detector, tmp_path):
    av = pytest.importorskip("av")
    from PIL import Image

    hiva_hf.detect(media, detector, draw_dir=tmp_path / "drawn", threshold=0.0, progress=False)
    assert sorted(path.name for path in (tmp_path / "drawn").iterdir()) == ["1.jpg", "2.mp4", "3.mp4"]
    drawn = np.asarray(Image.open(tmp_path / "drawn" / "1.jpg")).astype(int)
    original = np.asarray(Image.open(media / "1.png")).astype(int)
    assert drawn.shape == original.shape
    assert np.abs(drawn - original).mean() > 3
    with av.open(str(tmp_path / "drawn" / "2.mp4")) as container:
        times = [picture.time for picture in container.decode(video=0)]
    np.testing.assert_allclose(times[:6], [0, 0.04, 0.09, 0.13, 0.3, 0.34], atol=2e-3)
    assert len(times) == 14


def test_a_drawn_video_can_be_played_after_a_kill(tmp_path):
    av = pytest.importorskip("av")
    code = (
        "import os, sys, pathlib, numpy as np\n"
        "from hiva_hf.inference.drawing import VideoFile\n"
        "video = VideoFile(pathlib.Path(sys.argv[1]), (64, 96))\n"
        "for number in range(200):\n"
        "    video.write(np.full((64, 96, 3), number, np.uint8), 3 + number / 25)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    path = tmp_path / "a.mp4"
    assert subprocess.run([sys.executable, "-c", code, str(path)]).returncode == -9
    with av.open(str(path)) as container:
        times = [picture.time for picture in container.decode(video=0)]
    assert len(times) >= 100
    np.testing.assert_allclose(times, 3 + np.arange(len(times)) / 25, atol=1e-3)


@pytest.mark.parametrize(("shape", "ending"), [((4, 65_500), "jpg"), ((4, 65_600), "png")])
def test_a_photo_that_jpeg_is_too_small_for_is_drawn(detector, tmp_path, shape, ending):
    from PIL import Image

    Image.fromarray(np.zeros((*shape, 3), np.uint8)).save(tmp_path / "strip.png")
    hiva_hf.detect(tmp_path / "strip.png", detector, draw_dir=tmp_path / "drawn", progress=False)
    (drawn,) = (tmp_path / "drawn").iterdir()
    assert drawn.name == f"strip.{ending}"
    assert Image.open(drawn).size == shape[::-1]


@pytest.mark.parametrize(
    ("times", "drawn"),
    [
        ([0, 0.04, 0.3, 0.3, 0.34], [0, 0.04, 0.3, 0.3, 0.34]),
        # Two recordings in a row, and one whose clock begins below 0.
        ([5, 5.04, 5.5, 0.1, 0.14, 0.18], [5, 5.04, 5.5, 5.96, 6, 6.04]),
        ([-0.08, -0.04, 0, 0.5], [0, 0.04, 0.08, 0.58]),
        # A clock that is set on the way.
        ([0, 0.04, 1.7e9, 1.7e9 + 0.04], [0, 0.04, 2982.656, 2982.696]),
        ([3600 * number for number in range(60)], [2982.616 * number for number in range(60)]),
    ],
)
def test_drawn_videos_go_on_where_times_do_not(tmp_path, times, drawn):
    av = pytest.importorskip("av")
    from hiva_hf.inference.drawing import VideoFile

    video = VideoFile(tmp_path / "a.mp4", (32, 48))
    for time in times:
        video.write(np.full((32, 48, 3), 128, np.uint8), time)
    video.close()
    with av.open(str(tmp_path / "a.mp4")) as container:
        found = [picture.time for picture in container.decode(video=0)]
    np.testing.assert_allclose(found, drawn, atol=1e-3, rtol=1e-6)


def test_drawn_colours_are_told_to_players(tmp_path):
    av = pytest.importorskip("av")
    from hiva_hf.inference.drawing import VideoFile

    video = VideoFile(tmp_path / "a.mp4", (720, 1280))
    video.write(np.full((720, 1280, 3), (200, 40, 40), np.uint8), 0)
    video.close()
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert container.streams.video[0].codec_context.colorspace == av.video.reformatter.Colorspace.ITU601
        (picture,) = container.decode(video=0)
    np.testing.assert_allclose(picture.to_ndarray(format="rgb24")[300, 300], (200, 40, 40), atol=3)


@pytest.mark.parametrize("size", [(1, 1), (1, 64), (33, 47)])
def test_videos_of_any_size_are_drawn(tmp_path, size):
    av = pytest.importorskip("av")
    from hiva_hf.inference.drawing import VideoFile

    video = VideoFile(tmp_path / "a.mp4", size)
    video.write(np.zeros((*size, 3), np.uint8), 0.0)
    video.close()
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert len(list(container.decode(video=0))) == 1


def test_a_video_with_a_colon_in_its_name_is_read_and_drawn(media, detector, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(media / "2.mp4", "12:30.mp4")
    found = hiva_hf.detect("12:30.mp4", detector, every=10, draw_dir="drawn", progress=False)
    assert found["error"].isna().all()
    assert [path.name for path in (tmp_path / "drawn").iterdir()] == ["12:30.mp4"]


def test_drawn_copies_never_come_into_a_folder_that_is_read(media, detector, tmp_path):
    for name in ("1.png", "2.mp4"):
        shutil.copy(media / name, tmp_path)
    (tmp_path / "1.jpg").write_bytes(b"somebody else's")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for source in ("1.png", "2.mp4"):
        with pytest.raises(ValueError, match=f"{source} is in .*, where drawn copies would be written"):
            hiva_hf.detect(
                tmp_path / source, detector, output=tmp_path / "t.csv", draw_dir=tmp_path / "x" / "..", progress=False
            )
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


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


def test_the_summary_tells_who_waited_for_whom(media, detector):
    job = DetectionJob([str(media / "2.mp4")], [], detector)
    rows = list(job.run(progress=False))
    text = describe(job.report)
    assert f"14 frames, {len(rows)} faces, 0 errors" in text
    assert "video frames were searched as a whole" in text
    assert "network: worked" in text and "for finding faces" in text


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


@pytest.mark.parametrize("device", ["cuda:99", "nowhere", 99])
def test_a_device_that_is_not_there_is_told_before_the_work(tiny_model_dir, device):
    with pytest.raises(ValueError, match=f"The device {device!r} can't be used here: "):
        load_detector(tiny_model_dir, device=device)


@pytest.mark.parametrize("device", ["cpu", -1, None])
def test_the_processor_has_several_names(tiny_model_dir, device):
    assert load_detector(tiny_model_dir, device=device).device.type == "cpu"


def test_precisions_have_the_names_that_exports_have(tiny_model_dir):
    assert load_detector(tiny_model_dir, dtype="bf16").model.dtype == torch.bfloat16
    for dtype in ("float32", "auto", torch.float32, None):
        assert load_detector(tiny_model_dir, dtype=dtype).model.dtype == torch.float32
    with pytest.raises(ValueError, match="no precision 'half-ish': choose one of float32, bfloat16"):
        load_detector(tiny_model_dir, dtype="half-ish")


def test_a_pipeline_of_other_code_is_named(tiny_model_dir, monkeypatch):
    class Foreign(AUDetectionPipeline):
        """What a repository's code makes: of the same name, but no subclass of the package's."""

    monkeypatch.setattr(detection, "AUDetectionPipeline", Foreign)
    other = pipeline("au-detection", model=str(tiny_model_dir))
    with pytest.raises(ValueError, match="pipeline of hiva_hf.pipeline_au_detection, .*after `import hiva_hf`"):
        load_detector(other)

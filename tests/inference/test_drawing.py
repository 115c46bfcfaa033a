"""Copies of photos and videos with the results drawn into them."""

import shutil
import subprocess
import sys

import numpy as np
import pytest

import hiva_hf


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

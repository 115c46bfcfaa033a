"""Inputs become photos and videos by what is in them, in natural order, and problems become frames with errors."""

import io
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from hiva_hf.image_loading import ImageLoadError
from hiva_hf.inference.sources import count_frames, find_sources, read_frames


@pytest.fixture(scope="module")
def frames():
    return [np.full((64, 96, 3), 30 + 6 * number, np.uint8) for number in range(20)]


@pytest.fixture
def folder(tmp_path, make_video, frames):
    folder = tmp_path / "holiday"
    (folder / "sub").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    photo = Image.new("RGB", (20, 10), (200, 10, 10))
    for name in ("10.jpg", "9.jpg", ".hidden/1.jpg", "._9.jpg"):
        photo.save(folder / name)
    photo.save(folder / "sub" / "photo without ending", "PNG")
    (folder / "broken.jpg").write_bytes((folder / "9.jpg").read_bytes()[:300])
    (folder / "notes.txt").write_text("nothing to see here\n" * 40)
    (folder / "labels.csv").write_text("a,b\n1,2\n")
    make_video(folder / "sub" / "clip.mp4", frames[:4])
    # A video in disguise, and one without an ending.
    make_video(folder / "sub" / "clip.mkv", frames[:4]).rename(folder / "sub" / "movie.png")
    make_video(folder / "sub" / "clip.avi", frames[:4], codec="mpeg4").rename(folder / "sub" / "movie")
    return folder


def names(sources, folder):
    return [source.removeprefix(f"{folder}/") for source in sources]


def test_a_folder_is_searched_in_natural_order_by_content(folder):
    sources, others = find_sources([folder])
    assert names(sources, folder) == [
        "9.jpg",
        "10.jpg",
        "broken.jpg",
        "sub/clip.mp4",
        "sub/movie",
        "sub/movie.png",
        "sub/photo without ending",
    ]
    assert names(others, folder) == ["labels.csv", "notes.txt"]
    assert names(find_sources([str(folder)], exclude=[folder / "sub"])[0], folder) == ["9.jpg", "10.jpg", "broken.jpg"]


def test_names_stay_as_they_were_given_and_come_once(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    assert find_sources(["holiday/9.jpg", "holiday/10.jpg", "holiday/9.jpg"])[0] == ["holiday/9.jpg", "holiday/10.jpg"]


def test_other_spellings_of_a_name_are_left_out(folder, monkeypatch):
    monkeypatch.chdir(folder)
    sources, _ = find_sources(["sub/../9.jpg", "./9.jpg", folder / "9.jpg", "https://a.org//9.jpg", "."])
    assert sources[:3] == ["sub/../9.jpg", "https://a.org//9.jpg", "./10.jpg"]
    assert len(sources) == 8


def test_linked_folders_are_searched_each_once(folder, tmp_path):
    (folder / "sub" / "round").symlink_to(folder)
    (tmp_path / "elsewhere").mkdir()
    (folder / "9.jpg").rename(tmp_path / "elsewhere" / "9.jpg")
    for name in ("first", "second"):
        (folder / name).symlink_to(tmp_path / "elsewhere")
    sources, _ = find_sources([folder])
    assert names(sources, folder)[:3] == ["10.jpg", "broken.jpg", "first/9.jpg"]
    assert len(sources) == 7


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes among files")
def test_a_pipe_in_a_folder_is_left_out_and_a_broken_link_is_not(folder):
    os.mkfifo(folder / "11.jpg")
    (folder / "12.jpg").symlink_to(folder / "gone.jpg")
    sources, others = find_sources([folder])
    assert "12.jpg" in names(sources, folder)
    assert "11.jpg" in names(others, folder)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes among files")
def test_a_pipe_or_device_that_is_named_is_refused(folder):
    os.mkfifo(folder / "camera")
    with pytest.raises(ValueError, match=f"can't be read, .*: {folder}/camera, {os.devnull}. Save"):
        find_sources([folder / "9.jpg", folder / "camera", os.devnull])


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it can be read once")
def test_a_file_at_the_standard_input_is_read(folder):
    code = (
        "from hiva_hf.inference.sources import find_sources, read_frames\n"
        "for frame in read_frames(find_sources(['/dev/stdin'])[0]): print(frame.load().shape)"
    )
    with (folder / "9.jpg").open("rb") as photo:
        output = subprocess.check_output([sys.executable, "-c", code], stdin=photo, text=True)
    assert output == "(10, 20, 3)\n"


def test_jpeg_pictures_in_a_row_are_a_video(tmp_path):
    Image.new("RGB", (20, 10)).save(tmp_path / "a.jpg")
    (tmp_path / "a.mjpeg").write_bytes((tmp_path / "a.jpg").read_bytes() * 3)
    assert [frame.is_video for frame in read_frames(find_sources([tmp_path])[0])] == [False, True, True, True]


@pytest.mark.parametrize("ending", ["m2v", "m1v"])
def test_mpeg_video_without_a_container_is_no_photo(tmp_path, make_video, frames, ending):
    make_video(tmp_path / f"a.{ending}", frames[:4], codec=f"mpeg{ending[1]}video")
    found = list(read_frames(find_sources([tmp_path])[0]))
    assert [frame.is_video for frame in found] == [True] * 4
    assert all(frame.error is None for frame in found)


def test_documents_with_pictures_and_tables_are_left_out(tmp_path):
    data = io.BytesIO()
    Image.effect_noise((96, 96), 50).save(data, "JPEG")
    Image.new("RGB", (20, 10)).save(tmp_path / "photo.jpg")
    (tmp_path / "Thumbs.db").write_bytes(bytes.fromhex("d0cf11e0a1b11ae1") + bytes(504) + data.getvalue() * 20)
    (tmp_path / "measured.mat").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(3000))
    sources, others = find_sources([tmp_path])
    assert names(sources, tmp_path) == ["photo.jpg"]
    assert names(others, tmp_path) == ["measured.mat", "Thumbs.db"]


@pytest.mark.filterwarnings("error")
def test_a_large_photo_is_one_without_a_warning(tmp_path):
    Image.new("1", (10_000, 10_000)).save(tmp_path / "large.png")
    assert [frame.is_video for frame in read_frames(find_sources([tmp_path])[0])] == [False]


def test_patterns_that_no_shell_has_filled_in_are(folder):
    pattern = os.path.join(folder, "*.jpg")
    assert names(find_sources([pattern, folder / "sub" / "clip.mp4"])[0], folder) == [
        *("9.jpg", "10.jpg", "broken.jpg", "sub/clip.mp4"),
    ]
    assert names(find_sources([os.path.join(folder, "**", "clip.*")])[0], folder) == ["sub/clip.mp4"]
    # A name is a name, whatever it looks like.
    (folder / "9.jpg").rename(folder / "[1].jpg")
    assert names(find_sources([folder / "[1].jpg"])[0], folder) == ["[1].jpg"]
    with pytest.raises(FileNotFoundError, match=r"\*\.tif"):
        find_sources([os.path.join(folder, "*.tif")])


def test_what_does_not_exist_is_named(folder):
    with pytest.raises(FileNotFoundError, match=r"no such file or folder: nowhere\.mp4, .*gone \(looked in "):
        find_sources([folder, "nowhere.mp4", folder / "gone"])


def test_inputs_without_photo_or_video_are_refused(tmp_path):
    (tmp_path / "a.csv").write_text("1")
    with pytest.raises(ValueError, match=f"no photo or video in {tmp_path}"):
        find_sources([tmp_path])


def test_every_file_of_a_folder_becomes_frames(folder):
    sources, _ = find_sources([folder])
    found = {}
    for frame in read_frames(sources):
        found.setdefault(names([frame.source], folder)[0], []).append(frame)
    assert {name: len(frames) for name, frames in found.items()} == {
        "9.jpg": 1,
        "10.jpg": 1,
        "broken.jpg": 1,
        "sub/clip.mp4": 4,
        "sub/movie": 4,
        "sub/movie.png": 4,
        "sub/photo without ending": 1,
    }
    assert found["9.jpg"][0].load().shape == (10, 20, 3)
    assert not found["9.jpg"][0].is_video
    (photo,) = found["sub/photo without ending"]
    assert (photo.timestamp, photo.number, photo.is_video) == (None, 0, False)
    for name in ("sub/clip.mp4", "sub/movie", "sub/movie.png"):
        assert [frame.number for frame in found[name]] == [0, 1, 2, 3]
        np.testing.assert_allclose([frame.timestamp for frame in found[name]], [0, 0.04, 0.08, 0.12], atol=1e-3)
    assert count_frames(sources) == 16


def test_only_every_nth_frame_comes_and_those_that_are_done_are_marked(tmp_path, make_video, frames):
    path = str(make_video(tmp_path / "a.mp4", frames))
    found = list(read_frames([path], every=6, first_frame=lambda source: 7))
    assert [frame.number for frame in found] == [0, 6, 12, 18]
    assert [frame.is_done for frame in found] == [True, True, False, False]
    assert [round((np.median(frame.image) - 30) / 6) for frame in found] == [0, 6, 12, 18]
    assert count_frames([path], every=6) == 4


def test_a_truncated_video_ends_in_an_error_that_names_it(tmp_path, make_video):
    noise = np.random.default_rng(0).integers(0, 256, (40, 64, 96, 3), np.uint8)
    path = make_video(tmp_path / "cut.avi", noise, codec="mpeg4")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    *good, last = read_frames([str(path)])
    assert len([frame for frame in good if frame.error is None]) > 10
    assert last.number == len(good)
    assert re.search(r"cut\.avi: the video ends .* seconds before the end that its header states", last.error)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.mp4", b"no video at all" * 99, r"Cannot use '.*a\.mp4': it is not a video that can be decoded"),
        ("a.mp4", b"", r"Cannot use '.*a\.mp4'"),
        ("a.jpg", b"", r"Cannot use '.*a\.jpg': it is empty"),
        ("a.jpg", b"no photo at all" * 99, r"Cannot use '.*a\.jpg': it is not an image"),
        ("a.txt", b"To be or not to be\n" * 99, r"Cannot use '.*a\.txt'.*not a video that can be decoded"),
    ],
)
def test_a_file_that_is_neither_photo_nor_video_says_why(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    (frame,) = read_frames([str(tmp_path / name)])
    assert frame.image is None
    assert re.search(message, frame.error)


@pytest.mark.parametrize("brand", ["heic", "mif1"])
def test_a_heic_photo_is_no_video_and_the_error_names_the_plugin(tmp_path, make_video, monkeypatch, brand):
    """FFmpeg reads HEIC too, but one tile of it; a video behind the brand shows that it isn't asked."""
    path = tmp_path / "IMG_0001.HEIC"
    content = bytearray(make_video(tmp_path / "a.mp4", [np.zeros((64, 64, 3), np.uint8)] * 3).read_bytes())
    content[8:12] = brand.encode()
    path.write_bytes(content)
    (frame,) = read_frames([str(path)])
    assert not frame.is_video and frame.image is None
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ImageLoadError, match="pip install pillow-heif"):
        frame.load()


@pytest.mark.skipif(getattr(os, "geteuid", int)() == 0, reason="root may read every folder")
def test_a_folder_that_may_not_be_read_is_not_passed_over(folder, tmp_path):
    (tmp_path / "closed").mkdir(mode=0)
    with pytest.raises(PermissionError, match="closed"):
        find_sources([tmp_path])


def test_photos_need_no_pyav_and_videos_say_so(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    paths = [str(folder / "9.jpg"), str(folder / "broken.jpg")]
    assert len(list(read_frames(paths))) == count_frames(paths) == 2
    with pytest.raises(ImportError, match=r'Reading videos needs more packages .*pip install "hiva-hf\[video\]"'):
        list(read_frames([str(folder / "sub" / "clip.mp4")]))

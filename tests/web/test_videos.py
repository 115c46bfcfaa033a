"""Reading uploaded videos, without the page around it."""

import threading

import numpy as np
import pytest
from transformers import pipeline

from hiva_hf.video_decoding import decode_video
from hiva_hf.web.videos import VideoRefusedError, read_video


@pytest.fixture(scope="module")
def detector(tiny_model_dir):
    return pipeline("au-detection", model=str(tiny_model_dir), device="cpu")


def test_a_video_that_is_stopped_keeps_what_was_found(detector, uploads, tmp_path):
    stop = threading.Event()
    steps = read_video(detector, str(uploads["face_video"]), "clip.mp4", tmp_path, stop)
    video = next(steps)
    assert video.num_promised == 8 and video.num_frames == 0
    stop.set()
    *_, video = steps
    assert video.num_frames < 8 and video.remark.startswith(f"Stopped after {video.num_frames} frames")
    assert len(video.records) == video.num_frames


def test_only_every_nth_frame_is_read_and_keeps_its_time(detector, uploads, tmp_path):
    *_, video = read_video(detector, str(uploads["face_video"]), "clip.mp4", tmp_path, threading.Event(), every=4)
    assert video.num_promised == video.num_frames == 2 and video.num_faces == 1
    assert [(record.frame, record.timestamp) for record in video.records] == [(0, 0.0), (4, 1.0)]
    assert {record.source for record in video.records} == {"clip.mp4"}
    assert [picture.timestamp for picture in decode_video(video.preview)] == [0.0, 1.0]


@pytest.mark.parametrize("ending", ["mp4", "mkv", "ts"])
def test_a_video_whose_clock_begins_late_lasts_as_long_as_it_is_shown(detector, make_video, tmp_path, ending):
    times = [200_000, 200_500, 201_000, 201_500, 202_000]
    path = make_video(tmp_path / f"a.{ending}", [np.zeros((64, 64, 3), np.uint8)] * 5, times=times)
    *_, video = read_video(detector, str(path), "clip", tmp_path, threading.Event(), max_seconds=3)
    assert [record.timestamp for record in video.records] == pytest.approx(np.array(times) / 1000, abs=1e-3)
    assert video.remark == ""
    assert [picture.timestamp for picture in decode_video(video.preview)] == pytest.approx(
        [0, 0.5, 1, 1.5, 2], abs=1e-3
    )


def test_a_long_video_is_refused_wherever_its_clock_begins(detector, make_video, tmp_path):
    path = make_video(tmp_path / "a.mkv", [np.zeros((64, 64, 3), np.uint8)] * 2, times=[200_000, 201_960])
    with pytest.raises(VideoRefusedError, match="lasts 2 seconds"):
        next(read_video(detector, str(path), "clip", tmp_path, threading.Event(), max_seconds=1))


def test_a_photo_is_no_video(detector, uploads, tmp_path):
    with pytest.raises(VideoRefusedError, match=r"clip\.mp4 is a photo"):
        next(read_video(detector, str(uploads["face"]), "clip.mp4", tmp_path, threading.Event()))


def test_a_playlist_shows_nothing_of_the_server(detector, uploads, tmp_path):
    playlist = tmp_path / "clip.mp4"
    playlist.write_text(f"ffconcat version 1.0\nfile {uploads['face_video']}\n")
    with pytest.raises(VideoRefusedError, match="can't be read as a video"):
        next(read_video(detector, str(playlist), "clip.mp4", tmp_path, threading.Event()))

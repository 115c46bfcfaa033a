import re
from pathlib import Path

import pytest

from hiva_hf.data.frames import ImageFiles, VideoFile
from hiva_hf.data.layout import scan_folders
from hiva_hf.data.raw import RawDataError
from hiva_hf.data.recordings import (
    Recording,
    choose_recordings,
    find_frame_base,
    find_frame_folders,
    find_videos,
    make_source,
    prefer_videos,
)


SUBJECT = re.compile(r"SN\d{3}", re.IGNORECASE)


def frames_of(*numbers, name="SN001"):
    return Recording(Path(name), (name,), {number: Path(name, f"{number}.jpg") for number in numbers})


def video_of(name="SN001"):
    return Recording(Path(f"{name}.avi"), (name,))


@pytest.fixture
def release(tmp_path):
    for name in (
        "left/LeftSN001.avi",
        "right/sn001.MP4",
        "frames/SN002/1.png",
        "frames/SN002/SN003/2.png",
        "SN004/a.txt",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return scan_folders(tmp_path, depth=3)


def test_videos_are_found_by_the_subject_in_their_names(release):
    videos = find_videos(release, SUBJECT)
    assert {subject: [video.name for video in found] for subject, found in videos.items()} == {
        "SN001": ["left/LeftSN001", "right/sn001"]
    }


def test_frames_belong_to_the_subject_of_the_innermost_folder(release):
    frames = find_frame_folders(release, SUBJECT)
    assert {subject: [list(folder.numbered) for folder in found] for subject, found in frames.items()} == {
        "SN002": [[1]],
        "SN003": [[2]],
    }


def test_only_wanted_recordings_are_chosen(release):
    chosen = choose_recordings(find_videos(release, SUBJECT), lambda recording: "left" in recording.names)
    assert chosen["SN001"].name == "left/LeftSN001"
    assert choose_recordings(find_videos(release, SUBJECT), lambda recording: False) == {}


def test_two_recordings_of_one_subject_are_refused(release):
    with pytest.raises(RawDataError, match="SN001 has pictures in .*LeftSN001.avi and in .*sn001.MP4. Remove one"):
        choose_recordings(find_videos(release, SUBJECT))


def test_videos_come_before_frames():
    notes = []
    chosen = prefer_videos({"SN001": video_of()}, {"SN001": frames_of(1), "SN002": frames_of(2)}, notes)
    assert chosen == {"SN001": video_of(), "SN002": frames_of(2)}
    assert len(notes) == 1


def test_there_is_no_note_where_nothing_is_left_out():
    notes = []
    prefer_videos({"SN001": video_of()}, {"SN002": frames_of(2)}, notes)
    assert notes == []


@pytest.mark.parametrize(
    ("recordings", "bases"),
    [
        ({"SN001": frames_of(0, 1, 2)}, {0}),
        ({"SN001": frames_of(0, 1, 2, 3)}, {0}),
        ({"SN001": frames_of(0)}, {0}),
        ({"SN001": frames_of(1, 2, 3)}, {1}),
        ({"SN001": frames_of(3)}, {1}),
        ({"SN001": frames_of(1, 2)}, set()),
        ({"SN001": frames_of(1, 2, 3, 4)}, set()),
        ({"SN001": frames_of(1, 2), "SN002": frames_of(0, 1)}, {0}),
        ({"SN001": frames_of(1, 2), "SN002": frames_of(1, 2, 3), "SN003": frames_of(1, 2, 3)}, {1}),
        # The pictures 0 may be missing, and a label.
        ({"SN001": frames_of(1, 2), "SN002": frames_of(1, 2, 3)}, set()),
        ({"SN001": frames_of(0, 1, 2), "SN002": frames_of(1, 2, 3)}, {0, 1}),
        ({"SN001": frames_of(0, 1, 2), "SN002": video_of()}, {0}),
    ],
)
def test_what_frames_count_from_is_told_by_the_first_and_the_last_picture(recordings, bases):
    found, evidence = find_frame_base(recordings, dict.fromkeys(recordings, 3))
    assert found == bases
    assert "and labels up to frame 3" in evidence


def test_frames_without_labels_tell_nothing():
    assert find_frame_base({"SN001": frames_of(0, 1, 2)}, {"SN002": 3}) is None


def test_videos_have_no_frame_base():
    assert find_frame_base({"SN001": video_of()}, {"SN001": 3}) is None


@pytest.mark.parametrize(("frame_base", "numbers"), [(0, [1, 3]), (1, [2, 4])])
def test_a_source_knows_labelled_frames_by_their_numbers_from_1(frame_base, numbers):
    source = make_source(frames_of(0, 1, 2, 3, 4), [2, 4, 9], frame_base)
    assert source == ImageFiles(
        {2: Path(f"SN001/{numbers[0]}.jpg"), 4: Path(f"SN001/{numbers[1]}.jpg")}, Path("SN001")
    )


def test_the_source_of_a_video_is_the_video():
    assert make_source(video_of(), [1, 2], None) == VideoFile(Path("SN001.avi"))

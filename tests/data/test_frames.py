import itertools
import pickle
import sys

import numpy as np
import pytest

from hiva_hf.data.frames import ImageFiles, VideoFile
from hiva_hf.data.raw import FrameReadError
from hiva_hf.face_detection import CenterFaceDetector


NUM_FRAMES = 12


@pytest.fixture(scope="module")
def video(tmp_path_factory, pictures):
    """Twelve frames of MPEG-4; every frame is a key frame or builds on the one before."""
    path = tmp_path_factory.mktemp("video") / "SN001.avi"
    marks = tuple(pictures.mark_of(frame) for frame in range(1, NUM_FRAMES + 1))
    pictures.write(path, pictures.encode_video("SN001", marks, ".avi", 20))
    return path


@pytest.fixture
def levels(pictures):
    """Turns what a source yields into {frame: nearest frame whose mark the picture bears, or the error}."""

    def read(source, frames):
        found = {}
        for frame, picture in zip(frames, source.read(frames), strict=True):
            if isinstance(picture, FrameReadError):
                found[frame] = picture
                continue
            assert (picture.dtype, picture.ndim) == (np.uint8, 3)
            distances = {n: abs(int(picture[2, 2, 0]) - pictures.mark_of(n)[0]) for n in range(1, 20)}
            found[frame] = min(distances, key=distances.get)
        return found

    return read


def damage(path, start: float, length: int, target):
    """A copy of a file with random bytes at a share of its length."""
    data = bytearray(path.read_bytes())
    position = int(len(data) * start)
    data[position : position + length] = np.random.default_rng(0).integers(0, 256, length, np.uint8).tobytes()
    target.write_bytes(data)
    return target


def test_pictures_are_read_by_their_frame_numbers(tmp_path, pictures, levels):
    paths = {}
    for frame in (3, 7):
        paths[frame] = tmp_path / f"picture {frame}.jpg"
        pictures.write(paths[frame], pictures.encode_picture("F001", pictures.mark_of(frame), ".jpg"))
    assert levels(ImageFiles(paths), [3, 7]) == {3: 3, 7: 7}
    assert ImageFiles(paths).files == (paths[3], paths[7])


def test_a_picture_is_rgb(tmp_path):
    from PIL import Image

    Image.new("RGB", (4, 2), (250, 120, 10)).save(tmp_path / "1.png")
    (picture,) = ImageFiles({1: tmp_path / "1.png"}).read([1])
    assert picture.shape == (2, 4, 3)
    assert picture[0, 0].tolist() == [250, 120, 10]


def test_a_frame_without_a_picture_is_missing_from_its_folder(tmp_path):
    (error,) = ImageFiles({}, tmp_path).read([5])
    assert (error.kind, error.where) == ("missing frame", tmp_path)
    assert "no picture of frame 5" in error.detail


def test_a_file_that_is_gone_is_missing_by_its_name(tmp_path):
    (error,) = ImageFiles({5: tmp_path / "5.jpg"}).read([5])
    assert (error.kind, error.where) == ("missing frame", tmp_path / "5.jpg")


@pytest.mark.parametrize("content", [b"", b"no picture"])
@pytest.mark.parametrize("folder", ["faces", 'a "b" o\'clock', "long" * 50])
def test_a_file_that_is_no_picture_is_unreadable(tmp_path, content, folder):
    path = tmp_path / folder / "5.jpg"
    path.parent.mkdir()
    path.write_bytes(content)
    (error,) = ImageFiles({5: path}).read([5])
    assert (error.kind, error.where) == ("unreadable frame", path)
    # Reports may be published: where the release lies is nobody's business.
    assert error.detail.startswith("it is")
    assert str(tmp_path) not in error.detail


def test_a_truncated_jpeg_is_unreadable_and_does_not_stop_the_rest(tmp_path, pictures, levels):
    data = pictures.encode_picture("F001", pictures.mark_of(2), ".jpg")
    pictures.write(tmp_path / "1.jpg", data[: len(data) // 2])
    pictures.write(tmp_path / "2.jpg", data)
    found = levels(ImageFiles({1: tmp_path / "1.jpg", 2: tmp_path / "2.jpg"}), [1, 2])
    assert (found[1].kind, found[1].where) == ("unreadable frame", tmp_path / "1.jpg")
    assert "truncated" in found[1].detail
    assert found[2] == 2


def test_picture_files_need_a_folder_to_name_if_there_are_none():
    with pytest.raises(ValueError, match="`paths` is empty. Pass `folder`"):
        ImageFiles({})


def test_a_video_is_counted_from_one(video, levels):
    assert levels(VideoFile(video), range(1, NUM_FRAMES + 1)) == {frame: frame for frame in range(1, NUM_FRAMES + 1)}


def test_frames_that_are_not_asked_for_are_skipped(video, levels):
    assert levels(VideoFile(video), [2, 3, 9]) == {2: 2, 3: 3, 9: 9}


def test_the_first_frame_may_have_another_number(video, levels):
    found = levels(VideoFile(video, first_frame=0), [0, 11, 12])
    assert (found[0], found[11]) == (1, 12)
    assert found[12].kind == "missing frame"


def test_h264_in_mp4_is_read_as_well(tmp_path, pictures, levels):
    marks = tuple(pictures.mark_of(frame) for frame in range(1, 9))
    pictures.write(tmp_path / "001A.mp4", pictures.encode_video("001A", marks, ".mp4", 30))
    assert levels(VideoFile(tmp_path / "001A.mp4"), [1, 4, 8]) == {1: 1, 4: 4, 8: 8}


def test_b_frames_come_in_the_order_in_which_they_are_shown(tmp_path, pictures, levels):
    """AVI files of H.264 have time stamps in disorder: frames have to be counted."""
    import av

    with av.open(str(tmp_path / "a.avi"), "w") as container:
        stream = container.add_stream("libx264", rate=20)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for frame in range(1, 13):
            container.mux(
                stream.encode(av.VideoFrame.from_image(pictures.draw_picture("001A", pictures.mark_of(frame))))
            )
        container.mux(stream.encode())
    with av.open(str(tmp_path / "a.avi")) as container:
        assert container.streams.video[0].codec_context.has_b_frames
    assert levels(VideoFile(tmp_path / "a.avi"), range(1, 13)) == {frame: frame for frame in range(1, 13)}


def test_frames_after_the_end_of_a_video_are_missing(video, levels):
    found = levels(VideoFile(video), [12, 13, 4845])
    assert found[12] == 12
    assert [found[frame].kind for frame in (13, 4845)] == ["missing frame"] * 2
    assert (found[13].where, found[13].detail) == (video, "the video has 12 frames")


def test_frames_before_the_start_of_a_video_are_missing(video, levels):
    found = levels(VideoFile(video), [0, 1])
    assert (found[0].kind, found[0].detail) == ("missing frame", "the video starts at frame 1")
    assert found[1] == 1


def test_a_video_that_was_cut_off_says_how_much_its_header_promises(tmp_path, video, levels):
    data = video.read_bytes()
    (tmp_path / "cut.avi").write_bytes(data[: len(data) * 9 // 10])
    found = levels(VideoFile(tmp_path / "cut.avi"), range(1, 13))
    good = [frame for frame, picture in found.items() if picture == frame]
    assert good == list(range(1, len(good) + 1))
    assert 1 < len(good) < 12
    assert found[12].kind == "missing frame"
    assert "seconds before the end that its header states" in found[12].detail


def test_damage_costs_frames_up_to_the_next_key_frame(tmp_path, video, levels):
    import av

    with av.open(str(video)) as container:
        key_frames = [n for n, picture in enumerate(container.decode(video=0), start=1) if picture.key_frame]
    found = levels(VideoFile(damage(video, 0.45, 300, tmp_path / "damaged.avi")), range(1, 13))
    lost = [frame for frame, picture in found.items() if isinstance(picture, FrameReadError)]
    assert lost
    assert {found[frame].kind for frame in lost} == {"unreadable frame"}
    assert f"frame {lost[0]} is damaged" in found[lost[0]].detail
    assert lost == list(range(lost[0], min(frame for frame in [*key_frames, 13] if frame > lost[0])))
    assert all(found[frame] == frame for frame in found.keys() - set(lost))


def test_an_error_of_the_decoder_ends_the_video_with_its_own_words(tmp_path, video, levels):
    import av

    target = tmp_path / "broken.nut"
    with av.open(str(video)) as source, av.open(str(target), "w", format="nut") as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(video=0), start=1):
            if packet.dts is None:
                continue
            if number == 7:
                garbage = av.Packet(b"garbage instead of a picture")
                garbage.pts, garbage.dts, garbage.time_base = packet.pts, packet.dts, packet.time_base
                packet = garbage
            packet.stream = stream
            container.mux(packet)
    found = levels(VideoFile(target), range(1, 13))
    assert [found[frame] for frame in range(1, 7)] == [1, 2, 3, 4, 5, 6]
    assert {found[frame].kind for frame in range(7, 13)} == {"unreadable frame"}
    assert "reading failed at frame 7: decoding failed" in found[12].detail
    assert "Invalid data found when processing input" in found[12].detail


@pytest.mark.parametrize("content", [None, b"", b"no video at all" * 100])
def test_what_is_no_video_is_unreadable_with_the_decoders_words(tmp_path, content, levels):
    path = tmp_path / "SN001.avi"
    if content is not None:
        path.write_bytes(content)
    found = levels(VideoFile(path), [1, 4])
    assert [found[frame].kind for frame in (1, 4)] == ["unreadable frame"] * 2
    assert found[4].where == path
    assert "No such file" in found[4].detail if content is None else "Invalid data" in found[4].detail


def test_a_file_with_sound_only_is_unreadable(tmp_path, levels):
    import av

    with av.open(str(tmp_path / "sound.avi"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    found = levels(VideoFile(tmp_path / "sound.avi"), [1])
    assert found[1].kind == "unreadable frame"
    assert "contains no video" in found[1].detail


def test_frames_of_a_video_are_asked_for_in_order(video):
    with pytest.raises(ValueError, match="ascending order, each once, but got \\[3, 2\\]"):
        next(VideoFile(video).read([3, 2]))


def test_a_video_is_decoded_no_further_than_needed(video, monkeypatch):
    decoded = []
    decode = VideoFile._decode
    monkeypatch.setattr(VideoFile, "_decode", lambda self: (decoded.append(p) or p for p in decode(self)))
    list(VideoFile(video).read([2, 4]))
    assert len(decoded) == 4


def test_reading_twice_gives_the_same_pictures(video):
    first, second = (list(VideoFile(video).read(range(1, 13))) for _ in range(2))
    assert all((a == b).all() for a, b in zip(first, second, strict=True))


def test_sources_can_be_sent_to_another_process(tmp_path, video):
    for source in (VideoFile(video, 3), ImageFiles({1: tmp_path / "1.jpg"}), ImageFiles({}, tmp_path)):
        assert pickle.loads(pickle.dumps(source)) == source


def test_without_pyav_the_error_tells_what_to_install(video, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ImportError, match=r'Reading videos needs more packages .*pip install "hiva-hf\[video\]"'):
        next(VideoFile(video).read([1]))


def test_the_detector_finds_the_face_of_every_miniature_picture(pictures):
    detector = CenterFaceDetector()
    for subject, frame in itertools.product(("F001", "F003", "M003", "SN001", "001A"), (1, 26)):
        picture = np.array(pictures.draw_picture(subject, pictures.mark_of(frame)))
        assert len(detector(picture)) == 1
    assert detector(np.array(pictures.draw_picture("F001", pictures.mark_of(1), has_face=False))) == []

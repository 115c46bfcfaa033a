"""Videos are read in the order of presentation, upright, with the stream's times, up to their damage."""

import gc
import io
import struct
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from hiva_hf import video_decoding
from hiva_hf.video_decoding import VideoReadError, VideoTruncatedError, decode_video


av = pytest.importorskip("av")

HEIGHT, WIDTH = 96, 128


def level(number: int) -> int:
    return 20 + 4 * number


def write_video(
    path, *, num_frames=20, codec="libx264", times=None, rotation=None, hflip=False, aspect=None, **options
):
    """Frames of rising grey with a red upper left corner; `times` are in milliseconds."""
    with av.open(str(path), "w", container_options=options.pop("container", {})) as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        if rotation is not None:
            stream.set_display_rotation(rotation, hflip=hflip)
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        stream.codec_context.time_base = Fraction(1, 1000 if times else 25)
        for number in range(num_frames):
            image = np.full((HEIGHT, WIDTH, 3), level(number), np.uint8)
            image[:32, :32] = (200, 20, 20)
            # What can't be compressed well makes key frames of some size.
            image[64:] = np.random.default_rng(number).integers(0, 256, (32, WIDTH, 3))
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = times[number] if times else number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_grey(path, codec, rate, ticks):
    """Grey frames at those multiples of a frame's time."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.time_base = 1 / Fraction(rate)
        for tick in ticks:
            frame = av.VideoFrame.from_ndarray(np.full((HEIGHT, WIDTH, 3), level(tick % 50), np.uint8), format="rgb24")
            frame.pts, frame.time_base = tick, 1 / Fraction(rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def read(path):
    """The pictures that come, and the error that ends them."""
    pictures = []
    try:
        for picture in decode_video(path):
            pictures.append(picture)
    except VideoReadError as error:
        return pictures, error
    return pictures, None


def level_of(picture) -> int:
    grey = np.median(picture.to_rgb()[40:60, 40:])
    return min(range(50), key=lambda number: abs(level(number) - grey))


def test_b_frames_come_in_the_order_of_presentation_with_their_times(tmp_path):
    path = write_video(tmp_path / "a.mp4", bf="3")
    with av.open(str(path)) as container:
        assert {str(frame.pict_type) for frame in container.decode(video=0)} >= {"3"}
    pictures, error = read(path)
    assert error is None
    assert [picture.number for picture in pictures] == list(range(20))
    assert [level_of(picture) for picture in pictures] == list(range(20))
    np.testing.assert_allclose([picture.timestamp for picture in pictures], np.arange(20) / 25, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.m3u8", "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n#EXTINF:1.0,\n{path}\n#EXT-X-ENDLIST\n"),
        ("a.mp4", "ffconcat version 1.0\nfile {path.name}\n"),
    ],
)
def test_a_playlist_does_not_open_other_files(tmp_path, name, text):
    other = write_video(tmp_path / "other.ts", num_frames=2)
    (tmp_path / name).write_text(text.format(path=other))
    pictures, error = read(tmp_path / name)
    assert pictures == []
    assert "a playlist" in str(error)


def test_a_name_with_a_colon_is_no_address(tmp_path, monkeypatch):
    write_video(tmp_path / "a.mp4", num_frames=2).rename(tmp_path / "cam1:12:30.mp4")
    monkeypatch.chdir(tmp_path)
    pictures, error = read("cam1:12:30.mp4")
    assert (len(pictures), error) == (2, None)


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_a_variable_frame_rate_keeps_the_time_of_each_frame(tmp_path, ending):
    times = [0, 40, 80, 300, 301, 340, 1000, 1500, 1540, 2040]
    pictures, error = read(write_video(tmp_path / f"a.{ending}", num_frames=10, times=times, bf="2"))
    assert error is None
    np.testing.assert_allclose([picture.timestamp for picture in pictures], np.array(times) / 1000, atol=1e-3)


@pytest.mark.parametrize(
    ("rotation", "hflip"), [(0, False), (90, False), (180, False), (-90, False), (0, True), (90, True)]
)
def test_rotation_in_the_metadata_is_applied(tmp_path, rotation, hflip):
    path = write_video(tmp_path / "a.mp4", num_frames=1, rotation=rotation, hflip=hflip, qp="5")
    (picture,), _ = read(path)
    corner = np.zeros((HEIGHT, WIDTH), bool)
    corner[:32, :32] = True
    # FFmpeg counts degrees counter-clockwise, and mirrors afterwards.
    expected = np.rot90(corner, rotation // 90)
    expected = expected[:, ::-1] if hflip else expected
    image = picture.to_rgb().astype(int)
    assert image.shape[:2] == expected.shape
    is_red = (image[..., 0] > 150) & (image[..., 1] < 70) & (image[..., 2] < 70)
    assert (is_red == expected).mean() > 0.97


def test_pictures_are_freed_when_they_were_read(tmp_path):
    path = write_video(tmp_path / "video.mp4", rotation=90)
    gc.collect()
    gc.disable()
    try:
        for picture in decode_video(path):
            picture.to_rgb()
            # This one, the one before it, and the first, whose side data was read: it waits for the collector.
            assert sum(type(thing) is av.VideoFrame for thing in gc.get_objects()) <= 5
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("ending", "options", "message"),
    [
        ("mp4", {"container": {"movflags": "faststart"}}, "decoding failed|seconds before"),
        ("avi", {"codec": "mpeg4"}, "seconds before the end that its header states"),
        ("mkv", {}, "seconds before the end that its header states"),
    ],
)
def test_a_truncated_video_gives_its_pictures_up_to_the_damage(tmp_path, ending, options, message):
    path = write_video(tmp_path / f"a.{ending}", num_frames=50, **options)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    pictures, error = read(path)
    assert 10 < len(pictures) < 40
    assert error.number == len(pictures)
    with pytest.raises((VideoTruncatedError, VideoReadError), match=message):
        raise error


@pytest.mark.parametrize("end", ["begin", "end"])
def test_a_video_that_was_trimmed_without_being_written_anew_is_whole(tmp_path, end):
    """As phones trim: all pictures stay in the file, an edit list tells which of them are shown."""
    path = write_video(tmp_path / "a.mp4", num_frames=50, g="5")
    data = bytearray(path.read_bytes())
    entry = data.find(b"elst") + 12
    duration, begin, rate = struct.unpack_from(">IiI", data, entry)
    with av.open(str(path)) as container:
        second = container.streams.video[0].time_base.denominator
    struct.pack_into(">IiI", data, entry, duration // 2, begin + (second if end == "begin" else 0), rate)
    path.write_bytes(data)
    pictures, error = read(path)
    assert 20 < len(pictures) < 35
    assert error is None


def test_frames_that_were_dropped_while_recording_are_not_missing(tmp_path):
    path = write_grey(tmp_path / "a.avi", "mpeg4", 10, [0, 1, 2, 3, 7, 8, 9, 14, 15])
    with av.open(str(path)) as container:
        assert container.streams.video[0].frames == 16
    pictures, error = read(path)
    assert (len(pictures), error) == (9, None)


@pytest.mark.parametrize(
    ("codec", "options"),
    [
        ("libx264", {"bf": "3"}),
        ("libx264", {"bf": "8", "b_strategy": "0", "x264-params": "open-gop=1:b-pyramid=normal"}),
        ("mpeg4", {"bf": "2"}),
        ("mpeg4", {}),
    ],
)
def test_avi_which_stores_no_times_has_one_picture_for_each_slot(tmp_path, codec, options):
    pictures, error = read(write_video(tmp_path / "a.avi", codec=codec, num_frames=50, b="8M", **options))
    assert error is None
    assert [level_of(picture) for picture in pictures] == list(range(50))
    np.testing.assert_allclose([picture.timestamp for picture in pictures], np.arange(50) / 25)


@pytest.mark.parametrize(("num_kept", "is_whole"), [(50, True), (40, False)])
def test_avi_whose_slots_are_shorter_than_its_pictures_are_shown(tmp_path, num_kept, is_whole):
    """As programs write it that copy the pictures of an MP4 into it."""
    whole = write_video(tmp_path / "whole.mp4", codec="mpeg4", num_frames=50)
    path = tmp_path / "a.avi"
    with av.open(str(whole)) as source, av.open(str(path), "w") as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        stream.time_base = Fraction(1, 600)
        for number, packet in enumerate(packet for packet in source.demux() if packet.size):
            packet.stream, packet.time_base = stream, Fraction(1, 600)
            packet.pts = packet.dts = 24 * number
            packet.duration = 1
            container.mux(packet)
            if number == num_kept - 1:
                size = path.stat().st_size
    if not is_whole:
        path.write_bytes(path.read_bytes()[:size])
    pictures, error = read(path)
    assert (len(pictures) == 50) == is_whole
    assert (error is None) == is_whole


@pytest.mark.parametrize("lost", [[0], [5, 6], [20]])
def test_what_is_missing_in_avi_shifts_nothing_beyond_the_next_key_frame(tmp_path, lost):
    whole = write_video(tmp_path / "whole.avi", num_frames=50, g="12", bf="3")
    path = tmp_path / "a.avi"
    with av.open(str(whole)) as source, av.open(str(path), "w") as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(packet for packet in source.demux() if packet.size):
            if number not in lost:
                packet.stream = stream
                container.mux(packet)
    pictures, error = read(path)
    assert error is None
    # A lost key frame takes all that builds upon it along.
    assert len(pictures) == (39 if lost == [0] else 50 - len(lost))
    times = np.rint([25 * picture.timestamp for picture in pictures])
    assert (np.diff(times) > 0).all()
    shifted = times != [level_of(picture) for picture in pictures]
    assert not shifted[lost[0] + 12 :].any()


def not_coded(number: int) -> bytes:
    """A picture of MPEG-4 that says "as the one before", as XviD writes them."""
    bits = f"0101{number % 25:05b}100"
    return b"\0\0\1\xb6" + int(bits.ljust(16, "1"), 2).to_bytes(2, "big")


def test_pictures_of_avi_that_are_not_coded_take_their_slots(tmp_path):
    options = {"b": "8M", "g": "250", "sc_threshold": "1000000000"}
    whole = write_video(tmp_path / "whole.avi", codec="mpeg4", num_frames=50, **options)
    path = tmp_path / "a.avi"
    with av.open(str(whole)) as source, av.open(str(path), "w") as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(packet for packet in source.demux() if packet.size):
            if number in (10, 11, 12):
                repeated = av.Packet(not_coded(number))
                repeated.pts, repeated.dts, repeated.time_base = packet.pts, packet.dts, packet.time_base
                packet = repeated
            packet.stream = stream
            container.mux(packet)
    pictures, error = read(path)
    assert error is None and len(pictures) == 47
    slots = np.rint([25 * picture.timestamp for picture in pictures])
    assert slots.tolist() == [number for number in range(50) if number not in (10, 11, 12)]


@pytest.mark.parametrize("rate", [10, 25, 50])
def test_streams_without_a_container_have_the_rate_that_they_tell(tmp_path, rate):
    pictures, error = read(write_grey(tmp_path / "a.h264", "libx264", rate, range(10)))
    assert error is None
    np.testing.assert_allclose([picture.timestamp for picture in pictures], np.arange(10) / rate, atol=1e-6)


def test_pictures_of_a_program_stream_without_a_time_come_a_frame_after_the_one_before(tmp_path):
    path = tmp_path / "a.vob"
    with av.open(str(path), "w", format="vob") as container:
        stream = container.add_stream("libx264", rate=25, options={"bf": "2", "b": "6M"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(60):
            image = np.full((HEIGHT, WIDTH, 3), level(number % 50), np.uint8)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            # The clock runs since long.
            frame.pts, frame.time_base = 25_000 + number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with av.open(str(path)) as container:
        assert None in [frame.pts for frame in container.decode(video=0)]
    pictures, error = read(path)
    assert error is None
    times = np.array([picture.timestamp for picture in pictures])
    np.testing.assert_allclose(times - times[0], np.arange(60) / 25, atol=1e-3)


@pytest.mark.parametrize("ending", ["mp4", "avi", "mkv"])
def test_a_title_may_be_of_any_alphabet(tmp_path, ending):
    path = tmp_path / f"a.{ending}"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "A title of old"
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        container.mux(stream.encode(av.VideoFrame(WIDTH, HEIGHT, "yuv420p")))
        container.mux(stream.encode())
    data = path.read_bytes()
    assert b"A title of old" in data
    path.write_bytes(data.replace(b"A title of old", b"\xc4 title of old"))
    pictures, error = read(path)
    assert (len(pictures), error) == (1, None)


@pytest.mark.parametrize(("orientation", "shape"), [(1, (HEIGHT, WIDTH)), (6, (WIDTH, HEIGHT))])
def test_pictures_with_notes_that_pyav_does_not_know_are_read(tmp_path, orientation, shape):
    """A camera's Motion JPEG with EXIF in each picture."""
    exif = Image.Exif()
    exif[0x112] = orientation
    data = io.BytesIO()
    Image.new("RGB", (WIDTH, HEIGHT), "red").save(data, "JPEG", exif=exif)
    with av.open(str(tmp_path / "a.avi"), "w") as container:
        stream = container.add_stream("mjpeg", rate=5)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuvj420p"
        for number in range(3):
            packet = av.Packet(data.getvalue())
            packet.pts = packet.dts = number
            packet.time_base, packet.stream, packet.is_keyframe = Fraction(1, 5), stream, True
            container.mux(packet)
    pictures, error = read(tmp_path / "a.avi")
    assert error is None
    assert [picture.to_rgb().shape for picture in pictures] == [(*shape, 3)] * 3


def test_the_shape_of_pixels_that_a_file_tells_goes_before_that_of_its_stream(tmp_path):
    """As in files whose shape was corrected without encoding them anew."""
    path = write_video(tmp_path / "a.mp4", num_frames=10, aspect=Fraction(4, 3))
    told, corrected = (b"pasp" + struct.pack(">II", *shape) for shape in ((4, 3), (3, 2)))
    assert path.read_bytes().count(told) == 1
    path.write_bytes(path.read_bytes().replace(told, corrected))
    pictures, error = read(path)
    assert error is None
    assert {picture.to_rgb().shape for picture in pictures} == {(HEIGHT, round(WIDTH * 3 / 2), 3)}


@pytest.mark.parametrize("aspects", [[(1, 1), (4, 3)], [(4, 3), (1, 1)]])
def test_the_shape_of_pixels_may_change_on_the_way(tmp_path, aspects):
    parts = [write_video(tmp_path / f"{n}.ts", num_frames=10, aspect=Fraction(*a)) for n, a in enumerate(aspects)]
    path = tmp_path / "a.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    pictures, error = read(path)
    assert error is None
    widths = [picture.to_rgb().shape[1] for picture in pictures]
    assert [widths[0], widths[-1]] == [round(WIDTH * a / b) for a, b in aspects]


@pytest.mark.parametrize("ending", ["mp4", "avi", "ts", "mkv"])
def test_a_recording_that_begins_late_is_whole(tmp_path, ending):
    codec = "mpeg4" if ending == "avi" else "libx264"
    pictures, error = read(write_grey(tmp_path / f"a.{ending}", codec, 25, range(50, 60)))
    assert (len(pictures), error) == (10, None)


def test_pictures_may_be_shown_for_seconds(tmp_path):
    pictures, error = read(write_grey(tmp_path / "slow.mkv", "libx264", Fraction(1, 2), range(5)))
    assert [picture.timestamp for picture in pictures] == [0, 2, 4, 6, 8]
    assert error is None


@pytest.mark.parametrize(
    ("aspect", "shape"), [((4, 3), (HEIGHT, 171)), ((8, 9), (108, WIDTH)), ((99, 1), (HEIGHT, WIDTH))]
)
def test_pixels_that_are_no_squares_become_squares(tmp_path, aspect, shape):
    path = write_video(tmp_path / "a.mp4", num_frames=2, aspect=Fraction(*aspect))
    pictures, error = read(path)
    assert error is None
    assert [picture.to_rgb().shape for picture in pictures] == [(*shape, 3)] * 2


def test_a_recording_without_its_index_is_refused_with_the_reason(tmp_path):
    path = write_video(tmp_path / "a.mp4")
    path.write_bytes(path.read_bytes()[:2000])
    pictures, error = read(path)
    assert pictures == []
    assert "not a video that can be decoded" in str(error)


def test_music_with_a_cover_picture_is_no_video(tmp_path):
    path = tmp_path / "a.m4a"
    with av.open(str(path), "w", format="mp4") as container:
        sound = container.add_stream("aac", rate=8000)
        cover = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 32, 32, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux(sound.encode(frame))
        container.mux(sound.encode())
        container.mux(cover.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
        container.mux(cover.encode())
    pictures, error = read(path)
    assert pictures == []
    assert "contains no video" in str(error)


def test_a_video_with_absurd_dimensions_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    path = tmp_path / "large.mp4"
    write_video(path)
    monkeypatch.setattr(video_decoding, "MAX_PIXELS", 100)
    with pytest.raises(VideoReadError, match="more than the limit of 100"):
        next(decode_video(path))


def test_pictures_that_are_larger_than_the_header_says_are_not_decoded(tmp_path, monkeypatch):
    def write(path, side):
        with av.open(str(path), "w", format="mjpeg") as container:
            stream = container.add_stream("mjpeg", rate=25)
            stream.width = stream.height = side
            stream.pix_fmt = "yuvj420p"
            picture = av.VideoFrame.from_ndarray(np.zeros((side, side, 3), dtype=np.uint8), format="rgb24")
            container.mux(stream.encode(picture))
            container.mux(stream.encode())

    write(tmp_path / "small.mjpeg", 32)
    write(tmp_path / "large.mjpeg", 512)
    path = tmp_path / "growing.mjpeg"
    path.write_bytes(3 * (tmp_path / "small.mjpeg").read_bytes() + (tmp_path / "large.mjpeg").read_bytes())
    assert [picture.to_rgb().shape[0] for picture in decode_video(path)] == [32, 32, 32, 512]
    monkeypatch.setattr(video_decoding, "MAX_PIXELS", 100_000)
    read = []
    with pytest.raises(VideoReadError, match="decoding failed"):
        read.extend(picture.to_rgb().shape[0] for picture in decode_video(path))

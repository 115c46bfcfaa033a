"""Read a video picture by picture: in the order of presentation, upright, with the stream's own times."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from packaging.version import Version

from .extras import import_from_extra
from .video_times import AviSlots, Clock


if TYPE_CHECKING:
    import av


# The last picture may well be shown for this many seconds, in files that don't tell for how long.
_DURATION_TOLERANCE = 1.0
# Of those that do, so many frames.
_FRAME_TOLERANCE = 1.5
# No format has pixels that are longer.
_MAX_PIXEL_ASPECT = 4.0
# Twice the pixels of 8K; several pictures are in memory at a time.
MAX_PIXELS = 2**26
# Files that hold their pictures themselves. Playlists (HLS, DASH, concat), which FFmpeg reads too, name other ones:
# that of a stranger would show what lies on the server.
_FORMATS = (
    *("mov", "matroska", "avi", "mpegts", "mpeg", "flv", "asf", "ogg", "mxf", "gxf", "nut", "rm", "wtv", "dv", "nsv"),
    *("ivf", "obu", "av1", "h261", "h263", "h264", "hevc", "vvc", "m4v", "mpegvideo", "vc1", "mjpeg", "mpjpeg"),
    *("yuv4mpegpipe", "dnxhd", "swf", "gif", "apng"),
    # Pictures that Pillow doesn't read.
    *("jpegxl_pipe", "jpegxl_anim", "exr_pipe", "dpx_pipe", "hdr_pipe"),
)
_TEXT_CODECS = frozenset(("ansi", "bintext", "idf", "xbin"))


class VideoReadError(ValueError):
    """A video can't be read, or no further.

    Args:
        reason: Why, without the name of the file.
        number: How many pictures came before, which is the number of the first one that is missing.
    """

    def __init__(self, reason: str, number: int = 0):
        super().__init__(reason)
        self.number = number


class VideoTruncatedError(VideoReadError):
    """A video ended without an error, but before the end that its header tells."""


@dataclass(frozen=True, eq=False)
class VideoPicture:
    """One decoded picture, not yet converted to RGB.

    Attributes:
        number: Its place in the order of presentation, from 0.
        timestamp: Its presentation time in the stream, in seconds. Streams without times (raw H.264) are counted at
            their nominal frame rate; `None` if they have none either.
        is_damaged: The decoder marked the picture, or one that it builds upon, as damaged.
    """

    number: int
    timestamp: float | None
    is_damaged: bool
    _picture: "av.VideoFrame"
    _display_matrix: NDArray[np.int32] | None
    _pixel_aspect: float

    def to_rgb(self) -> NDArray[np.uint8]:
        """The upright picture: RGB `uint8` `[height, width, 3]`; pixels that are no squares become so."""
        width, height = self._picture.width, self._picture.height
        # The shorter side of a pixel grows, so that nothing of the picture is lost.
        if self._pixel_aspect > 1:
            width = round(width * self._pixel_aspect)
        else:
            height = round(height / self._pixel_aspect)
        image = self._picture.to_ndarray(format="rgb24", width=width, height=height)
        return upright(image, self._display_matrix)


def decode_video(path: str | os.PathLike) -> Iterator[VideoPicture]:
    """Yields every picture of a video, one at a time.

    Damaged pictures are yielded too, and so are those after them until the next key frame, because they are built upon
    them: see `VideoPicture.is_damaged`. Memory does not grow with the length of the video.

    Raises:
        VideoReadError: The file does not exist, is no video, or decoding failed, perhaps after many pictures.
        VideoTruncatedError: The file ended before all pictures came that its header promises.
        ImportError: PyAV is missing.
    """
    av = import_av()
    number = 0
    try:
        with open_video(path) as container:
            stream = _first_stream(container)
            clock, decoder = Clock(stream), stream.codec_context
            told, aspect = None, _pixel_aspect(stream.sample_aspect_ratio)
            is_damaged, rotation, matrix = False, None, None
            for picture in _pictures(container, stream):
                is_damaged = picture.is_corrupt or (is_damaged and not picture.key_frame)
                # A picture whose side data was read lives until Python next looks for cycles, hundreds of pictures
                # later: so only those are read that are turned otherwise than the one before.
                if picture.rotation != rotation:
                    rotation, matrix = picture.rotation, _display_matrix(picture)
                # Broadcasts change between 4:3 and 16:9. At first, what the file tells goes before its stream.
                if number > 0 and decoder.sample_aspect_ratio != told:
                    aspect = _pixel_aspect(decoder.sample_aspect_ratio)
                told = decoder.sample_aspect_ratio
                yield VideoPicture(number, clock.seconds_of(picture, number), is_damaged, picture, matrix, aspect)
                number += 1
        if number == 0:
            raise VideoReadError("the video has no picture")
    except VideoReadError as error:
        error.number = number
        raise
    # PyAV raises ValueError where a file lacks what its format needs, OSError where it can't be opened.
    except (av.FFmpegError, ValueError, OSError) as error:
        where = "decoding failed" if number else "it is not a video that can be decoded"
        raise VideoReadError(f"{where} ({getattr(error, 'strerror', None) or error})", number) from error


def open_video(path: str | os.PathLike) -> "av.container.InputContainer":
    """Opens a local file of a format that holds its pictures itself.

    Raises:
        VideoReadError: The file is of none of these formats, such as a playlist.
        av.FFmpegError: It can't be opened.
        ImportError: PyAV is missing.
    """
    av = import_av()
    # Titles and the like are not read, and in old files no UTF-8. From PyAV 19 on, that is no error any more.
    lenient = {} if Version(av.__version__) >= Version("19") else {"metadata_errors": "replace"}
    try:
        # Without the scheme, what stands before a colon in a name would be taken for one.
        return av.open(
            f"file:{os.fspath(path)}", container_options={"format_whitelist": ",".join(_FORMATS)}, **lenient
        )
    except av.ArgumentError as error:
        raise VideoReadError("it is not a video that can be decoded, or it is a playlist of other files") from error


def video_streams(container: "av.container.InputContainer") -> list["av.VideoStream"]:
    """The streams of a file that are meant to be watched."""
    # Cover pictures of music files are video streams too, and FFmpeg shows text as the picture of a terminal.
    return [
        stream
        for stream in container.streams.video
        if not stream.disposition & stream.disposition.attached_pic
        and stream.codec_context is not None
        and stream.codec_context.name not in _TEXT_CODECS
    ]


def _first_stream(container: "av.container.InputContainer") -> "av.VideoStream":
    streams = video_streams(container)
    if not streams:
        raise VideoReadError("the file holds no video")
    width, height = streams[0].codec_context.width, streams[0].codec_context.height
    if width * height > MAX_PIXELS:
        raise VideoReadError(f"it has {width} x {height} pixels, more than the limit of {MAX_PIXELS}")
    # Pictures may be larger than the header says.
    streams[0].codec_context.options = {"max_pixels": str(MAX_PIXELS)}
    # On several threads the decoder may lose other pictures of a damaged file from one run to the next.
    streams[0].thread_type, streams[0].codec_context.thread_count = "NONE", 1
    return streams[0]


def _pictures(container: "av.container.InputContainer", stream: "av.VideoStream") -> Iterator["av.VideoFrame"]:
    """Yields what the decoder gives, also what it still holds when a packet is broken."""
    end, begin, num_packets = 0, None, 0
    slots = AviSlots(stream.codec_context) if container.format.name == "avi" else None
    try:
        for packet in container.demux(stream):
            if slots is not None:
                slots.open(packet)
            # AVI, and what Matroska took over from it, knows times of decoding alone.
            time = packet.dts if packet.pts is None else packet.pts
            if packet.size > 0 and time is not None:
                end = max(end, time + (packet.duration or 0))
                begin = time if begin is None else min(begin, time)
                num_packets += 1
            yield from _timed(packet.decode(), slots)
    except import_av().FFmpegError:
        yield from _timed(_held_back(stream), slots)
        raise
    promised, tolerance = _promised_end(container, stream)
    if slots is not None and num_packets > 1:
        # A slot may be far shorter than a picture is shown.
        tolerance = max(tolerance, _FRAME_TOLERANCE * float((end - begin) * stream.time_base) / (num_packets - 1))
    missing = promised - float(end * stream.time_base)
    if missing > tolerance:
        raise VideoTruncatedError(f"the video ends {missing:.1f} seconds before the time that its header tells")


def _timed(pictures: list["av.VideoFrame"], slots: AviSlots | None) -> list["av.VideoFrame"]:
    return pictures if slots is None else [slots.fill(picture) for picture in pictures]


def _promised_end(container: "av.container.InputContainer", stream: "av.VideoStream") -> tuple[float, float]:
    """Seconds at which a header says that the stream ends, 0 if none does, and how exactly it is known.

    Frames are not counted: a header's number holds those as well that were cut off by an edit list, or dropped in
    recording. But only formats that count them know the time to the frame; of others (MPEG-TS, ASF) it is guessed.
    """
    if not stream.frames or stream.duration is None or not stream.average_rate:
        return _tagged_duration(stream), _DURATION_TOLERANCE
    duration = stream.duration * stream.time_base
    if container.format.name == "avi":
        # Of a file that was cut off, FFmpeg guesses the duration by its size; AVI has a time for every frame.
        duration = stream.frames / stream.average_rate
    begin = (stream.start_time or 0) * stream.time_base
    return float(begin + duration), _FRAME_TOLERANCE / float(stream.average_rate)


def _tagged_duration(stream: "av.VideoStream") -> float:
    """Seconds that Matroska and WebM, which do not count their frames, tell of the stream; 0 if none do."""
    match = re.fullmatch(r"(\d+):(\d+):(\d+\.\d+)", stream.metadata.get("DURATION", ""))
    return sum(float(part) * unit for part, unit in zip(match.groups(), (3600, 60, 1), strict=True)) if match else 0.0


def _held_back(stream: "av.VideoStream") -> list["av.VideoFrame"]:
    """Pictures that came before the damage and wait for their turn in the order of presentation."""
    try:
        return stream.codec_context.decode(None)
    except import_av().FFmpegError:
        return []


def _pixel_aspect(ratio: Fraction | None) -> float:
    """Width of a pixel over its height; 1 where nothing is told, or what cannot be."""
    aspect = float(ratio or 1)
    return aspect if 1 / _MAX_PIXEL_ASPECT <= aspect <= _MAX_PIXEL_ASPECT else 1.0


def _display_matrix(picture: "av.VideoFrame") -> NDArray[np.int32] | None:
    """How the picture is to be turned or mirrored, `[3, 3]` in FFmpeg's fixed point numbers."""
    try:
        data = picture.side_data.get("DISPLAYMATRIX")
    except ValueError:
        # PyAV gives none at all where there is a kind that it doesn't know, such as EXIF. What is mirrored stays so.
        turn = np.deg2rad(picture.rotation)
        cosine, sine = (round(value) for value in (np.cos(turn), np.sin(turn)))
        return np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])
    return None if data is None else np.frombuffer(data, dtype=np.int32)[:9].reshape(3, 3)


def upright(image: NDArray[np.uint8], display_matrix: NDArray[np.int32] | None) -> NDArray[np.uint8]:
    """Turns and mirrors an image `[height, width, 3]` by quarters as a player would.

    Args:
        image: As it is stored.
        display_matrix: `[3, 3]`; a stored place (x, y) is shown at `(x, y) @ display_matrix[:2, :2]`, shifted so that
            the image begins at (0, 0).
    """
    if display_matrix is None:
        return image
    (a, b), (c, d) = display_matrix[:2, :2]
    if max(abs(b), abs(c)) > max(abs(a), abs(d)):
        image, a, d = image.transpose(1, 0, 2), c, b
    return np.ascontiguousarray(image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])


def import_av() -> ModuleType:
    """Imports PyAV, or raises an ImportError that tells what to install."""
    return import_from_extra("av", "video", "Reading videos")

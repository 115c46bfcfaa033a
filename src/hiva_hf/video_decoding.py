"""Read a video picture by picture: in presentation order, upright, with the stream's own times."""

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


# How many seconds the last picture may be shown in files that don't say for how long.
_DURATION_TOLERANCE = 1.0
# How many frames may be missing at the end of files that do.
_FRAME_TOLERANCE = 1.5
# No format has pixels with a larger aspect ratio.
_MAX_PIXEL_ASPECT = 4.0
# Twice the pixels of 8K; several pictures are in memory at a time.
MAX_PIXELS = 2**26
# Formats that contain their pictures. Playlists (HLS, DASH, concat), which FFmpeg reads too, name other files: an
# untrusted one could reveal files of the server.
_FORMATS = (
    *("mov", "matroska", "avi", "mpegts", "mpeg", "flv", "asf", "ogg", "mxf", "gxf", "nut", "rm", "wtv", "dv", "nsv"),
    *("ivf", "obu", "av1", "h261", "h263", "h264", "hevc", "vvc", "m4v", "mpegvideo", "vc1", "mjpeg", "mpjpeg"),
    *("yuv4mpegpipe", "dnxhd", "swf", "gif", "apng"),
    # Pictures that Pillow doesn't read.
    *("jpegxl_pipe", "jpegxl_anim", "exr_pipe", "dpx_pipe", "hdr_pipe"),
)
_TEXT_CODECS = frozenset(("ansi", "bintext", "idf", "xbin"))


class VideoReadError(ValueError):
    """A video can't be read, or not to its end.

    Args:
        reason: Why, without the name of the file.
        number: How many pictures were read, which is the number of the first missing one.
    """

    def __init__(self, reason: str, number: int = 0):
        super().__init__(reason)
        self.number = number


class VideoTruncatedError(VideoReadError):
    """A video ended without an error, but before the end that its header states."""


@dataclass(frozen=True, eq=False)
class VideoPicture:
    """One decoded picture, not yet converted to RGB.

    Attributes:
        number: Its place in presentation order, from 0.
        timestamp: Its presentation time in the stream, in seconds. Streams without times (raw H.264) are timed by
            their nominal frame rate; `None` if they have none either.
        is_damaged: The decoder marked the picture, or one that it depends on, as damaged.
    """

    number: int
    timestamp: float | None
    is_damaged: bool
    _picture: "av.VideoFrame"
    _display_matrix: NDArray[np.int32] | None
    _pixel_aspect: float

    def to_rgb(self) -> NDArray[np.uint8]:
        """The upright picture: RGB `uint8` `[height, width, 3]`, resized to square pixels."""
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

    Damaged pictures are yielded too. They, and those after them until the next key frame, which depend on them, have
    `VideoPicture.is_damaged` set. Memory does not grow with the length of the video.

    Raises:
        VideoReadError: The file does not exist, is not a video, or decoding failed, perhaps after many pictures.
        VideoTruncatedError: The file ended before the end that its header states.
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
                # A picture whose side data was read stays in memory until Python's next garbage collection, hundreds
                # of pictures later, so it is read only if the rotation has changed.
                if picture.rotation != rotation:
                    rotation, matrix = picture.rotation, _display_matrix(picture)
                # Broadcasts change between 4:3 and 16:9. At first, the file's ratio overrides that of its stream.
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
    """Opens a local file of a format that contains its pictures.

    Raises:
        VideoReadError: The file has another format, such as a playlist.
        av.FFmpegError: It can't be opened.
        ImportError: PyAV is missing.
    """
    av = import_av()
    # Titles and the like are not used, and in old files not UTF-8, which is an error before PyAV 19.
    lenient = {} if Version(av.__version__) >= Version("19") else {"metadata_errors": "replace"}
    try:
        # Without the scheme, the part of a name before a colon would be taken for one.
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
        raise VideoReadError("the file contains no video")
    width, height = streams[0].codec_context.width, streams[0].codec_context.height
    if width * height > MAX_PIXELS:
        raise VideoReadError(f"it has {width} x {height} pixels, more than the limit of {MAX_PIXELS}")
    # Pictures may be larger than the header says.
    streams[0].codec_context.options = {"max_pixels": str(MAX_PIXELS)}
    # With several threads, the decoder may lose different pictures of a damaged file in each run.
    streams[0].thread_type, streams[0].codec_context.thread_count = "NONE", 1
    return streams[0]


def _pictures(container: "av.container.InputContainer", stream: "av.VideoStream") -> Iterator["av.VideoFrame"]:
    """Yields the decoder's pictures, including those that it still holds when a packet is broken."""
    end, begin, num_packets = 0, None, 0
    slots = AviSlots(stream.codec_context) if container.format.name == "avi" else None
    try:
        for packet in container.demux(stream):
            if slots is not None:
                slots.open(packet)
            # AVI, and streams that Matroska took over from it, have decoding times only.
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
        raise VideoTruncatedError(f"the video ends {missing:.1f} seconds before the end that its header states")


def _timed(pictures: list["av.VideoFrame"], slots: AviSlots | None) -> list["av.VideoFrame"]:
    return pictures if slots is None else [slots.fill(picture) for picture in pictures]


def _promised_end(container: "av.container.InputContainer", stream: "av.VideoStream") -> tuple[float, float]:
    """The end of the stream according to a header, 0 without one, and the tolerance of it, both in seconds.

    Frames are not counted: a header's number includes those that were cut off by an edit list, or dropped in
    recording. But only formats that count them know the end to the frame; for others (MPEG-TS, ASF) it is estimated.
    """
    if not stream.frames or stream.duration is None or not stream.average_rate:
        return _tagged_duration(stream), _DURATION_TOLERANCE
    duration = stream.duration * stream.time_base
    if container.format.name == "avi":
        # FFmpeg estimates the duration of a truncated file from its size; AVI has a time slot for every frame.
        duration = stream.frames / stream.average_rate
    begin = (stream.start_time or 0) * stream.time_base
    return float(begin + duration), _FRAME_TOLERANCE / float(stream.average_rate)


def _tagged_duration(stream: "av.VideoStream") -> float:
    """The stream's duration in seconds as tagged by Matroska and WebM, which do not count frames; 0 without a tag."""
    match = re.fullmatch(r"(\d+):(\d+):(\d+\.\d+)", stream.metadata.get("DURATION", ""))
    return sum(float(part) * unit for part, unit in zip(match.groups(), (3600, 60, 1), strict=True)) if match else 0.0


def _held_back(stream: "av.VideoStream") -> list["av.VideoFrame"]:
    """Pictures from before the damage that still wait for their turn in presentation order."""
    try:
        return stream.codec_context.decode(None)
    except import_av().FFmpegError:
        return []


def _pixel_aspect(ratio: Fraction | None) -> float:
    """Width of a pixel over its height; 1 if it is not given or implausible."""
    aspect = float(ratio or 1)
    return aspect if 1 / _MAX_PIXEL_ASPECT <= aspect <= _MAX_PIXEL_ASPECT else 1.0


def _display_matrix(picture: "av.VideoFrame") -> NDArray[np.int32] | None:
    """How to rotate or mirror the picture, `[3, 3]` in FFmpeg's fixed point numbers."""
    try:
        data = picture.side_data.get("DISPLAYMATRIX")
    except ValueError:
        # PyAV returns no side data if there is a kind that it doesn't know, such as EXIF. Mirroring is then ignored.
        turn = np.deg2rad(picture.rotation)
        cosine, sine = (round(value) for value in (np.cos(turn), np.sin(turn)))
        return np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])
    return None if data is None else np.frombuffer(data, dtype=np.int32)[:9].reshape(3, 3)


def upright(image: NDArray[np.uint8], display_matrix: NDArray[np.int32] | None) -> NDArray[np.uint8]:
    """Rotates an image `[height, width, 3]` by quarter turns and mirrors it, as a player would.

    Args:
        image: As it is stored.
        display_matrix: `[3, 3]`; a stored position (x, y) is shown at `(x, y) @ display_matrix[:2, :2]`, shifted so
            that the image begins at (0, 0).
    """
    if display_matrix is None:
        return image
    (a, b), (c, d) = display_matrix[:2, :2]
    if max(abs(b), abs(c)) > max(abs(a), abs(d)):
        image, a, d = image.transpose(1, 0, 2), c, b
    return np.ascontiguousarray(image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])


def import_av() -> ModuleType:
    """Imports PyAV, or raises an ImportError that says what to install."""
    return import_from_extra("av", "video", "Reading videos")

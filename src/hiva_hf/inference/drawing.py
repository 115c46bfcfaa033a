"""Copies of photos and videos with the results drawn into them."""

import contextlib
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..image_loading import URL_SCHEMES
from ..video_decoding import import_av
from ..viz import annotate_frame
from .engine import FrameResult
from .output_paths import identity_of, paths_below
from .sources import ASSUMED_FRAME_RATE


_JPEG_QUALITY = 92
# JPEG allows no larger sides, and Pillow stays slightly below its limit.
_MAX_JPEG_SIDE = 65_500
# The clock of MPEG, which is fine enough for any camera.
_TIME_BASE = Fraction(1, 90_000)
# In its units: time goes back further than this only where another recording begins.
_LEAST_JUMP = round(Fraction(1, 5) / _TIME_BASE)
# Frames are written in fragments of this length: about two seconds are lost if the process is killed.
_FRAMES_PER_FRAGMENT = 50
# Longer pauses are shortened to this, some 50 minutes: FFmpeg can't write steps of more than about twice as much.
_LONGEST_STEP = 2**28


class AnnotatedFiles(contextlib.AbstractContextManager):
    """A folder with an image for each photo and a video (H.264, without sound) for each video.

    Names and sub-folders are those of the sources. A resumed video continues in a separate file, whose name has the
    frame at which it was resumed. If the process was killed, about 50 frames that the encoder had not yet written are
    missing from both files.

    Args:
        folder: The folder; created if needed.
        sources: All sources that will be drawn.
        first_frame: Returns the frame at which a source is resumed, 0 if it is not.
    """

    def __init__(
        self,
        folder: Path,
        sources: Sequence[str],
        first_frame: Callable[[str], int] = lambda source: 0,
    ):
        self._first_frame = first_frame
        self._paths = paths_below(folder, sources)
        self._source: str | None = None
        self._video: VideoFile | None = None

    def write(self, result: FrameResult) -> None:
        """Draws the faces of a frame; frames of a video come in order."""
        frame = result.frame
        if frame.source != self._source:
            self._end_video()
            self._source = frame.source
        image = annotate_frame(result.image, result.records)
        path = self._paths[frame.source]
        if not frame.is_video:
            _save_photo(image, path)
            return
        if self._video is None:
            first = self._first_frame(frame.source)
            part = f"-from-{first}" if first else ""
            path.parent.mkdir(parents=True, exist_ok=True)
            self._video = VideoFile(path.with_name(f"{path.name}{part}.mp4"), image.shape[:2])
        self._video.write(image, frame.seconds)

    def _end_video(self) -> None:
        if self._video is not None:
            self._video.close()
            self._video = None

    def __exit__(self, *_: object) -> None:
        self._end_video()


def _save_photo(image: NDArray[np.uint8], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    ending = "jpg" if max(image.shape) <= _MAX_JPEG_SIDE else "png"
    Image.fromarray(image).save(path.with_name(f"{path.name}.{ending}"), quality=_JPEG_QUALITY)


def check_apart(folder: Path, sources: Sequence[str]) -> None:
    """Checks that no photo can be overwritten, neither a source nor another one beside it.

    Args:
        folder: Folder of the [`AnnotatedFiles`].
        sources: Photos and videos to draw.

    Raises:
        ValueError: A copy would be written to a folder that contains a source.
    """
    paths = paths_below(folder, sources)
    read_from = {identity_of(Path(source).parent): source for source in sources if not source.startswith(URL_SCHEMES)}
    for folder in dict.fromkeys(path.parent for path in paths.values()):
        source = read_from.get(identity_of(folder))
        if source is not None:
            raise ValueError(
                f"{source} is in {folder}, where drawn copies would be written and might overwrite it: pass another "
                "`draw_dir`."
            )


class VideoFile:
    """An H.264 video that keeps the timestamps of its frames and remains playable if the process is killed.

    Args:
        path: The MP4 file.
        size: Height and width of the first frame.
    """

    def __init__(self, path: Path, size: tuple[int, int]):
        # Fragmented until it is closed. The header is delayed until the first fragment, so that it can hold the start
        # time and the fact that frames are stored in another order than they are shown in.
        options = {"movflags": "hybrid_fragmented+delay_moov", "flush_packets": "1"}
        av = import_av()
        # Without the scheme, FFmpeg would take the part before a colon for one.
        self._container = av.open(f"file:{path}", "w", options=options)
        self._stream = self._container.add_stream(
            "libx264", options={"preset": "veryfast", "crf": "20", "g": str(_FRAMES_PER_FRAGMENT)}
        )
        # yuv420p needs even sizes.
        height, width = (max(2, side - side % 2) for side in size)
        self._stream.height, self._stream.width = height, width
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = _TIME_BASE
        # Without these, players assume BT.709 for large frames.
        self._stream.codec_context.colorspace = av.video.reformatter.Colorspace.ITU601
        self._stream.codec_context.color_range = av.video.reformatter.ColorRange.MPEG
        self._last: int | None = None
        self._step = round(1 / (ASSUMED_FRAME_RATE * _TIME_BASE))
        self._shift = 0

    def write(self, image: NDArray[np.uint8], seconds: float) -> None:
        """Adds a frame `[height, width, 3]`."""
        picture = import_av().VideoFrame.from_ndarray(self._fit(image), format="rgb24")
        picture.pts, picture.time_base = self._next_time(round(seconds / _TIME_BASE)), _TIME_BASE
        self._container.mux(self._stream.encode(picture))

    def _next_time(self, time: int) -> int:
        """The time of the next frame, always larger than the last one: the format needs increasing times."""
        if self._last is None:
            # The first timestamp may be negative.
            self._shift = max(0, -time)
            self._last = time + self._shift
            return self._last
        if time + self._shift < self._last - _LEAST_JUMP:
            self._shift = self._last + self._step - time
        self._shift -= max(0, time + self._shift - self._last - _LONGEST_STEP)
        following = max(time + self._shift, self._last + 1)
        self._step, self._last = following - self._last, following
        return following

    def _fit(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Crops an odd row or column; if the size of a video changes, its frames are resized to the first size."""
        height, width = self._stream.height, self._stream.width
        if image.shape[0] - height not in (0, 1) or image.shape[1] - width not in (0, 1):
            image = np.asarray(Image.fromarray(image).resize((width, height)))
        return np.ascontiguousarray(image[:height, :width])

    def close(self) -> None:
        """Completes the file."""
        self._container.mux(self._stream.encode())
        self._container.close()

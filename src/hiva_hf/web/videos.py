"""Process an uploaded video for the page, with a progress report every half second."""

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from ..inference.drawing import VideoFile
from ..inference.engine import DetectionEngine, FrameResult
from ..inference.records import FaceRecord
from ..inference.sources import count_frames, is_photo, read_frames
from ..pipeline_au_detection import AUDetectionPipeline
from ..video_decoding import import_av, open_video, video_streams
from ..viz.overlay import annotate_frame
from .pictures import scaled_faces, shrink


if TYPE_CHECKING:
    import av

SECONDS_BETWEEN_REPORTS = 0.5
# Pixels of the longer side.
PREVIEW_SIZE = 720
# The duration in their headers is the time at which the video ends; in other formats, it is its length.
_FORMATS_WITH_AN_END = frozenset(("matroska,webm", "asf", "nut"))


class VideoRefusedError(ValueError):
    """The page does not accept this video. The message is for its visitor."""


@dataclass
class ReadVideo:
    """A video and its results so far.

    Attributes:
        name: Name of the file.
        preview: The annotated video.
        num_promised: Number of frames to read according to the file's header; `None` if it is unknown.
        num_frames: Number of frames that were read.
        seconds: Time that this took.
        records: Rows of the table for these frames.
        remark: Why the video ended early, for the visitor.
    """

    name: str
    preview: Path
    num_promised: int | None
    num_frames: int = 0
    seconds: float = 0.0
    records: list[FaceRecord] = field(default_factory=list)
    remark: str = ""

    @property
    def num_faces(self) -> int:
        """The number of different faces."""
        return len({record.face_id for record in self.records if record.has_face})


def read_video(
    detector: AUDetectionPipeline,
    path: str,
    name: str,
    folder: Path,
    stop: threading.Event,
    every: int = 1,
    max_seconds: float = 120.0,
) -> Iterator[ReadVideo]:
    """Detects the AUs in a video, and draws the results into its frames.

    Args:
        detector: The au-detection pipeline.
        path: Path of the video.
        name: Its name in tables and messages.
        folder: Folder for the annotated video.
        stop: Ends the processing after the current frame.
        every: Only frames whose number is a multiple of this are read.
        max_seconds: Longer videos are rejected, or cut off if their header doesn't give their length.

    Yields:
        The same object, every half second and at the end, when `preview` can be played.

    Raises:
        VideoRefusedError: The file is no video, or it is too long.
    """
    check_video(path, name, max_seconds)
    video = ReadVideo(name, folder / "preview.mp4", count_frames([path], every))
    engine = DetectionEngine(detector, keep_images=True)
    frames = read_frames([path], every)
    start = last_report = time.perf_counter()
    with closing(_Preview(video.preview)) as preview, closing(engine.run(frames)) as results:
        yield video
        begin = None
        for result in results:
            # Timestamps of cameras and broadcasts need not start at 0.
            begin = result.frame.seconds if begin is None else begin
            seconds = result.frame.seconds - begin
            if seconds > max_seconds:
                video.remark = f"Only the first {max_seconds:g} seconds were read."
                break
            _add(video, result, path)
            preview.write(result, seconds)
            video.seconds = time.perf_counter() - start
            if stop.is_set():
                video.remark = f"Stopped after {video.num_frames} frames; these are the results so far."
                break
            if time.perf_counter() - last_report >= SECONDS_BETWEEN_REPORTS:
                last_report = time.perf_counter()
                yield video
    yield video


def check_video(path: str, name: str, max_seconds: float) -> None:
    """Checks that a file is a video and not too long.

    Raises:
        VideoRefusedError: The message says what to do.
    """
    if is_photo(path):
        raise VideoRefusedError(f"{name} is a photo: upload it in the Photo tab.")
    av = import_av()
    try:
        with open_video(path) as container:
            has_video = bool(video_streams(container))
            duration = _duration(container) if has_video else None
    except (av.FFmpegError, ValueError, OSError) as error:
        raise VideoRefusedError(
            f"{name} can't be read as a video: the file is damaged, or its format is not supported. MP4, MOV, WebM, "
            "MKV and AVI work."
        ) from error
    if not has_video:
        raise VideoRefusedError(f"{name} contains no video, perhaps only sound. Choose another file.")
    if duration and duration > max_seconds:
        raise VideoRefusedError(
            f"{name} lasts {duration:.0f} seconds, but this page accepts videos of up to {max_seconds:g} seconds. Cut "
            "it, or process it on your own computer, without a limit: hiva-hf detect VIDEO --output table.csv"
        )


def _duration(container: "av.container.InputContainer") -> float | None:
    """Duration of a video in seconds according to its header; `None` if it is unknown."""
    if not container.duration:
        return None
    duration = container.duration / import_av().time_base
    if container.format.name not in _FORMATS_WITH_AN_END:
        return duration
    stream = video_streams(container)[0]
    first = next(container.demux(stream))
    return duration - float((first.pts or 0) * stream.time_base)


def _add(video: ReadVideo, result: FrameResult, path: str) -> None:
    for record in result.records:
        error = record.error and record.error.replace(path, video.name)
        if error:
            video.remark = f"Not all of the video could be read: {error}"
        video.records.append(replace(record, source=video.name, error=error))
    video.num_frames += 1


class _Preview:
    """The annotated video that the page plays, in the size in which it is shown."""

    def __init__(self, path: Path):
        self._path = path
        self._video: VideoFile | None = None

    def write(self, result: FrameResult, seconds: float) -> None:
        if result.image is None:
            return
        small, scale = shrink(result.image, PREVIEW_SIZE, Image.Resampling.BILINEAR)
        if self._video is None:
            self._video = VideoFile(self._path, small.shape[:2])
        self._video.write(annotate_frame(small, scaled_faces(result.records, scale)), seconds)

    def close(self) -> None:
        if self._video is not None:
            self._video.close()

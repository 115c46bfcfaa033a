"""Turn frames into face records: decoding, face detection and the network run in parallel, a few frames at a time."""

import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..face_detection import DetectedFace
from ..pipeline_au_detection import MAX_FACES, AUDetectionPipeline
from .channel import Channel, ChannelStopped
from .engine_report import STAGES, EngineReport
from .face_tracking import FaceTracker
from .records import FaceRecord, records_of_frame
from .sources import Frame


# Number of frames decoded in advance; a frame of a phone's video takes 6 MB.
READ_AHEAD = 4


@dataclass(frozen=True, eq=False)
class FrameResult:
    """What was found in one frame.

    Attributes:
        frame: The frame, without its image.
        records: One for each face, or a single one that says that there is none, or why the frame can't be used.
        image: RGB `uint8` `[height, width, 3]`; `None` unless images were requested, and with an error.
    """

    frame: Frame
    records: list[FaceRecord]
    image: NDArray[np.uint8] | None = None


@dataclass(frozen=True, eq=False)
class _Prepared:
    """A frame whose faces are detected and aligned; `chunks` go to the pipeline."""

    frame: Frame
    chunks: list[dict[str, Any]]
    face_ids: list[int] | None = None
    image: NDArray[np.uint8] | None = None


class DetectionEngine:
    """Detects the AUs of all faces in a stream of frames.

    One thread decodes frames, one tracks the faces of videos, `num_workers` threads align faces and decode photos, and
    the caller's thread runs the network on batches of faces across frames. They are connected by bounded queues, so
    that memory does not grow with the length of a video.

    Args:
        detector: The au-detection pipeline; its `preprocess`, `forward` and `postprocess` do the work.
        batch_size: Number of faces per batch.
        num_workers: Threads that align faces and decode photos.
        detect_every: See [`FaceTracker`].
        max_gap: See [`FaceTracker`].
        keep_images: Whether results include the images.
        on_error: "return" turns a frame that can't be used into a record with the error, "raise" raises an exception.
        **parameters: Parameters of the pipeline, such as `threshold`.

    Attributes:
        report: Statistics of the last run; complete when it has ended.
    """

    def __init__(
        self,
        detector: AUDetectionPipeline,
        batch_size: int = 8,
        num_workers: int = 2,
        detect_every: int = 10,
        max_gap: float = 1.0,
        keep_images: bool = False,
        on_error: str = "return",
        **parameters: Any,
    ):
        for name, value in {"batch_size": batch_size, "num_workers": num_workers}.items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}.")
        if on_error not in ("return", "raise"):
            raise ValueError(f'on_error must be "return" or "raise", got {on_error!r}.')
        self.report = EngineReport()
        self._detector = detector
        self._batch_size = batch_size
        self._num_workers = num_workers
        self._keep_images = keep_images
        self._on_error = on_error
        self._preprocess_params, self._forward_params, self._postprocess_params = detector.merged_parameters(
            **parameters
        )
        self._load_options = {
            name: value for name, value in self._preprocess_params.items() if name in ("max_pixels", "timeout")
        }
        self._finds_faces = self._preprocess_params.get("detect_faces", True)
        self._max_faces = self._preprocess_params.get("max_faces", MAX_FACES)
        self._face_detector = self._preprocess_params.pop("face_detector", None) or detector.default_face_detector
        self._tracker = FaceTracker(self._face_detector, detect_every, max_gap)
        self._clock = _Clock()

    @property
    def thresholds(self) -> dict[str, float]:
        """The lowest probability at which each AU counts as present, by label."""
        thresholds = self._detector.au_thresholds(self._postprocess_params.get("threshold"))
        return dict(zip(self._detector.model.config.au_labels, thresholds, strict=True))

    def run(self, frames: Iterable[Frame]) -> Iterator[FrameResult]:
        """Yields the result of each frame, in order, except for frames with `is_done`.

        The threads end when the iterator is exhausted or closed.

        Raises:
            RuntimeError: Something other than a frame failed, or anything at all with `on_error="raise"`; the message
                names source and frame.
            ImportError: The face detector's packages are missing.
        """
        self.report, self._clock = EngineReport(), _Clock()
        self._tracker.num_searches = 0
        read, prepared = Channel(READ_AHEAD), Channel(self._batch_size + self._num_workers)
        start = time.perf_counter()
        with ThreadPoolExecutor(self._num_workers, thread_name_prefix="hiva-align") as workers:
            threads = [
                threading.Thread(target=self._read, args=(frames, read), name="hiva-read", daemon=True),
                threading.Thread(target=self._find, args=(read, prepared, workers), name="hiva-find", daemon=True),
            ]
            for thread in threads:
                thread.start()
            try:
                yield from self._model(prepared)
            finally:
                read.stop()
                prepared.stop()
                for thread in threads:
                    thread.join()
                workers.shutdown(cancel_futures=True)
                self._finish_report(time.perf_counter() - start, read, prepared)

    def _read(self, frames: Iterable[Frame], output: Channel[Frame]) -> None:
        """The thread that decodes."""
        try:
            frames = iter(frames)
            while True:
                with self._clock.measure("decode"):
                    frame = next(frames, None)
                if frame is None:
                    break
                output.put(frame)
                # Free this frame before the next one is decoded.
                del frame
            output.complete()
        except ChannelStopped:
            pass
        except BaseException as error:
            output.complete(error)

    def _find(self, frames: Channel[Frame], output: Channel["Future[_Prepared]"], workers: ThreadPoolExecutor) -> None:
        """The thread that tracks faces through videos and hands frames to the workers."""
        source = None
        try:
            for frame in frames:
                if frame.source != source:
                    self._tracker.reset()
                    source = frame.source
                future = self._hand_over(frame, workers)
                if future is not None:
                    output.put(future)
                del frame, future
            output.complete()
        except ChannelStopped:
            pass
        except BaseException as error:
            output.complete(error)

    def _hand_over(self, frame: Frame, workers: ThreadPoolExecutor) -> "Future[_Prepared] | None":
        if frame.error is not None or not (frame.is_video and self._finds_faces):
            return None if frame.is_done else workers.submit(self._prepare, frame)
        try:
            with self._clock.measure("faces"):
                tracked = self._tracker(frame.image, frame.seconds)
        except ImportError:
            raise
        except Exception as error:
            return None if frame.is_done else workers.submit(self._fail, frame, error)
        self.report.num_tracked_frames += 1
        if frame.is_done:
            return None
        tracked = tracked[: self._max_faces]
        faces, ids = [item.face for item in tracked], [item.face_id for item in tracked]
        return workers.submit(self._prepare, frame, faces, ids)

    def _prepare(
        self, frame: Frame, faces: list[DetectedFace] | None = None, face_ids: list[int] | None = None
    ) -> _Prepared:
        """Aligns the faces of a frame, and first detects them if it is a photo. Runs in a worker."""
        bare = Frame(frame.source, frame.number, frame.timestamp, frame.is_video, error=frame.error)
        if frame.error is not None:
            return self._failed(bare, frame.error)
        try:
            with self._clock.measure("faces"):
                image = frame.load(**self._load_options)
                detector = self._face_detector if faces is None else (lambda image: faces)
                parameters = self._preprocess_params | {"face_detector": detector, "on_error": "raise"}
                chunks = list(self._detector.preprocess(image, **parameters))
        except ImportError:
            raise
        except Exception as error:
            return self._fail(bare, error)
        return _Prepared(bare, chunks, face_ids, image if self._keep_images else None)

    def _fail(self, frame: Frame, error: Exception) -> _Prepared:
        # Errors of the image loader already name the file.
        message = str(error) if frame.source in str(error) else f"{place_of(frame)}: {type(error).__name__}: {error}"
        bare = Frame(frame.source, frame.number, frame.timestamp, frame.is_video, error=message)
        return self._failed(bare, message, error)

    def _failed(self, frame: Frame, message: str, cause: Exception | None = None) -> _Prepared:
        if self._on_error == "raise":
            raise RuntimeError(message) from cause
        return _Prepared(frame, [self._detector.error_chunk(message)])

    def _model(self, prepared: "Channel[Future[_Prepared]]") -> Iterator[FrameResult]:
        """Runs the network, in the caller's thread."""
        waiting: deque[_Prepared] = deque()

        def chunks() -> Iterator[dict[str, Any]]:
            for future in prepared:
                with self._clock.measure("model wait"):
                    item = future.result()
                waiting.append(_Prepared(item.frame, [], item.face_ids, item.image))
                yield from item.chunks
                del future, item

        results = self._detector.read_chunks(
            chunks(), self._batch_size, self._forward_params, self._postprocess_params
        )
        for result in _named(results, waiting):
            item = waiting.popleft()
            yield self._result(item, result)
            del item

    def _result(self, item: _Prepared, result: list[Mapping[str, Any]] | Mapping[str, Any]) -> FrameResult:
        frame = item.frame
        records = records_of_frame(result, frame.source, frame.number, frame.timestamp, item.face_ids)
        self.report.num_frames += 1
        self.report.num_faces += sum(record.has_face for record in records)
        self.report.num_errors += sum(record.error is not None for record in records)
        return FrameResult(frame, records, item.image)

    def _finish_report(self, seconds: float, read: Channel, prepared: Channel) -> None:
        report = self.report
        report.seconds = seconds
        report.num_searches = self._tracker.num_searches
        waits = {
            ("decode", "faces"): read.producer_wait,
            ("faces", "decode"): read.consumer_wait,
            ("faces", "model"): prepared.producer_wait,
            ("model", "faces"): prepared.consumer_wait + self._clock.seconds["model wait"],
        }
        report.waits = {stages: wait / seconds for stages, wait in waits.items()}
        work = self._clock.seconds | {"model": seconds - waits["model", "faces"]}
        report.work = {stage: work[stage] / seconds for stage in STAGES}


class _Clock:
    """Sums the seconds that threads spend on each activity."""

    def __init__(self):
        self.seconds: dict[str, float] = defaultdict(float)
        self._lock = threading.Lock()

    @contextmanager
    def measure(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            with self._lock:
                self.seconds[name] += time.perf_counter() - start


def place_of(frame: Frame) -> str:
    """Names a frame in a message."""
    return f"{frame.source}, frame {frame.number}" if frame.is_video else frame.source


def _named(results: Iterator[Any], waiting: "deque[_Prepared]") -> Iterator[Any]:
    """Passes results on; adds to an error of the network which frames it was processing."""
    try:
        yield from results
    except Exception as error:
        if waiting:
            error.add_note(f"It happened between {place_of(waiting[0].frame)} and {place_of(waiting[-1].frame)}.")
        raise

"""One run of a detector over photos and videos, with its progress bar, table, drawings and explanations."""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from tqdm.auto import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from ..face_detection import CenterFaceDetector
from ..listings import first_of
from ..pipeline_au_detection import AUDetectionPipeline
from .engine import DetectionEngine, FrameResult
from .engine_report import EngineReport
from .explanations import ExplanationFile
from .records import FaceRecord, source_text
from .row_files import TableProgress
from .sources import count_frames, read_frames
from .writers import TableWriter


if TYPE_CHECKING:
    from .drawing import AnnotatedFiles

logger = logging.getLogger(__name__)

# Small batches leave an accelerator idle; large ones gain nothing on a CPU.
_BATCH_SIZE, _ACCELERATOR_BATCH_SIZE = 8, 32
_MAX_SHOWN_ERRORS = 20
_MAX_SHOWN_NAMES = 5


class DetectionJob:
    """One run of a detector over photos and videos.

    Args:
        sources: Photos and videos.
        ignored: Files that are neither; they are named in the log.
        detector: The au-detection pipeline.
        every: See [`detect`].
        batch_size: See [`detect`].
        detect_every: See [`detect`].
        face_search_size: See [`detect`].
        draw_dir: See [`detect`].
        on_error: See [`detect`].
        **parameters: Parameters of the pipeline.
    """

    def __init__(
        self,
        sources: Sequence[str],
        ignored: Sequence[str],
        detector: AUDetectionPipeline,
        *,
        every: int = 1,
        batch_size: int | None = None,
        detect_every: int = 10,
        face_search_size: int | None = None,
        draw_dir: str | os.PathLike | None = None,
        on_error: str = "return",
        **parameters: Any,
    ):
        if every < 1:
            raise ValueError(f"every must be at least 1, got {every}.")
        if face_search_size is not None:
            if parameters.get("face_detector") is not None:
                raise ValueError(
                    "`face_search_size` sets the built-in face detector: leave it out if you pass `face_detector`."
                )
            parameters["face_detector"] = CenterFaceDetector(max_size=face_search_size)
        if ignored:
            logger.info("Neither photo nor video, left out: %s.", first_of(ignored, _MAX_SHOWN_NAMES))
        self.sources = list(sources)
        self.labels = list(detector.model.config.au_labels)
        self.experimental = list(detector.model.config.experimental_labels or ())
        self._every = every
        self._draw_dir = None if draw_dir is None else Path(draw_dir)
        if self._draw_dir is not None:
            from .drawing import check_apart

            # Checked before a table is created, which would otherwise have to be removed again.
            check_apart(self._draw_dir, self.sources)
        is_accelerated = detector.device.type != "cpu"
        self._engine = DetectionEngine(
            detector,
            batch_size=batch_size or (_ACCELERATOR_BATCH_SIZE if is_accelerated else _BATCH_SIZE),
            detect_every=detect_every,
            keep_images=draw_dir is not None,
            on_error=on_error,
            **{name: value for name, value in parameters.items() if value is not None},
        )

    @property
    def thresholds(self) -> dict[str, float]:
        """The lowest probability at which each AU counts as present, by label."""
        return self._engine.thresholds

    @property
    def report(self) -> EngineReport:
        """Statistics of the last run, or of the one in progress."""
        return self._engine.report

    def marked(self, table: pd.DataFrame) -> pd.DataFrame:
        """Lists the AUs for which the model is unreliable in the table's `attrs`, since it has no column for them."""
        table.attrs["experimental_labels"] = list(self.experimental)
        return table

    def run(
        self, table: TableWriter | None = None, progress: bool = True, explanations: Path | None = None
    ) -> Iterator[FaceRecord]:
        """Yields each record once its row has been written to the table.

        Args:
            table: Where the rows are written; frames that it already contains are not processed again.
            progress: Whether to show a progress bar.
            explanations: File for explanations, see [`ExplanationFile`]; those of frames in the table are kept.
        """
        done = None if table is None else table.progress
        sources = self.sources if done is None else _left_to_do(self.sources, done)
        first_frame = _from_start if done is None else done.next_frame
        with ExitStack() as stack:
            drawing = explained = None
            if explanations is not None:
                explained = stack.enter_context(ExplanationFile(explanations, done))
            if self._draw_dir is not None:
                drawing = stack.enter_context(self._open_drawing(first_frame))
            stack.enter_context(logging_redirect_tqdm())
            bar = stack.enter_context(
                tqdm(total=count_frames(sources, self._every), unit="frames", disable=None if progress else True)
            )
            frames = read_frames(sources, self._every, first_frame)
            results = stack.enter_context(closing(self._engine.run(_shown(frames, bar))))
            for result in results:
                self._finish(result, table, drawing)
                if explained is not None:
                    explained.write(result.records)
                bar.update()
                yield from result.records

    def _open_drawing(self, first_frame: Callable[[str], int]) -> "AnnotatedFiles":
        # Only drawing needs Matplotlib.
        from .drawing import AnnotatedFiles

        return AnnotatedFiles(self._draw_dir, self.sources, first_frame)

    def _finish(self, result: FrameResult, table: TableWriter | None, drawing: "AnnotatedFiles | None") -> None:
        if table is not None:
            table.write(result.records)
        if drawing is not None and result.image is not None:
            drawing.write(result)
        errors = [record.error for record in result.records if record.error is not None]
        if errors and self.report.num_errors <= _MAX_SHOWN_ERRORS:
            logger.warning("%s", errors[0])
            if self.report.num_errors == _MAX_SHOWN_ERRORS:
                logger.warning("Further errors are only in the table.")


def _left_to_do(sources: Sequence[str], done: TableProgress) -> list[str]:
    """The sources that are not finished; one that was begun comes first, so that its rows stay together."""
    left = [source for source in sources if not done.is_finished(source)]
    return sorted(left, key=lambda source: source_text(source) != done.source)


def _from_start(source: str) -> int:
    return 0


def _shown(frames: Iterator, bar: tqdm) -> Iterator:
    """Advances the bar for frames that are already done."""
    for frame in frames:
        if frame.is_done:
            bar.update()
        yield frame

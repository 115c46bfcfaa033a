"""Detect Action Units in photos, videos and folders: the Python side of `hiva-hf detect`."""

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from tqdm.auto import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from ..export.formats import check_not_pickled
from ..export.runtime import ExportedDetector
from ..face_detection import CenterFaceDetector
from ..fused_inference import FusesForInference, has_folded_adapters
from ..listings import first_of
from ..packaged_checkpoint import find_checkpoint
from ..pipeline_au_detection import AUDetectionPipeline
from .engine import STAGES, DetectionEngine, EngineReport, FrameResult
from .explanations import ExplanationFile
from .records import FaceRecord, source_text
from .row_files import TableProgress
from .sources import count_frames, find_sources, read_frames
from .table_formats import TOOL_FORMATS
from .tables import READABLE_SUFFIXES, read_table, records_to_table
from .writers import TableWriter, check_new, open_table


if TYPE_CHECKING:
    from .drawing import AnnotatedFiles

logger = logging.getLogger(__name__)

# Small batches leave an accelerator idle; large ones gain nothing on a CPU.
_BATCH_SIZE, _ACCELERATOR_BATCH_SIZE = 8, 32
# Records per block of the table: as columns they take a tenth of the memory.
_BLOCK = 4096
_MAX_SHOWN_ERRORS = 20
_MAX_SHOWN_NAMES = 5

# The names that `hiva-hf export` uses.
_SHORT_DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}

STAGE_NAMES = {"decode": "decoding", "faces": "finding faces", "model": "network"}


def detect(
    paths: str | os.PathLike | Sequence[str | os.PathLike],
    model: str | os.PathLike | AUDetectionPipeline | None = None,
    *,
    output: str | os.PathLike | None = None,
    format: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    every: int = 1,
    threshold: float | Sequence[float] | Mapping[str, float] | None = None,
    batch_size: int | None = None,
    detect_every: int = 10,
    face_search_size: int | None = None,
    device: str | int | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    draw_dir: str | os.PathLike | None = None,
    explanations: str | os.PathLike | None = None,
    on_error: str = "return",
    progress: bool = True,
    **parameters: Any,
) -> pd.DataFrame:
    """Detects the AUs of all faces in photos and videos, or in folders of them.

    ```python
    >>> table = hiva_hf.detect(["interview.mp4", "photos/"])
    >>> table.groupby("source")["AU12"].mean()
    ```

    Args:
        paths: A photo, a video, a folder (searched with all that is in it), the address of a photo, or several.
        model: A folder or repository that a detector was saved to, or an au-detection pipeline; by default the
            starter checkpoint of the package.
        output: A file that gets the rows as they come, so that nothing is lost when the work is stopped.
        format: "csv", "parquet", "jsonl", "openface" or "pyfeat"; by default what the output's ending says.
        resume: Go on with an output that is there.
        overwrite: Replace an output that is there.
        every: Of a video, read every n-th frame only.
        threshold: From which probability on an AU counts as present: one for all, a list in the model's order, or a
            dict by label; by default that of the checkpoint.
        batch_size: Faces that the network reads at a time; by default 8 on a processor and 32 on an accelerator.
        detect_every: In videos, the whole frame is searched for faces every so many frames, and only the
            surroundings of known faces in between; 1 always searches all of it. See [`FaceTracker`].
        face_search_size: To find faces, larger photos and frames are downscaled to this many pixels on their longer
            side; 640 by default. Faces whose height is then below about 18 pixels are missed. Twice the size
            has four times the pixels to search.
        device: Such as "cpu" or "cuda:0"; by default what transformers chooses.
        dtype: Such as "bfloat16"; by default the checkpoint's.
        draw_dir: Folder for copies of the photos and videos with the results drawn into them; it must not contain any
            of the originals.
        explanations: File for one line of JSON per face, which explains the results in plain English, see
            [`ExplanationFile`]. `resume` and `overwrite` apply to it, too.
        on_error: "return" gives a row with an error for what can't be read, "raise" raises an exception.
        progress: Whether to show a progress bar.
        **parameters: Further parameters of the pipeline, such as `detect_faces=False` for photos that are cropped
            faces, or `max_pixels` and `timeout` for photos that are large or slow to download.

    Returns:
        A row for each face, and one for each frame without a face or with an error, with the columns source, frame,
        timestamp, face_id, xmin, ymin, xmax, ymax, detector_score, AU01, ... (probabilities), AU01_c, ... (decisions,
        0 or 1) and error. With `resume` it includes the earlier rows, unless the output has the columns of another
        tool: then only those of this call. Its `attrs["experimental_labels"]` lists the AUs for which the model is
        known to be unreliable on real photos.

    Raises:
        FileNotFoundError: A path does not exist.
        FileExistsError: The output exists, and neither `resume` nor `overwrite` is set.
        BlockingIOError: The output, or the file of explanations, is being written by somebody else.
        ValueError: An argument is invalid, or there is no photo or video.
        RuntimeError: With `on_error="raise"`, something can't be read.
        ImportError: Packages are missing.
    """
    if "explain" in parameters:
        raise ValueError("A table cannot hold explanations: pass a file as `explanations` instead of `explain`.")
    paths = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    job = DetectionJob(
        *find_sources(paths, exclude=[] if draw_dir is None else [Path(draw_dir)]),
        load_detector(model, device, dtype),
        every=every,
        batch_size=batch_size,
        detect_every=detect_every,
        face_search_size=face_search_size,
        draw_dir=draw_dir,
        on_error=on_error,
        threshold=threshold,
        explain=True if explanations is not None else None,
        **parameters,
    )
    explained = None if explanations is None else Path(explanations)
    # What refuses the table leaves old explanations alone: `job.run` replaces them.
    check_new([] if explained is None else [explained], resume or overwrite, False, job.sources)
    if output is None:
        return job.marked(_collect_table(job.run(progress=progress, explanations=explained), job.labels))
    with open_table(os.fspath(output), job.labels, format, job.sources, resume, overwrite) as writer:
        records = job.run(writer, progress=progress, explanations=explained)
        if not is_default_table(output, format):
            return job.marked(_collect_table(records, job.labels))
        for _ in records:
            pass
        # Before anybody else may write it.
        writer.complete()
        return job.marked(read_table(output))


def is_default_table(output: str | os.PathLike, format: str | None) -> bool:
    """Whether a table has this package's columns, in a file that can be read back."""
    return format not in TOOL_FORMATS and Path(output).suffix.lower() in READABLE_SUFFIXES


def load_detector(
    model: str | os.PathLike | AUDetectionPipeline | None = None,
    device: str | int | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
) -> AUDetectionPipeline:
    """Loads the au-detection pipeline of a checkpoint, by default the packaged starter checkpoint.

    A detector that is loaded here is fused for inference; a pipeline is returned as it is.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: The device can't be used, there is no such precision, the pipeline is not this package's, or the
            folder holds a program that runs code when it is opened.
    """
    if isinstance(model, AUDetectionPipeline):
        return model
    from transformers import Pipeline, pipeline

    if isinstance(model, Pipeline):
        raise ValueError(
            f"`model` is a pipeline of {type(model).__module__}, not of the installed package: make it after "
            "`import hiva_hf`, or pass its folder or repository."
        )
    checkpoint = find_checkpoint(model)
    check_not_pickled(checkpoint)
    _check_device(device)
    chosen = {"device": device, "dtype": _dtype_of(dtype)}
    chosen = {name: value for name, value in chosen.items() if value is not None}
    detector = pipeline("au-detection", model=checkpoint, **chosen)
    if isinstance(detector.model, FusesForInference):
        if has_folded_adapters(detector.model):
            logger.warning("%s has adapters and can't be fused: merge them for faster inference.", checkpoint)
        else:
            detector.model.fuse()
    elif dtype is not None and isinstance(detector.model, ExportedDetector):
        logger.warning(
            "%s was exported in %s and computes in it: `dtype` has no effect.",
            checkpoint,
            detector.model.manifest.dtype,
        )
    return detector


def _check_device(device: str | int | torch.device | None) -> None:
    # transformers takes a negative number for the CPU.
    if device is None or (isinstance(device, int) and device < 0):
        return
    try:
        torch.empty(0, device=device)
    # Builds without CUDA raise AssertionError; some device names need packages that may be missing.
    except (RuntimeError, AssertionError, ImportError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"The device {device!r} can't be used here: {reason}") from error


def _dtype_of(dtype: str | torch.dtype | None) -> str | torch.dtype | None:
    # transformers resolves "auto".
    if not isinstance(dtype, str) or dtype == "auto":
        return dtype
    found = getattr(torch, _SHORT_DTYPES.get(dtype, dtype), None)
    if not (isinstance(found, torch.dtype) and found.is_floating_point):
        raise ValueError(f"There is no precision {dtype!r}: choose one of {', '.join(_SHORT_DTYPES.values())}.")
    return found


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


def _collect_table(records: Iterator[FaceRecord], labels: Sequence[str]) -> pd.DataFrame:
    """The default table of all records, which are turned into columns some at a time."""
    blocks = []
    while block := list(islice(records, _BLOCK)):
        blocks.append(records_to_table(block, labels))
    return pd.concat(blocks or [records_to_table([], labels)], ignore_index=True)


def describe(report: EngineReport) -> str:
    """How much was done, how fast, and which stage waited for which, in a few lines."""
    lines = [
        f"{report.num_frames} frames, {report.num_faces} faces, {report.num_errors} errors in "
        f"{report.seconds:.1f} s: {report.frames_per_second:.1f} frames/s"
    ]
    if report.num_tracked_frames:
        lines[0] += f"; {report.num_searches} of {report.num_tracked_frames} video frames were searched as a whole"
    for stage in STAGES:
        waits = [
            f"{share:.0%} for {STAGE_NAMES[other]}" for (who, other), share in report.waits.items() if who == stage
        ]
        lines.append(f"  {STAGE_NAMES[stage]}: worked {report.work[stage]:.0%} of the time, waited {', '.join(waits)}")
    return "\n".join(lines)


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

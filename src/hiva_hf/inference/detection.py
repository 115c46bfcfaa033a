"""Detect Action Units in photos, videos and folders: the Python side of `hiva-hf detect`."""

import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from ..pipeline_au_detection import AUDetectionPipeline
from .job import DetectionJob
from .loading import load_detector
from .records import FaceRecord
from .sources import find_sources
from .tables import is_default_table, read_table, records_to_table
from .writers import check_new, open_table


# Records per block of the table: as columns they take a tenth of the memory.
_BLOCK = 4096


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


def _collect_table(records: Iterator[FaceRecord], labels: Sequence[str]) -> pd.DataFrame:
    """The default table of all records, which are turned into columns some at a time."""
    blocks = []
    while block := list(islice(records, _BLOCK)):
        blocks.append(records_to_table(block, labels))
    return pd.concat(blocks or [records_to_table([], labels)], ignore_index=True)

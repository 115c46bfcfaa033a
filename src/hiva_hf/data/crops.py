"""From the frames of a chunk to the rows of its shard: find the largest face, align it, encode it."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from ..face_alignment import align_face
from ..face_detection import CenterFaceDetector, DetectedFace
from .frames import ImageFiles
from .layout import name_within
from .raw import FrameReadError, Problem, RawSequence
from .schema import au_features
from .shards import Chunk, ShardFolder, ShardState


CROP_SIZE = 256
JPEG_QUALITY = 95
STAGES = ("decode", "detect", "align", "encode", "write")


Pictures = Iterator[NDArray[np.uint8] | FrameReadError]


@dataclass
class StageClock:
    """Accumulates the seconds spent on each stage."""

    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] += time.perf_counter() - start


def read_pictures(chunks: Sequence[Chunk]) -> Pictures:
    """Reads the frames of consecutive chunks of one source, so that a video is decoded in a single pass."""
    frames = [frame for chunk in chunks for frame in chunk.sequence.frames.tolist()]
    return chunks[0].sequence.source.read(frames)


class ChunkPreparer:
    """Makes shards. It can be pickled; each process runs its own face detector.

    Args:
        folder: Folder that the shards are written to.
        root: Folder of the release; problems name files relative to it.
        num_aus: Number of Action Units.
    """

    def __init__(self, folder: ShardFolder, root: Path, num_aus: int):
        self.folder = folder
        self.root = root
        self.num_aus = num_aus
        self.detector = CenterFaceDetector()

    def __call__(self, chunk: Chunk, pictures: Pictures, after_frame: Callable[[], object]) -> ShardState:
        """Makes the shard of a chunk and records that it is finished.

        Args:
            chunk: Frames of the shard.
            pictures: From [`read_pictures`]; the next one must be the chunk's first frame.
            after_frame: Called after each frame.

        Raises:
            FileNotFoundError: if a file is gone that was there when the chunk was made, as on a disk that drops out.
        """
        self.folder.forget(chunk.name)
        clock = StageClock()
        rows: list[dict] = []
        problems: list[Problem] = []
        for index in range(len(chunk)):
            with clock.measure("decode"):
                picture = next(pictures)
            if isinstance(picture, FrameReadError):
                self._check_still_there(chunk, picture.where)
            result = self._row(chunk.sequence, index, picture, clock)
            rows.append(result) if isinstance(result, dict) else problems.append(result)
            after_frame()
        with clock.measure("write"):
            table = pa.Table.from_pylist(rows, schema=au_features(self.num_aus).arrow_schema)
            num_bytes, sha256 = self.folder.write_rows(chunk.name, table)
        seconds = {stage: round(value, 3) for stage, value in clock.seconds.items()}
        state = ShardState(chunk.fingerprint, len(rows), num_bytes, sha256, tuple(problems), seconds)
        self.folder.write_state(chunk.name, state)
        return state

    def _check_still_there(self, chunk: Chunk, path: Path) -> None:
        # A frame that is recorded as missing is not read again until the raw data change.
        if path in chunk.files and not path.exists():
            raise FileNotFoundError(f"{name_within(path, self.root)} was there when the preparation began and is gone")

    def _row(
        self, sequence: RawSequence, index: int, picture: NDArray[np.uint8] | FrameReadError, clock: StageClock
    ) -> dict | Problem:
        frame = int(sequence.frames[index])
        if isinstance(picture, FrameReadError):
            return self._problem(sequence, frame, picture)
        with clock.measure("detect"):
            faces = self.detector(picture)
        if not faces:
            return self._problem(sequence, frame, FrameReadError("no face", _file_of(sequence, frame)))
        try:
            with clock.measure("align"):
                crop = align_face(picture, faces[0].landmarks, CROP_SIZE)
        except ValueError as error:
            return self._problem(sequence, frame, FrameReadError("no face", _file_of(sequence, frame), str(error)))
        with clock.measure("encode"):
            jpeg = encode_jpeg(crop)
        return _as_row(sequence, index, jpeg, faces[0])

    def _problem(self, sequence: RawSequence, frame: int, error: FrameReadError) -> Problem:
        # Messages of decoders contain the path; the stored text must not depend on where the release is.
        where = name_within(error.where, self.root)
        detail = error.detail.replace(str(error.where), where)
        return Problem(error.kind, where, sequence.subject, sequence.task, frame, detail)


def encode_jpeg(crop: NDArray[np.uint8]) -> bytes:
    """Encodes an RGB `uint8` picture `[height, width, 3]` with full colour resolution."""
    buffer = BytesIO()
    Image.fromarray(crop).save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling="4:4:4")
    return buffer.getvalue()


def _as_row(sequence: RawSequence, index: int, jpeg: bytes, face: DetectedFace) -> dict:
    return {
        "image": {"bytes": jpeg, "path": None},
        "labels": sequence.labels[index].tolist(),
        "intensities": sequence.intensities[index].tolist(),
        "subject": sequence.subject,
        "task": sequence.task,
        "frame": int(sequence.frames[index]),
        "fold": sequence.part,
        "detector_score": face.score,
    }


def _file_of(sequence: RawSequence, frame: int) -> Path:
    source = sequence.source
    return source.paths[frame] if isinstance(source, ImageFiles) else source.files[0]

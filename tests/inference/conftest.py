"""Records as the engine makes them, and real photos and videos: faces that come and go, broken files."""

from fractions import Fraction
from functools import partial

import numpy as np
import pytest
from transformers import pipeline

from hiva_hf.inference.records import FaceRecord


LABELS = ["AU1", "AU12", "AU27", "AU45"]


def make_record(source="a.mp4", frame=0, timestamp=0.0, face_id=0, level=0.25) -> FaceRecord:
    probabilities = {label: level + place / 10 for place, label in enumerate(LABELS)}
    return FaceRecord(
        source,
        frame,
        timestamp,
        face_id,
        box=(10.0 + frame, 20.0, 110.0 + frame, 140.5),
        detector_score=0.875,
        probabilities=probabilities,
        active={label: value >= 0.5 for label, value in probabilities.items()},
    )


@pytest.fixture
def frames() -> list[list[FaceRecord]]:
    """The records of each frame, in the order of the work."""
    first = [
        [make_record(frame=frame, timestamp=frame / 30, face_id=face, level=0.1 + frame / 20) for face in (0, 1)]
        for frame in range(6)
    ]
    first[3] = [FaceRecord("a.mp4", 3, 3 / 30)]
    second = [
        [make_record('odd, "name" ü.mp4', frame, frame * frame / 25, face_id=frame // 2)] for frame in range(0, 9, 2)
    ]
    photos = [
        [make_record("NA", timestamp=None)],
        [FaceRecord("broken.jpg", error="broken.jpg is no image:\nit is empty")],
        [make_record("two.jpg", timestamp=None, face_id=face) for face in (0, 1)],
    ]
    return [*first, *second, *photos]


@pytest.fixture(scope="session")
def person(astronaut) -> np.ndarray:
    """A head with one face, RGB `[180, 150, 3]`."""
    return np.asarray(astronaut)[20:200, 150:300].copy()


def paint_scene(person: np.ndarray, places=(), size=(240, 320), seed=0) -> np.ndarray:
    """A frame of `size` (height, width) with a head of `height` pixels at each (x, y, height) of `places`."""
    import cv2

    noise = np.random.default_rng(seed).integers(60, 180, (*(side // 20 for side in size), 3), np.uint8)
    scene = cv2.resize(noise, size[::-1], interpolation=cv2.INTER_CUBIC)
    for x, y, height in places:
        scale = height / person.shape[0]
        matrix = np.array([[scale, 0, x - scale * person.shape[1] / 2], [0, scale, y - scale * person.shape[0] / 2]])
        head = cv2.warpAffine(person, matrix, size[::-1], flags=cv2.INTER_AREA)
        mask = cv2.warpAffine(np.full(person.shape[:2], 255, np.uint8), matrix, size[::-1])
        scene = np.where(mask[..., None] > 127, head, scene)
    return scene


def write_video(path, frames, *, times=None, codec="libx264", rotation=None, container_options=None, **options):
    """Writes RGB frames at 25 frames/s, or at `times` in milliseconds."""
    import av

    with av.open(str(path), "w", container_options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=25, options={"crf": "18"} | options)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        if rotation is not None:
            stream.set_display_rotation(rotation)
        stream.codec_context.time_base = Fraction(1, 1000 if times else 25)
        for number, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            picture.pts = times[number] if times else number
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="session")
def scene(person):
    """[`paint_scene`] with this person."""
    return partial(paint_scene, person)


@pytest.fixture(scope="session")
def make_video():
    """[`write_video`] for tests, which can't import from here."""
    return write_video


@pytest.fixture(scope="session")
def detector(tiny_model_dir):
    return pipeline("au-detection", model=str(tiny_model_dir))

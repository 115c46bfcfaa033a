"""Records as the engine makes them (two videos with faces that come and go, photos, a broken file), and a pipeline."""

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
def detector(tiny_model_dir):
    return pipeline("au-detection", model=str(tiny_model_dir))


@pytest.fixture(scope="session")
def media(tmp_path_factory, astronaut, scene, make_video):
    """A video with two heads, of which one leaves for some frames, a photo, a photo without a face, a broken one."""
    folder = tmp_path_factory.mktemp("media")
    astronaut.crop((150, 20, 300, 200)).save(folder / "1.png")
    frames = [
        scene([(60 + 2 * n, 110, 110), *([(250, 120, 100)] if not 4 <= n < 8 else [])], seed=0) for n in range(14)
    ]
    make_video(folder / "2.mp4", frames, times=[0, 40, 90, 130, 300, 340, 380, 420, 461, 500, 700, 741, 800, 2000])
    make_video(folder / "3.mp4", [np.rot90(frame, -1) for frame in frames[:2]], rotation=90)
    (folder / "4.jpg").write_bytes(b"no photo")
    return folder

"""Process an uploaded photo, or a picture of the webcam, for the page."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..image_loading import load_image
from ..inference.records import FaceRecord, records_of_frame
from ..inference.tables import records_to_table, write_table
from ..pipeline_au_detection import AUDetectionPipeline
from ..viz.attention import aligned_view, attention_shares
from ..viz.overlay import annotate_frame
from .pictures import scaled_faces, shrink


# Pixels of the longer side; more than a page's column can show.
SHOWN_SIZE = 960
# File name and label of each table, by the format of `hiva_hf.inference`.
TABLES = {
    "csv": ("action-units.csv", "Table as CSV"),
    "parquet": ("action-units.parquet", "Table as Parquet"),
    "openface": ("action-units-openface.csv", "Table in OpenFace's columns"),
}


@dataclass(frozen=True, eq=False)
class ReadFace:
    """The results for one face that the page needs, without the photo.

    Attributes:
        aus: As in the pipeline's result, with explanations if requested.
        view: The aligned face that the network saw, RGB `uint8` `[side, side, 3]`; `None` without attention maps.
        maps: Attention maps `[num_aus, height, width]` of each kind that the model has, "ddca" and "cdca" or
            "spatial"; each map sums to 1.
        summary: What the face shows, in a sentence or two.
        warnings: Contradictions between results.
    """

    aus: list[dict[str, Any]]
    view: NDArray[np.uint8] | None
    maps: dict[str, NDArray[np.float32]]
    summary: str = ""
    warnings: Sequence[str] = ()

    def index_of(self, label: str) -> int:
        return [au["label"] for au in self.aus].index(label)

    @property
    def foremost_au(self) -> str:
        """The AU to show first: the most probable active one that is not experimental, or else of all."""
        return max(self.aus, key=lambda au: (au["active"] and not au["experimental"], au["score"]))["label"]


@dataclass(frozen=True, eq=False)
class ReadPhoto:
    """A photo with the results for its faces.

    Attributes:
        name: Name of the file.
        picture: The photo with numbered boxes, downscaled to the size in which it is shown.
        faces: The faces, the largest first.
        records: The same results as rows of a table.
    """

    name: str
    picture: Image.Image
    faces: list[ReadFace]
    records: list[FaceRecord]


def read_photo(
    detector: AUDetectionPipeline, photo: str | NDArray[np.uint8], name: str, explain: bool = True
) -> ReadPhoto:
    """Detects all faces and their AUs.

    Args:
        detector: The au-detection pipeline.
        photo: Its path, or RGB `[height, width, 3]`.
        name: Its name in the table.
        explain: Whether to explain the results in words, which takes longer than the detection.

    Raises:
        ImageLoadError: The photo can't be used; the message says why.
    """
    image = np.asarray(load_image(photo))
    faces = detector(image, return_attention=True, explain=explain)
    records = records_of_frame(faces, name)
    return ReadPhoto(name, marked(image, records), [_read_face(image, face) for face in faces], records)


def marked(image: NDArray[np.uint8], records: Sequence[FaceRecord]) -> Image.Image:
    """The photo, downscaled, with a numbered box around each face."""
    small, scale = shrink(image, SHOWN_SIZE, Image.Resampling.LANCZOS)
    # The page has its own bars: only the number of each face is drawn.
    boxes = [replace(record, active={}) for record in scaled_faces(records, scale)]
    return Image.fromarray(annotate_frame(small, boxes))


def write_tables(records: Sequence[FaceRecord], labels: Sequence[str], folder: Path) -> list[str]:
    """Writes the table in each format that the page offers; returns the paths."""
    table = records_to_table(records, labels)
    paths = [folder / name for name, _ in TABLES.values()]
    for format, path in zip(TABLES, paths, strict=True):
        write_table(table, path, format)
    return [str(path) for path in paths]


def _read_face(image: NDArray[np.uint8], face: dict[str, Any]) -> ReadFace:
    maps = {
        kind: attention_shares(face[f"{kind}_attention"])
        for kind in ("ddca", "cdca", "spatial")
        if f"{kind}_attention" in face
    }
    view = aligned_view(image, face) if maps else None
    return ReadFace(face["aus"], view, maps, face.get("summary", ""), face.get("warnings", ()))

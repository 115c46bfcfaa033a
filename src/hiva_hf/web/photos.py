"""From an uploaded photo, or a picture of the webcam, to what the page shows of it."""

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
    """What the page needs of one face, without the photo.

    Attributes:
        aus: As in the pipeline's result, with explanations if they were asked for.
        view: The face as the network saw it, RGB `uint8` `[side, side, 3]`; `None` in models without attention.
        maps: Attention maps `[num_aus, height, width]` of each kind, "ddca" and "cdca" or "spatial", as far as the
            model has them; each sums to 1.
        summary: What the face shows, in a sentence or two.
        warnings: Which results contradict each other.
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
        """The AU to show first: the most probable of the active ones that can be relied upon, or of all."""
        return max(self.aus, key=lambda au: (au["active"] and not au["experimental"], au["score"]))["label"]


@dataclass(frozen=True, eq=False)
class ReadPhoto:
    """A photo whose faces were read.

    Attributes:
        name: Of the file.
        picture: The photo with numbered boxes, shrunk to what is shown.
        faces: The largest first.
        records: The same as rows of a table.
    """

    name: str
    picture: Image.Image
    faces: list[ReadFace]
    records: list[FaceRecord]


def read_photo(
    detector: AUDetectionPipeline, photo: str | NDArray[np.uint8], name: str, explain: bool = True
) -> ReadPhoto:
    """Finds and reads all faces.

    Args:
        detector: The au-detection pipeline.
        photo: Its path, or RGB `[height, width, 3]`.
        name: What the table calls it.
        explain: Whether to say in words what the results rest on, which takes longer than the reading.

    Raises:
        ImageLoadError: The photo can't be used; the message tells why.
    """
    image = np.asarray(load_image(photo))
    faces = detector(image, return_attention=True, explain=explain)
    records = records_of_frame(faces, name)
    return ReadPhoto(name, marked(image, records), [_read_face(image, face) for face in faces], records)


def marked(image: NDArray[np.uint8], records: Sequence[FaceRecord]) -> Image.Image:
    """The photo, shrunk, with a numbered box around each face."""
    height, width = image.shape[:2]
    scale = min(1.0, SHOWN_SIZE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = np.array(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS, reducing_gap=3))
    # Bars stand beside the picture: here only the number of each face.
    boxes = [
        replace(record, box=tuple(scale * side for side in record.box), active={})
        for record in records
        if record.has_face
    ]
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

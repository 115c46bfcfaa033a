"""Data of Figures 5 to 7: description embeddings over epochs, attention maps, and the graphs over the AUs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray
from PIL import Image
from transformers import AutoImageProcessor, AutoModel

from ..data.views import evenly_spaced
from ..modeling_hiva import adjacency
from ..pipeline_au_detection import square_maps
from ..training.run_folder import EMBEDDINGS_FOLDER
from ..viz.similarity import cosine_similarity


_BATCH_SIZE = 32


@dataclass(frozen=True, eq=False)
class FaceReadings:
    """Outputs of a network for n faces.

    Attributes:
        au_labels: The N AUs.
        labels: [n, N], 1, 0 or -100 for unknown.
        probabilities: [n, N].
        graphs: [n, N, N], 0/1, row i marks the AUs that AU i is connected to; without self-connections.
        ddca_maps: [n, N, h, w], attention of each AU's description over the AU's own map, summing to 1; None for
            variants without DDCA.
        cdca_maps: [n, N, h, w], its attention over the whole face's map; None for variants without CDCA.
    """

    au_labels: tuple[str, ...]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    graphs: NDArray[np.bool_]
    ddca_maps: NDArray[np.float32] | None
    cdca_maps: NDArray[np.float32] | None


@dataclass(frozen=True)
class GraphStatistics:
    """Statistics of a method's graphs; the out-degree is the same for all AUs by construction.

    Attributes:
        active_in_degree: Mean number of AUs connected to an AU that is present.
        inactive_in_degree: The same for AUs that are absent.
        reciprocity: Share of connections that go both ways.
        num_faces: Number of faces that were averaged.
    """

    active_in_degree: float
    inactive_in_degree: float
    reciprocity: float
    num_faces: int


def read_description_similarities(run_folder: Path) -> dict[str, NDArray[np.float64]]:
    """Cosine similarity [N, N] of the AUs' descriptions at each saved point of stage 2, in order: "before training" if
    it was saved, "epoch 1" and so on.

    Raises:
        FileNotFoundError: If nothing was saved.
    """
    folder = Path(run_folder) / EMBEDDINGS_FOLDER
    similarities = {}
    for path in sorted(folder.glob("epoch-*.npy")):
        epoch = int(path.stem.removeprefix("epoch-"))
        similarities[f"epoch {epoch}" if epoch > 0 else "before training"] = cosine_similarity(np.load(path))
    if not similarities:
        raise FileNotFoundError(f"{folder} holds no description embeddings; a run that reads descriptions saves them.")
    return similarities


@torch.no_grad()
def read_faces(checkpoint: Path, faces: Dataset, num_neighbors: int | None = None) -> FaceReadings:
    """Runs an exported detector over faces and collects the outputs that the figures show.

    Args:
        checkpoint: Folder of the detector and its image processor.
        faces: Rows with `image` and `labels`, the latter in the order of the detector's AUs.
        num_neighbors: K of the graphs, an AU itself included. Defaults to the detector's own.
    """
    model = AutoModel.from_pretrained(checkpoint).eval()
    processor = AutoImageProcessor.from_pretrained(checkpoint)
    neighbors = model.config.num_neighbors if num_neighbors is None else num_neighbors
    probabilities, graphs, ddca, cdca = [], [], [], []
    for start in range(0, len(faces), _BATCH_SIZE):
        pixels = processor(faces[start : start + _BATCH_SIZE]["image"], return_tensors="pt")["pixel_values"]
        output = model(pixels, output_attentions=True)
        probabilities.append(output.logits.sigmoid())
        # U of stage 2's vision model; the detector itself does not use the graph.
        au_features = model.vision_model(pixels)[1].mean(dim=2)
        graphs.append(adjacency(au_features, neighbors))
        ddca.append(output.ddca_attentions)
        cdca.append(output.cdca_attentions)
    connected = torch.cat(graphs).bool()
    connected &= ~torch.eye(connected.shape[-1], dtype=torch.bool)
    return FaceReadings(
        au_labels=tuple(model.config.au_labels),
        labels=np.array(faces["labels"][:]),
        probabilities=torch.cat(probabilities).numpy(),
        graphs=connected.numpy(),
        ddca_maps=_joined_maps(ddca),
        cdca_maps=_joined_maps(cdca),
    )


def graph_statistics(readings: FaceReadings) -> GraphStatistics:
    """Computes the statistics over all faces and AUs of the readings."""
    in_degree = readings.graphs.sum(axis=1)
    both_ways = readings.graphs & readings.graphs.transpose(0, 2, 1)
    return GraphStatistics(
        active_in_degree=float(in_degree[readings.labels == 1].mean()),
        inactive_in_degree=float(in_degree[readings.labels == 0].mean()),
        reciprocity=float(both_ways.sum() / max(1, readings.graphs.sum())),
        num_faces=len(readings.labels),
    )


class TooFewFacesError(ValueError):
    """A set has too few faces to choose examples from."""


def choose_example_faces(faces: Dataset, num_faces: int, min_active: int = 3) -> list[int]:
    """Chooses rows to show by their labels alone, so that examples are not picked for good results.

    Takes the first face with the most active AUs of each subject, and evenly spaced ones of these.

    Args:
        faces: Rows with `subject` and `labels`.
        num_faces: Number of rows.
        min_active: Minimum number of active AUs of a face.

    Raises:
        TooFewFacesError: If too few subjects have such a face.
    """
    active = (np.array(faces["labels"][:]) == 1).sum(axis=1)
    rows_of_subject: dict[str, list[int]] = {}
    for row, subject in enumerate(faces["subject"][:]):
        rows_of_subject.setdefault(subject, []).append(row)
    best = [max(rows, key=lambda row: active[row]) for rows in rows_of_subject.values()]
    best = [row for row in best if active[row] >= min_active]
    if len(best) < num_faces:
        raise TooFewFacesError(
            f"{num_faces} faces of different subjects with at least {min_active} active AUs are needed, but there are "
            f"{len(best)} among {len(faces)} faces."
        )
    return [best[index] for index in evenly_spaced(len(best), num_faces)]


def pictures_of(checkpoint: Path, faces: Dataset) -> list[Image.Image]:
    """The faces as the network sees them: resized and cropped, not yet normalised."""
    processor = AutoImageProcessor.from_pretrained(checkpoint)
    pixels = processor(faces["image"][:], return_tensors="pt", do_normalize=False, do_rescale=False)["pixel_values"]
    views = pixels.permute(0, 2, 3, 1).round().clamp(0, 255).to(torch.uint8)
    return [Image.fromarray(view.numpy()) for view in views]


def _joined_maps(batches: Sequence[torch.Tensor | None]) -> NDArray[np.float32] | None:
    """[n, N, T] of several batches -> [n, N, h, w]."""
    return None if batches[0] is None else square_maps(torch.cat(list(batches)))

"""Predictions of a run on disk: one Parquet row for each face, with its label and probability for each Action Unit.

Columns: `subject`, `task` (strings), `frame` (int32), `fold` (int8), and for each AU `AU1_label` (int8: 1 present,
0 absent, -100 unknown) and `AU1_probability` (float32).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import ArrayLike, NDArray

from ..atomic_files import write_file
from ..facs import MISSING_LABEL


ROW_COLUMNS = {"subject": pa.string(), "task": pa.string(), "frame": pa.int32(), "fold": pa.int8()}
_LABEL = "_label"
_PROBABILITY = "_probability"


@dataclass(frozen=True, eq=False)
class Predictions:
    """Predictions of one network for n faces, with their labels.

    Attributes:
        subject: [n], strings.
        task: [n], strings or None.
        frame: [n], number within the task.
        fold: [n], the fold that tests the face's subject, 0 for none.
        labels: [n, N] int8, 1 present, 0 absent, -100 unknown.
        probabilities: [n, N] float32, between 0 and 1.
        au_labels: The N AUs in the order of the columns.
    """

    subject: NDArray[np.object_]
    task: NDArray[np.object_]
    frame: NDArray[np.int32]
    fold: NDArray[np.int8]
    labels: NDArray[np.int8]
    probabilities: NDArray[np.float32]
    au_labels: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def faces(self) -> list[tuple[str, str | None, int]]:
        """Identifies each face in its data set: subject, task and frame."""
        return list(zip(self.subject.tolist(), self.task.tolist(), self.frame.tolist(), strict=True))

    @property
    def subjects(self) -> list[str]:
        """The distinct subjects, sorted."""
        return sorted(set(self.subject))

    def select_aus(self, au_labels: Sequence[str]) -> "Predictions":
        """The same faces with these AUs only, in this order.

        Raises:
            ValueError: If one of them was not predicted.
        """
        absent = [label for label in au_labels if label not in self.au_labels]
        if absent:
            raise ValueError(f"There are no predictions of {', '.join(absent)}, only of {', '.join(self.au_labels)}.")
        columns = [self.au_labels.index(label) for label in au_labels]
        return replace(
            self,
            labels=self.labels[:, columns],
            probabilities=self.probabilities[:, columns],
            au_labels=tuple(au_labels),
        )

    def in_order_of(self, other: "Predictions") -> "Predictions":
        """These predictions with their rows in the order of another network's, which must be for the same faces.

        Raises:
            ValueError: If AUs, faces or labels differ; the message names the first difference.
        """
        if self.au_labels != other.au_labels:
            raise ValueError(
                f"Two runs can only be compared on the same AUs, but one predicts {', '.join(other.au_labels)} and "
                f"the other {', '.join(self.au_labels)}. Call `select_aus` on both first."
            )
        row_of_face = {face: row for row, face in enumerate(self.faces)}
        if len(row_of_face) != len(self):
            raise ValueError("Some faces occur twice: subject, task and frame must identify each face.")
        only_one = sorted(set(row_of_face) ^ set(other.faces), key=str)
        if only_one or len(self) != len(other):
            example = f" {only_one[0]} is in only one of them." if only_one else ""
            raise ValueError(
                f"Two runs can only be compared on the same faces, but they have {len(other)} and {len(self)} faces, "
                f"of which {len(only_one)} are not shared.{example} Test both on the same fold of the same data."
            )
        rows = [row_of_face[face] for face in other.faces]
        ordered = replace(
            self,
            **{name: getattr(self, name)[rows] for name in (*ROW_COLUMNS, "labels", "probabilities")},
        )
        differing = np.argwhere(ordered.labels != other.labels)
        if len(differing) > 0:
            row, column = differing[0]
            raise ValueError(
                f"Two runs can only be compared on the same labels, but {len(differing)} labels differ: "
                f"{other.au_labels[column]} of {other.faces[row]} is {other.labels[row, column]} in one and "
                f"{ordered.labels[row, column]} in the other. Test both on the same version of the data."
            )
        return ordered


def write_predictions(
    path: str | Path,
    rows: Mapping[str, Sequence],
    labels: ArrayLike,
    probabilities: ArrayLike,
    au_labels: Sequence[str],
):
    """Writes predictions as Parquet; an existing file is replaced atomically.

    Args:
        path: The file to write.
        rows: The columns `subject`, `task`, `frame` and `fold`, each with n entries.
        labels: [n, N], 1, 0 or -100 for unknown.
        probabilities: [n, N], between 0 and 1.
        au_labels: The N AUs, such as `"AU1"`.

    Raises:
        ValueError: If lengths or shapes disagree, names repeat, or a value is out of range.
    """
    path = Path(path)
    labels, probabilities = np.asarray(labels), np.asarray(probabilities, dtype=np.float32)
    _check(path, rows, labels, probabilities, au_labels)
    columns = {name: pa.array(list(rows[name]), type=kind) for name, kind in ROW_COLUMNS.items()}
    for index, au_label in enumerate(au_labels):
        columns[au_label + _LABEL] = pa.array(labels[:, index].astype(np.int8))
        columns[au_label + _PROBABILITY] = pa.array(probabilities[:, index])
    write_file(path, lambda unfinished: pq.write_table(pa.table(columns), unfinished))


def read_predictions(path: str | Path) -> Predictions:
    """Reads what [`write_predictions`] wrote.

    Args:
        path: The file.

    Returns:
        The predictions, faces and AUs in the order of the file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a Parquet file, or lacks a column.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There are no predictions at {path}. A finished training run writes them there.")
    try:
        table = pq.read_table(path)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path} is not a Parquet file of predictions: {error}. Run the test again.") from error
    names = table.column_names
    au_labels = tuple(name.removesuffix(_LABEL) for name in names if name.endswith(_LABEL))
    wanted = [*ROW_COLUMNS, *(au + suffix for au in au_labels for suffix in (_LABEL, _PROBABILITY))]
    absent = [name for name in wanted if name not in names]
    if absent or not au_labels:
        raise ValueError(
            f"{path} lacks the columns {', '.join(absent) or 'of any AU (AU1_label, AU1_probability)'}; it has "
            f"{', '.join(names)}. Write it with `write_predictions`."
        )

    def matrix(suffix: str, dtype: type) -> NDArray:
        return np.stack([table[au + suffix].to_numpy() for au in au_labels], axis=1).astype(dtype)

    return Predictions(
        subject=np.array(table["subject"].to_pylist(), dtype=object),
        task=np.array(table["task"].to_pylist(), dtype=object),
        frame=table["frame"].to_numpy(),
        fold=table["fold"].to_numpy(),
        labels=matrix(_LABEL, np.int8),
        probabilities=matrix(_PROBABILITY, np.float32),
        au_labels=au_labels,
    )


def _check(
    path: Path,
    rows: Mapping[str, Sequence],
    labels: NDArray,
    probabilities: NDArray,
    au_labels: Sequence[str],
):
    absent = [name for name in ROW_COLUMNS if name not in rows]
    if absent:
        raise ValueError(f"Predictions for {path} need the row columns {', '.join(absent)}; given: {', '.join(rows)}.")
    if len(set(au_labels)) != len(au_labels):
        raise ValueError(f"au_labels must differ from each other, but are {list(au_labels)}.")
    num_faces = len(rows["subject"])
    expected = (num_faces, len(au_labels))
    if labels.shape != expected or probabilities.shape != expected:
        raise ValueError(
            f"Predictions for {path} of {num_faces} faces and {len(au_labels)} AUs need shape {expected}, but labels "
            f"have {labels.shape} and probabilities {probabilities.shape}."
        )
    lengths = {name: len(rows[name]) for name in ROW_COLUMNS}
    if set(lengths.values()) != {num_faces}:
        raise ValueError(f"The row columns for {path} differ in length: {lengths}.")
    if not np.isin(labels, (0, 1, MISSING_LABEL)).all():
        raise ValueError(f"Labels for {path} must be 0, 1 or {MISSING_LABEL} for unknown.")
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise ValueError(f"Probabilities for {path} must lie between 0 and 1; logits need a sigmoid first.")

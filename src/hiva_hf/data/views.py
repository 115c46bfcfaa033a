"""Views of a data set with other Action Units, or of some of its subjects or rows, without copying pictures."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, concatenate_datasets

from ..facs import ACTION_UNITS, MISSING_LABEL
from .schema import au_features


_AU_COLUMNS = ("labels", "intensities")


def check_aus(aus: Sequence[int]) -> tuple[int, ...]:
    """Returns Action Units as a tuple.

    Raises:
        ValueError: if there are none, or one is unknown or occurs twice.
    """
    aus = tuple(aus)
    unknown = [au for au in aus if au not in ACTION_UNITS]
    if unknown:
        raise ValueError(
            f"`aus` has {', '.join(map(repr, unknown))}, which the FACS catalogue doesn't know. Known numbers: "
            f"{', '.join(map(str, ACTION_UNITS))}."
        )
    if not aus or len(set(aus)) < len(aus):
        raise ValueError(f"`aus` is {list(aus)}, expected at least one AU and each only once.")
    return aus


def arrange_column(column: pa.ChunkedArray, aus: tuple[int, ...], wanted: tuple[int, ...]) -> pa.Array:
    """Rearranges labels or intensities.

    Args:
        column: Lists of `len(aus)` values.
        aus: AUs of the values.
        wanted: AUs of the result; those that are not in `aus` become -100.

    Returns:
        Lists of `len(wanted)` values.
    """
    rows = column.combine_chunks().flatten().to_numpy().reshape(-1, len(aus))
    with_missing = np.column_stack([rows, np.full(len(rows), MISSING_LABEL, rows.dtype)])
    places = [aus.index(au) if au in aus else len(aus) for au in wanted]
    return pa.FixedSizeListArray.from_arrays(pa.array(with_missing[:, places].ravel()), len(wanted))


def arrange_table(table: pa.Table, aus: tuple[int, ...], wanted: tuple[int, ...]) -> pa.Table:
    """Applies [`arrange_column`] to both AU columns of a table."""
    if aus == wanted:
        return table
    columns = {name: table[name] for name in table.column_names}
    columns |= {name: arrange_column(table[name], aus, wanted) for name in _AU_COLUMNS}
    return pa.table(columns, schema=au_features(len(wanted)).arrow_schema)


def arrange_dataset(dataset: Dataset, aus: tuple[int, ...], wanted: tuple[int, ...]) -> Dataset:
    """Applies [`arrange_column`] to both AU columns of a data set without selected rows; the pictures stay on disk."""
    if aus == wanted:
        return dataset
    columns = {name: arrange_column(dataset.data.column(name), aus, wanted) for name in _AU_COLUMNS}
    # Concatenated in the order of the schema: `datasets` loses any other order as soon as rows are selected.
    first, *others = [name for name in dataset.column_names if name not in _AU_COLUMNS]
    arranged = Dataset(pa.table(columns))
    return concatenate_datasets([dataset.select_columns(first), arranged, dataset.select_columns(others)], axis=1)


def ranges_of_subjects(subjects: pa.ChunkedArray | pa.Array, chosen: Sequence[str]) -> list[range]:
    """Finds the rows of some subjects.

    Args:
        subjects: Subject of each row.
        chosen: Subjects to find.

    Returns:
        Ranges of rows, ascending; adjacent rows are in one.
    """
    is_chosen = pc.is_in(subjects, value_set=pa.array(chosen, pa.string()))
    steps = np.diff(np.pad(is_chosen.to_numpy(zero_copy_only=False).astype(np.int8), 1))
    starts, stops = np.flatnonzero(steps == 1), np.flatnonzero(steps == -1)
    return [range(start, stop) for start, stop in zip(starts.tolist(), stops.tolist(), strict=True)]


def select_subjects(dataset: Dataset, chosen: Sequence[str], split: str | None = None) -> Dataset:
    """Keeps the rows of some subjects, as slices of the data on disk rather than by row indices.

    Args:
        dataset: Data set without selected rows.
        chosen: Subjects to keep; at least one of them must have rows.
        split: Name of the resulting split.
    """
    ranges = ranges_of_subjects(dataset.data.column("subject"), chosen)
    return concatenate_datasets([dataset.select(rows) for rows in ranges], split=split)


def evenly_spaced(length: int, limit: int) -> list[int]:
    """At most `limit` evenly spaced rows of `length`, the first and the last among them (of one, the first)."""
    return np.linspace(0, length - 1, min(limit, length)).astype(int).tolist()

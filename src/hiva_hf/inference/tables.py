"""Tables as pandas `DataFrame`s."""

import csv
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.json
import pyarrow.parquet

from .records import FaceRecord, decision_column, from_row, labels_of_table, table_columns, to_row
from .table_formats import TOOL_FORMATS
from .writers import open_table, parquet_schema


READABLE_SUFFIXES = (".csv", ".jsonl", ".parquet")

_ROWS_PER_WRITE = 1000


def table_dtypes(columns: Sequence[str]) -> dict[str, str]:
    """The pandas dtype of each column of the default table; those that may have empty cells are nullable."""
    labels = labels_of_table(columns)
    known = set(table_columns(labels))
    # Columns that somebody added stay as pandas reads them.
    types = {column: "float64" for column in columns if column in known}
    types |= {"source": "string", "error": "string", "frame": "int64", "face_id": "Int64"}
    return types | {decision_column(label): "Int8" for label in labels}


def records_to_table(records: Iterable[FaceRecord], labels: Sequence[str]) -> pd.DataFrame:
    """Converts records to the default table.

    Args:
        records: Any number of records, including none.
        labels: The AUs of the model, in its order.

    Returns:
        A row for each record, with the columns of `table_columns` and the dtypes of `table_dtypes`.
    """
    columns = table_columns(labels)
    rows = [to_row(record, labels) for record in records]
    # As objects, so that pandas doesn't infer dtypes: a column of integers and `None` would become floats.
    return pd.DataFrame(rows, columns=columns, dtype=object).astype(table_dtypes(columns))


def read_table(path: str | Path) -> pd.DataFrame:
    """Reads a default table that `hiva-hf detect` wrote, with proper dtypes.

    Args:
        path: A file in the format csv, jsonl or parquet; also the journal of a parquet table whose run was killed.

    Raises:
        ValueError: The file is no such table.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in READABLE_SUFFIXES:
        raise ValueError(f"{path} is not a table: its name must end in one of {', '.join(READABLE_SUFFIXES)}.")
    return _READERS[suffix](path)


def is_default_table(output: str | os.PathLike, format: str | None) -> bool:
    """Whether a table has this package's columns, in a file that can be read back."""
    return format not in TOOL_FORMATS and Path(output).suffix.lower() in READABLE_SUFFIXES


def write_table(table: pd.DataFrame, output: str | Path, format: str | None = None, overwrite: bool = False) -> None:
    """Writes a default table, such as one from [`smooth`], in any format.

    Args:
        table: With the default columns.
        output: See [`open_table`].
        format: See [`open_table`].
        overwrite: Replace an existing table.

    Raises:
        FileExistsError: The table exists, and `overwrite` isn't set.
        ValueError: The format doesn't match the output.
    """
    sources = list(dict.fromkeys(table["source"]))
    with open_table(output, labels_of_table(table.columns), format, sources, overwrite=overwrite) as writer:
        # One source after the other, but many rows at a time: each row may be a photo.
        order = np.argsort(pd.factorize(table["source"])[0], kind="stable")
        for begin in range(0, len(table), _ROWS_PER_WRITE):
            part = table.iloc[order[begin : begin + _ROWS_PER_WRITE]]
            writer.write([from_row(row) for row in part.to_dict("records")])


def _read_csv(path: Path) -> pd.DataFrame:
    # Spreadsheets write a byte order mark.
    with path.open(encoding="utf-8-sig", newline="") as file:
        columns = next(csv.reader(file), [])
    _check_columns(path, columns)
    # Only an empty cell is empty: a photo may be called "NA".
    return pd.read_csv(path, dtype=table_dtypes(columns), keep_default_na=False, na_values=[""], encoding="utf-8-sig")


def _read_jsonl(path: Path) -> pd.DataFrame:
    with path.open(encoding="utf-8") as file:
        columns = list(json.loads(file.readline() or "{}"))
    _check_columns(path, columns)
    # Columns that somebody added are left to Arrow.
    known = set(table_columns(labels_of_table(columns)))
    schema = parquet_schema([column for column in columns if column in known])
    options = pyarrow.json.ParseOptions(explicit_schema=schema)
    return _from_arrow(pyarrow.json.read_json(path, parse_options=options))


def _read_parquet(path: Path) -> pd.DataFrame:
    table = pyarrow.parquet.read_table(path)
    _check_columns(path, table.column_names)
    return _from_arrow(table)


def _from_arrow(table: pyarrow.Table) -> pd.DataFrame:
    # As objects where integers are missing: floats would lose digits.
    return table.to_pandas(integer_object_nulls=True).astype(table_dtypes(table.column_names))


def _check_columns(path: Path, columns: Sequence[str]) -> None:
    if missing := [name for name in table_columns([]) if name not in columns]:
        raise ValueError(f"{path} is not a table of `hiva-hf detect` in its default columns: {missing} are missing.")


_READERS = {".csv": _read_csv, ".jsonl": _read_jsonl, ".parquet": _read_parquet}

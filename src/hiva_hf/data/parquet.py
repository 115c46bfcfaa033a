"""Parquet files with aligned faces: reading them in batches, here or on the Hub, and checking what is in them."""

import hashlib
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from huggingface_hub import HfFileSystem

from .manifest import MANIFEST_FILE, REMOTE_SCHEME, FaceSource, Shard
from .schema import au_features


logger = logging.getLogger(__name__)

# Rows that are in memory at once while a shard is read: about 5 MB of 256-pixel faces.
_BATCH_SIZE = 256
# The column that shards of older versions lack; it may be null.
_OPTIONAL_COLUMN = "detector_score"


def open_shard(address: str, token: str | bool | None = None) -> pq.ParquetFile:
    """Opens a local file, or one on the Hub without downloading all of it."""
    if address.startswith(REMOTE_SCHEME):
        # Few large requests instead of one for each column.
        return pq.ParquetFile(HfFileSystem(token=token).open(address, "rb"), pre_buffer=True)
    return pq.ParquetFile(address)


def read_shard(
    address: str, row_groups: tuple[int, ...] | None = None, token: str | bool | None = None
) -> Iterator[pa.Table]:
    """Reads a shard in batches, one row group after another.

    Args:
        address: Path, or address on the Hub.
        row_groups: Which row groups; all of them by default.
        token: For a private data set on the Hub.

    Yields:
        Tables with the columns of `au_features`; a `detector_score` that was not stored is null.
    """
    with open_shard(address, token) as file:
        for group in range(file.num_row_groups) if row_groups is None else row_groups:
            for batch in file.iter_batches(_BATCH_SIZE, row_groups=[group]):
                yield _in_common_columns(pa.Table.from_batches([batch]))


def _in_common_columns(table: pa.Table) -> pa.Table:
    features = au_features(table.schema.field("labels").type.list_size)
    if _OPTIONAL_COLUMN not in table.column_names:
        field = features.arrow_schema.field(_OPTIONAL_COLUMN)
        table = table.append_column(field, pa.nulls(table.num_rows, field.type))
    return table.select(list(features)).cast(features.arrow_schema)


def check_columns(schema: pa.Schema, name: str, num_aus: int, file: str):
    """Raises a ValueError if a file isn't a shard with `num_aus` AUs."""
    missing = set(au_features(num_aus)) - set(schema.names) - {_OPTIONAL_COLUMN}
    if missing:
        raise ValueError(
            f"{file} has no column {', '.join(sorted(missing))}, only {', '.join(schema.names)}: it is not a shard of "
            "aligned faces with AU labels."
        )
    for column in ("labels", "intensities"):
        found = schema.field(column).type
        if not pa.types.is_fixed_size_list(found) or found.list_size != num_aus:
            raise ValueError(
                f"{file} has {getattr(found, 'list_size', found)} {column} for each face, but {name} has {num_aus} "
                "AUs: it was written by another version. Write it again."
            )


def verify_shards(source: FaceSource):
    """Compares the files of a local set with its manifest.

    Raises:
        ValueError: if a file was changed or damaged after the preparation, or isn't a shard of this set.
    """
    logger.info("Checking the %d shards of %s.", len(source.shards), source.place)
    # Hashing releases the GIL.
    with ThreadPoolExecutor(max_workers=4) as pool:
        list(pool.map(partial(_verify, source), source.shards))


def _verify(source: FaceSource, shard: Shard):
    if shard.sha256 is None:
        return
    path = Path(source.address(shard))
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != shard.sha256:
        raise ValueError(
            f"{path} is not the file that {MANIFEST_FILE} lists (its SHA-256 starts with {found[:12]} instead of "
            f"{shard.sha256[:12]}): it was changed or damaged after the preparation. Copy it again, or delete it and "
            f"run the same `hiva-hf prepare {source.name}` command again."
        )
    metadata = pq.read_metadata(path)
    check_columns(metadata.schema.to_arrow_schema(), source.name, len(source.aus), str(path))
    if metadata.num_rows != shard.num_rows:
        raise ValueError(f"{path} has {metadata.num_rows} rows, but {MANIFEST_FILE} says {shard.num_rows}.")

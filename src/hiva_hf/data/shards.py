"""Shards of prepared data: what goes into one, how it is written to disk, and whether an existing one is valid."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..atomic_files import UNFINISHED_SUFFIX, write_bytes
from .frames import ImageFiles, VideoFile
from .layout import name_within
from .raw import FrameSource, Problem, RawDataError, RawDataset, RawSequence


FORMAT = 1
# About 30 MB of crops: the most that an interruption loses and that a worker holds in memory.
FRAMES_PER_SHARD = 1000
# Streaming readers hold one row group of each shard that they mix.
ROWS_PER_GROUP = 100

# Name, size and modification time.
FileFacts = tuple[str, int | None, int | None]


@dataclass(frozen=True, eq=False)
class Chunk:
    """Consecutive labelled frames of one sequence, which become one shard.

    Attributes:
        name: Name of the shard, such as `SN001-004`.
        sequence: The sequence, restricted to these frames.
        fingerprint: Digest of everything that the shard is made from.
        files: Files of the sequence's source that were there when the fingerprint was taken.
    """

    name: str
    sequence: RawSequence
    fingerprint: str
    files: frozenset[Path] = frozenset()

    def __len__(self) -> int:
        return len(self.sequence.frames)


@dataclass(frozen=True)
class ShardState:
    """The record of a finished shard.

    Attributes:
        fingerprint: Fingerprint of the chunk that it was made from.
        num_rows: Frames that became rows. A shard without rows has no Parquet file.
        num_bytes: Size of the Parquet file.
        sha256: Digest of the Parquet file, empty if there is none.
        problems: One for each frame that did not become a row.
        seconds: Seconds spent on each stage.
    """

    fingerprint: str
    num_rows: int
    num_bytes: int
    sha256: str
    problems: tuple[Problem, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, values: Mapping) -> "ShardState":
        return cls(**{**values, "problems": tuple(Problem(**problem) for problem in values["problems"])})


class ShardFolder:
    """The part of an output folder that holds the shards, and the state of each finished one.

    Args:
        output_dir: Holds `data/NAME.parquet` and `state/NAME.json`.
    """

    def __init__(self, output_dir: Path):
        self.output_dir = output_dir
        self.data_dir = output_dir / "data"
        self.state_dir = output_dir / "state"

    def parquet_path(self, name: str) -> Path:
        return self.data_dir / f"{name}.parquet"

    def state_path(self, name: str) -> Path:
        return self.state_dir / f"{name}.json"

    def create(self) -> None:
        """Creates the folders that don't exist yet."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self.state_dir.mkdir(exist_ok=True)

    def remove_leftovers(self) -> None:
        """Removes files that a process left unfinished."""
        for leftover in (
            *self.data_dir.glob(f"*.parquet{UNFINISHED_SUFFIX}"),
            *self.state_dir.glob(f"*.json{UNFINISHED_SUFFIX}"),
        ):
            leftover.unlink()

    def names(self) -> list[str]:
        """Names of all shards that have a file here, sorted."""
        paths = (*self.data_dir.glob("*.parquet"), *self.state_dir.glob("*.json"))
        return sorted({path.stem for path in paths})

    def finished(self, chunk: Chunk) -> ShardState | None:
        """Returns the state of a chunk's shard if it is finished and made from this very chunk, None otherwise."""
        try:
            state = ShardState.from_dict(json.loads(self.state_path(chunk.name).read_text(encoding="utf-8")))
        # Whatever is wrong with the state file, the shard is made again.
        except (OSError, ValueError, TypeError, KeyError):
            return None
        if state.fingerprint != chunk.fingerprint:
            return None
        path = self.parquet_path(chunk.name)
        num_bytes = path.stat().st_size if path.is_file() else 0
        return state if num_bytes == state.num_bytes else None

    def forget(self, name: str) -> None:
        """Marks a shard as unfinished, before any of its files change."""
        self.state_path(name).unlink(missing_ok=True)

    def write_rows(self, name: str, table: pa.Table) -> tuple[int, str]:
        """Writes the rows of a shard.

        Returns:
            Size and SHA-256 of the Parquet file, `(0, "")` if there are no rows and hence no file.
        """
        path = self.parquet_path(name)
        if not len(table):
            path.unlink(missing_ok=True)
            return 0, ""
        data = parquet_bytes(table)
        write_bytes(path, data)
        return len(data), hashlib.sha256(data).hexdigest()

    def write_state(self, name: str, state: ShardState) -> None:
        """Records that a shard is finished. Its rows must be on disk already."""
        write_bytes(self.state_path(name), to_json(asdict(state)))


def cut_into_chunks(raw: RawDataset) -> list[Chunk]:
    """Cuts all sequences into chunks, each of which becomes one shard.

    Raises:
        RawDataError: if two sequences have the same name.
    """
    chunks = [chunk for sequence in raw.sequences for chunk in _chunks_of(sequence, raw)]
    names = [chunk.name for chunk in chunks]
    doubled = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if doubled:
        raise RawDataError(
            f"Two recordings in {raw.root} would go to the same shard: {', '.join(doubled)}. Rename subjects or "
            "tasks so that each SUBJECT_TASK is unique."
        )
    return chunks


def _chunks_of(sequence: RawSequence, raw: RawDataset) -> list[Chunk]:
    chunks = []
    for index, start in enumerate(range(0, len(sequence.frames), FRAMES_PER_SHARD)):
        rows = slice(start, start + FRAMES_PER_SHARD)
        part = replace(
            sequence,
            frames=sequence.frames[rows],
            labels=sequence.labels[rows],
            intensities=sequence.intensities[rows],
            source=_cut_source(sequence.source, sequence.frames[rows].tolist()),
        )
        facts = [_file_facts(path, raw.root) for path in part.source.files]
        files = [path for path, (_, size, _) in zip(part.source.files, facts, strict=True) if size is not None]
        fingerprint = _fingerprint(part, raw, facts)
        chunks.append(Chunk(f"{sequence.name}-{index:03d}", part, fingerprint, frozenset(files)))
    return chunks


def _cut_source(source: FrameSource, frames: Sequence[int]) -> FrameSource:
    """Leaves pictures of other frames out, so that a chunk depends on its own files only."""
    if isinstance(source, ImageFiles):
        paths = {frame: source.paths[frame] for frame in frames if frame in source.paths}
        return replace(source, paths=paths)
    return source


def _fingerprint(sequence: RawSequence, raw: RawDataset, files: Sequence[FileFacts]) -> str:
    source = sequence.source
    inputs = {
        "format": FORMAT,
        "aus": list(raw.aus),
        "settings": dict(raw.settings),
        "subject": sequence.subject,
        "task": sequence.task,
        "part": sequence.part,
        "num_frames": len(sequence.frames),
        "files": files,
        # Which frame number belongs to which picture.
        "pictures": [int(frame) for frame in source.paths] if isinstance(source, ImageFiles) else None,
        "first_frame": source.first_frame if isinstance(source, VideoFile) else None,
    }
    digest = hashlib.sha256(to_json(inputs))
    digest.update(np.ascontiguousarray(sequence.frames, dtype="<i4").tobytes())
    digest.update(np.ascontiguousarray(sequence.labels, dtype=np.int8).tobytes())
    digest.update(np.ascontiguousarray(sequence.intensities, dtype=np.int8).tobytes())
    return digest.hexdigest()


def _file_facts(path: Path, root: Path) -> FileFacts:
    """Name, size and modification time of a file; None for the latter two if it doesn't exist."""
    try:
        status = path.stat()
    except OSError:
        return name_within(path, root), None, None
    return name_within(path, root), status.st_size, status.st_mtime_ns


def parquet_bytes(table: pa.Table) -> bytes:
    """Encodes rows as Parquet, with the schema metadata from which `datasets` restores the features."""
    buffer = BytesIO()
    # JPEG bytes neither shrink nor repeat: compressing them or building dictionaries only costs time.
    pq.write_table(
        table,
        buffer,
        row_group_size=ROWS_PER_GROUP,
        compression="none",
        use_dictionary=["subject", "task"],
        write_statistics=["frame", "fold"],
    )
    return buffer.getvalue()


def to_json(value: object) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8")

"""Finds the faces of a set: in the package, in a folder, or on the Hub."""

from collections.abc import Iterator
from pathlib import Path

from .hub import is_hub_id, open_hub
from .manifest import (
    CUSTOM,
    MANIFEST_FILE,
    PREPARATION_FILE,
    FaceSource,
    Shard,
    check_parts,
    fingerprint_of,
    open_prepared,
    state_of_file,
    title_of,
)
from .parquet import check_columns, open_shard
from .sets import AU_SETS


_EMBEDDED_SYNTHFACS = Path(__file__).parent / "synthfacs"


def open_source(
    name: str,
    data_dir: str | Path | None = None,
    revision: str | None = None,
    token: str | bool | None = None,
) -> FaceSource:
    """Finds the faces of a set, without downloading or reading pictures.

    Args:
        name: A key of `AU_DATASETS`, or "custom".
        data_dir: The folder that `hiva-hf prepare` wrote, or the id of a data set on the Hub. Optional only for
            SynthFACS, which is in the package; its folders may also hold shards alone.
        revision: Branch, tag or commit on the Hub.
        token: For a private data set on the Hub; by default the one that `hf auth login` stored.

    Raises:
        FileNotFoundError: if there is no such folder or data set.
        ValueError: if the name doesn't exist, or the folder is unfinished, damaged, or another set.
    """
    if name not in AU_SETS and name != CUSTOM:
        raise ValueError(f"There is no AU data set {name!r}. Known: {', '.join(sorted([*AU_SETS, CUSTOM]))}.")
    if data_dir is None and name != "synthfacs":
        raise ValueError(
            f"`data_dir` is missing: {title_of(name)} doesn't come with the package. Pass the folder that "
            f"`hiva-hf prepare {name}` wrote, or the id of a data set on the Hub that was pushed from one."
        )
    folder = _EMBEDDED_SYNTHFACS if data_dir is None else Path(data_dir).expanduser()
    if not folder.exists() and is_hub_id(str(data_dir)):
        return open_hub(name, str(data_dir), revision, token)
    if revision is not None:
        raise ValueError(f"`revision` is {revision!r}, but {folder} is a folder: only data sets on the Hub have one.")
    is_prepared = any((folder / file).exists() for file in (MANIFEST_FILE, PREPARATION_FILE))
    if name == "synthfacs" and folder.is_dir() and not is_prepared:
        return _open_plain(name, folder)
    return open_prepared(folder, str(folder), name)[1]


def _open_plain(name: str, folder: Path) -> FaceSource:
    """Opens a folder of shards without a manifest, each with many subjects."""
    files = sorted(path.name for path in folder.glob("*.parquet"))
    if not files:
        raise FileNotFoundError(
            f"{folder} holds no .parquet file. Pass the folder that `python -m hiva_hf.synthesis --output_dir` wrote, "
            "or leave `data_dir` out to load the embedded set."
        )
    aus = AU_SETS[name]
    shards = tuple(shard for file in files for shard in _scan_shards(folder / file, name, len(aus)))
    check_parts(shards, str(folder))
    # There are no checksums, and another folder may have files of the same names, sizes and times.
    states = (state_of_file(folder, file) for file in files)
    fingerprint = fingerprint_of(str(folder.resolve()), *states)
    return FaceSource(name, aus, shards, str(folder.absolute()), str(folder), fingerprint)


def _scan_shards(path: Path, name: str, num_aus: int) -> Iterator[Shard]:
    """Yields the row groups of a file."""
    with open_shard(str(path)) as file:
        check_columns(file.schema_arrow, name, num_aus, str(path))
        for group in range(file.num_row_groups):
            table = file.read_row_group(group, columns=["subject", "fold"])
            pairs = set(zip(table["subject"].to_pylist(), table["fold"].to_pylist(), strict=True))
            yield Shard(path.name, tuple(sorted(pairs)), table.num_rows, row_groups=(group,))

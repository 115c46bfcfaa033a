"""The contents of a prepared set: shards, Action Units and the part of each subject, as listed in `dataset.json`."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from .. import __version__
from .sets import AU_DATASETS, AU_SETS


# Written first by the preparation.
PREPARATION_FILE = "prepare.json"
REPORT_FILE = "report.json"
REPORT_TEXT_FILE = "report.txt"
# Written last, so that a folder that has it is complete.
MANIFEST_FILE = "dataset.json"
MANIFEST_FORMAT = 1
# Custom sets have no entry in `AU_DATASETS`: their AUs are in the manifest.
CUSTOM = "custom"

REMOTE_SCHEME = "hf://"


@dataclass(frozen=True)
class Shard:
    """A Parquet file with faces, or some row groups of one.

    Attributes:
        file: Path relative to the set's folder, with forward slashes.
        subject_parts: The subjects in it, each with its part.
        num_rows: Number of faces.
        row_groups: Which row groups; all of them by default.
        sha256: SHA-256 of the whole file, if it was recorded.
    """

    file: str
    subject_parts: tuple[tuple[str, int], ...]
    num_rows: int
    row_groups: tuple[int, ...] | None = None
    sha256: str | None = None

    @property
    def subjects(self) -> frozenset[str]:
        return frozenset(subject for subject, _ in self.subject_parts)


@dataclass(frozen=True)
class Manifest:
    """The contents of a `dataset.json`.

    Attributes:
        name: Name of the set: a key of `AU_DATASETS`, or "custom".
        title: Display name.
        aus: AUs of the label columns.
        shards: Its files.
    """

    name: str
    title: str
    aus: tuple[int, ...]
    shards: tuple[Shard, ...]


@dataclass(frozen=True)
class FaceSource:
    """All shards of one set, and where they are.

    Attributes:
        name: Name of the set: a key of `AU_DATASETS`, or "custom".
        aus: AUs of the label columns.
        shards: The shards, in the order of the rows.
        root: Absolute path of the folder of the shards, or its address `hf://datasets/ORG/NAME@COMMIT`.
        place: Location in messages: the folder, or the id on the Hub.
        fingerprint: Changes with the shards and with the version of the package.
        commit: Commit on the Hub; None for a folder.
    """

    name: str
    aus: tuple[int, ...]
    shards: tuple[Shard, ...]
    root: str
    place: str
    fingerprint: str
    commit: str | None = None

    @property
    def subject_parts(self) -> dict[str, int]:
        """Part of each subject that has faces."""
        return subject_parts_of(self.shards)

    def address(self, shard: Shard) -> str:
        """Address of a shard for [`~hiva_hf.data.parquet.read_shard`]."""
        return f"{self.root}/{shard.file}"


def title_of(name: str) -> str:
    """Display name of a set: "BP4D" for "bp4d"."""
    return AU_DATASETS[name].title if name in AU_DATASETS else name


def subject_parts_of(shards: Iterable[Shard]) -> dict[str, int]:
    """Part of each subject that has faces."""
    return {subject: part for shard in shards if shard.num_rows for subject, part in shard.subject_parts}


def read_manifest(content: bytes, place: str, name: str | None = None) -> Manifest:
    """Reads a `dataset.json`.

    Args:
        content: Content of the file.
        place: Location of its folder in messages.
        name: Name of the expected set; any by default.

    Raises:
        ValueError: if it is damaged, in another format, of another set, or of a version with other AUs.
    """
    try:
        entries = json.loads(content)
        # The settings are not needed here, but a manifest without them is damaged.
        written_format, _ = entries["format"], dict(entries["settings"])
        manifest = Manifest(
            name=entries["name"],
            title=entries["title"],
            aus=tuple(int(au) for au in entries["aus"]),
            shards=tuple(_read_shard_entry(entry) for entry in entries["shards"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{MANIFEST_FILE} of {place} is damaged ({type(error).__name__}: {error}). Prepare the set again."
        ) from error
    if written_format != MANIFEST_FORMAT:
        raise ValueError(
            f"{MANIFEST_FILE} of {place} has the format {written_format!r}, but this version reads {MANIFEST_FORMAT}. "
            "Update hiva-hf, or prepare the set again."
        )
    if name not in (None, manifest.name):
        raise ValueError(f"{place} holds {manifest.title}, not {title_of(name)}: load it as {manifest.name!r}.")
    expected = AU_SETS.get(manifest.name, manifest.aus)
    if manifest.aus != expected:
        raise ValueError(
            f"{place} has the AUs {', '.join(map(str, manifest.aus))}, but {manifest.name} has "
            f"{', '.join(map(str, expected))}: it was written by another version. Prepare it again."
        )
    check_parts(manifest.shards, place)
    return manifest


def _read_shard_entry(entry: Mapping[str, Any]) -> Shard:
    path = PurePosixPath(entry["file"])
    # A data set from the Hub must not reach files outside its folder; Windows has more ways to name these.
    windows_path = PureWindowsPath(path)
    if windows_path.anchor or ".." in windows_path.parts:
        raise ValueError(f"{path} is outside the folder")
    parts = (str(entry["subject"]), int(entry["fold"]))
    return Shard(str(path), (parts,), int(entry["num_rows"]), sha256=str(entry["sha256"]))


def check_parts(shards: Iterable[Shard], place: str):
    """Raises a ValueError for a subject in two parts, who would be in both training and test."""
    parts: dict[str, int] = {}
    for shard in shards:
        for subject, part in shard.subject_parts:
            if parts.setdefault(subject, part) != part:
                raise ValueError(
                    f"Subject {subject} of {place} is in the parts {parts[subject]} and {part} (seen in "
                    f"{shard.file}): a subject can only be in one. Prepare the set again."
                )


def open_prepared(folder: Path, place: str, name: str | None = None) -> tuple[Manifest, FaceSource]:
    """Reads the manifest of a folder that `hiva-hf prepare` wrote, without opening its shards.

    Args:
        folder: The folder.
        place: Its location in messages.
        name: Name of the expected set; any by default.

    Raises:
        FileNotFoundError: if it was never prepared, or a shard is missing.
        ValueError: if it is unfinished, damaged, or another set.
    """
    if not (folder / MANIFEST_FILE).exists():
        _refuse_unprepared(folder, place, name)
    content = (folder / MANIFEST_FILE).read_bytes()
    manifest = read_manifest(content, place, name)
    missing = [shard.file for shard in manifest.shards if not (folder / shard.file).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{place} lacks {len(missing)} of the {len(manifest.shards)} shards that its {MANIFEST_FILE} lists, the "
            f"first is {missing[0]}. Copy the whole folder, or run `hiva-hf prepare {manifest.name}` again."
        )
    fingerprint = fingerprint_of(content, *(state_of_file(folder, shard.file) for shard in manifest.shards))
    source = FaceSource(manifest.name, manifest.aus, manifest.shards, str(folder.absolute()), place, fingerprint)
    return manifest, source


def _refuse_unprepared(folder: Path, place: str, name: str | None):
    """Says why there is no `dataset.json`, and what to do."""
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder {place}. Pass the one that `hiva-hf prepare` wrote.")
    if (folder / PREPARATION_FILE).exists():
        raise ValueError(
            f"The preparation of {place} is not finished: there is a {PREPARATION_FILE}, but no {MANIFEST_FILE} yet. "
            "Run the same `hiva-hf prepare` command again: it continues where it stopped."
        )
    found = ", ".join(sorted(entry.name for entry in folder.iterdir())[:5]) or "nothing"
    raise FileNotFoundError(
        f"{place} is not a prepared data set: it has no {MANIFEST_FILE}, but {found}. If it is an original release, "
        f"run `hiva-hf prepare {name or 'NAME'} --data_dir {place} --output_dir PREPARED` first and pass PREPARED."
    )


def state_of_file(folder: Path, file: str) -> tuple[str, int, int]:
    """Name, size and modification time of a file, by which changes are detected."""
    state = (folder / file).stat()
    return file, state.st_size, state.st_mtime_ns


def fingerprint_of(*contents: bytes | str | tuple) -> str:
    """A short hash of these contents and the package's version."""
    digest = hashlib.sha256(__version__.encode())
    for content in contents:
        digest.update(hashlib.sha256(content if isinstance(content, bytes) else repr(content).encode()).digest())
    return digest.hexdigest()[:16]

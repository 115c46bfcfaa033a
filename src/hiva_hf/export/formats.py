"""What a detector can be exported to, and the manifest that says what a folder holds."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any


# Written by transformers' exporters; we add an entry of our own, which they leave alone.
MANIFEST_FILE = "export.json"
MANIFEST_ENTRY = "hiva"
# More than any manifest has: outputs are described by name, not by their values.
_MAX_MANIFEST_BYTES = 1_000_000


@dataclass(frozen=True)
class Format:
    """A kind of program.

    Attributes:
        title: What people call it.
        transformers_name: The name that transformers' exporters have for it.
        extra: The extra of this package that it needs, torch programs for int8 alone.
        program_files: The files of a program, the one that is opened first.
        refusals: Precisions that it doesn't come in, and why.
        is_pickle: Whether opening the program runs code that it holds.
    """

    title: str
    transformers_name: str
    extra: str
    program_files: tuple[str, ...]
    refusals: Mapping[str, str] = field(default_factory=dict)
    is_pickle: bool = False


DTYPES = ("fp32", "bf16", "int8")
FORMATS = {
    "openvino": Format(
        title="OpenVINO",
        transformers_name="openvino",
        extra="openvino",
        program_files=("openvino_model.xml", "openvino_model.bin"),
    ),
    "onnx": Format(
        title="ONNX Runtime",
        transformers_name="onnx",
        extra="onnx",
        program_files=("model.onnx", "model.onnx.data"),
        refusals=MappingProxyType(
            {"bf16": "ONNX Runtime has no bfloat16 arithmetic for CPUs: take fp32 or int8, or OpenVINO for bf16"}
        ),
    ),
    "torch": Format(
        title="torch.export",
        transformers_name="dynamo",
        extra="torchao",
        program_files=("model.pt2",),
        is_pickle=True,
    ),
}


def check_target(format: str, dtype: str) -> Format:
    """The format of that name, if it comes in that precision.

    Raises:
        ValueError: It doesn't, or there is no such format.
    """
    if format not in FORMATS:
        raise ValueError(f"There is no format {format!r}: choose one of {', '.join(FORMATS)}.")
    if dtype not in DTYPES:
        raise ValueError(f"There is no precision {dtype!r}: choose one of {', '.join(DTYPES)}.")
    target = FORMATS[format]
    if dtype in target.refusals:
        raise ValueError(f"{format} programs don't come in {dtype}: {target.refusals[dtype]}.")
    return target


@dataclass(frozen=True)
class Manifest:
    """What a folder says of its program. It is read as data: only words that are known here mean anything.

    Attributes:
        format: A key of [`FORMATS`].
        dtype: One of [`DTYPES`].
        details: What it was made from, as it was written down.
    """

    format: str
    dtype: str
    details: Mapping[str, Any]

    @property
    def target(self) -> Format:
        return FORMATS[self.format]


def read_manifest(path: Path) -> Manifest:
    """Reads a manifest.

    Raises:
        ValueError: It is none of a detector that this package exported, or names files that such a detector lacks.
    """
    if path.stat().st_size > _MAX_MANIFEST_BYTES:
        raise ValueError(f"{path} is larger than any manifest of an export.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        entry = content[MANIFEST_ENTRY]
        format, dtype = entry["format"], entry["dtype"]
        named = (content["export_format"], {name: part["file"] for name, part in content["components"].items()})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} is not a manifest of a detector that `hiva-hf export` wrote ({type(error).__name__}: {error})."
        ) from error
    try:
        target = check_target(format, dtype)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from error
    # The names are fixed: a manifest can't make anything be read from elsewhere.
    if named != (target.transformers_name, {"model": target.program_files[0]}):
        raise ValueError(
            f"{path} names {named}, but a {format} program of `hiva-hf export` is {target.program_files[0]!r} alone. "
            "Export the detector anew."
        )
    return Manifest(format=format, dtype=dtype, details=entry)


def check_not_pickled(name_or_path: str | os.PathLike) -> None:
    """Refuses a folder whose program runs code when it is opened; repositories and checkpoints pass.

    Raises:
        ValueError: It holds such a program, or a manifest that can't be read.
    """
    path = Path(name_or_path) / MANIFEST_FILE
    if path.is_file():
        target = read_manifest(path).target
        if target.is_pickle:
            raise ValueError(pickle_refusal(name_or_path, target))


def pickle_refusal(name_or_path: str | os.PathLike, target: Format) -> str:
    return (
        f"{os.fspath(name_or_path)} holds a {target.title} program, which is a pickle inside: opening it runs "
        "whatever code it holds. If you made it, or trust who did, load it by "
        "`HiVAForAUDetection.from_exported(folder, trust_remote_code=True)`."
    )


def add_to_manifest(path: Path, entry: Mapping[str, Any]) -> None:
    """Adds our entry to the manifest that transformers wrote."""
    content = json.loads(path.read_text(encoding="utf-8"))
    content[MANIFEST_ENTRY] = dict(entry)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

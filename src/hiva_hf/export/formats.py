"""Formats that a detector can be exported to, what an export does by default, and its manifest.

Imports nothing large, for the command line.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any


# Written by transformers' exporters; this package adds its own entry, which they ignore.
MANIFEST_FILE = "export.json"
MANIFEST_ENTRY = "hiva"
# More than any manifest has: it lists outputs by name, without values.
_MAX_MANIFEST_BYTES = 1_000_000


@dataclass(frozen=True)
class Format:
    """A format of programs.

    Attributes:
        title: Its name in messages.
        transformers_name: Its name in transformers' exporters.
        extra: The extra of this package that it needs; torch programs need it only for int8.
        program_files: The files of a program; the first is the one to load.
        refusals: Precisions that it doesn't support, and why.
        is_pickle: Whether loading the program can run code that it contains.
    """

    title: str
    transformers_name: str
    extra: str
    program_files: tuple[str, ...]
    refusals: Mapping[str, str] = field(default_factory=dict)
    is_pickle: bool = False


# Faces to calibrate and compare on: the rendered ones of the package, and how many.
SYNTHFACS, NUM_CALIBRATION_FACES, NUM_COMPARISON_FACES = "synthfacs", 128, 64

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
            {"bf16": "ONNX Runtime has no bfloat16 arithmetic for CPUs: use fp32 or int8, or OpenVINO for bf16"}
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


def default_dtype(format: str) -> str:
    """The fastest precision of a format that needs no calibration.

    Raises:
        ValueError: The format is unknown.
    """
    return "fp32" if "bf16" in _format_of(format).refusals else "bf16"


def check_target(format: str, dtype: str) -> Format:
    """Returns the format of this name, if it supports this precision.

    Raises:
        ValueError: The format or the precision is unknown, or the format doesn't support the precision.
    """
    target = _format_of(format)
    if dtype not in DTYPES:
        raise ValueError(f"There is no precision {dtype!r}: choose one of {', '.join(DTYPES)}.")
    if dtype in target.refusals:
        raise ValueError(f"{format} programs don't support {dtype}: {target.refusals[dtype]}.")
    return target


def _format_of(name: str) -> Format:
    if name not in FORMATS:
        raise ValueError(f"There is no format {name!r}: choose one of {', '.join(FORMATS)}.")
    return FORMATS[name]


@dataclass(frozen=True)
class Manifest:
    """Description of the program in a folder. It is untrusted data: only values that are known here have an effect.

    Attributes:
        format: A key of [`FORMATS`].
        dtype: One of [`DTYPES`].
    """

    format: str
    dtype: str

    @property
    def target(self) -> Format:
        return FORMATS[self.format]


def read_manifest(path: Path) -> Manifest:
    """Reads a manifest.

    Raises:
        ValueError: It was not written by this package's export, or names other files than such an export has.
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
    # The file names are fixed, so that a manifest can't point to files elsewhere.
    if named != (target.transformers_name, {"model": target.program_files[0]}):
        raise ValueError(
            f"{path} names {named}, but a {format} program of `hiva-hf export` is only {target.program_files[0]!r}. "
            "Export the detector again."
        )
    return Manifest(format=format, dtype=dtype)


def check_not_pickled(name_or_path: str | os.PathLike) -> None:
    """Checks that a folder contains no program that can run code when it is loaded; accepts repositories, checkpoints.

    Raises:
        ValueError: It contains such a program, or a manifest that can't be read.
    """
    path = Path(name_or_path) / MANIFEST_FILE
    if path.is_file():
        target = read_manifest(path).target
        if target.is_pickle:
            raise ValueError(pickle_refusal(name_or_path, target))


def pickle_refusal(name_or_path: str | os.PathLike, target: Format) -> str:
    return (
        f"{os.fspath(name_or_path)} contains a {target.title} program, which is a pickle: loading it runs any code "
        "that it contains. If you made it, or trust who did, load it with "
        "`HiVAForAUDetection.from_exported(folder, trust_remote_code=True)`."
    )


def add_to_manifest(path: Path, entry: Mapping[str, Any]) -> None:
    """Adds this package's entry to the manifest that transformers wrote."""
    content = json.loads(path.read_text(encoding="utf-8"))
    content[MANIFEST_ENTRY] = dict(entry)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

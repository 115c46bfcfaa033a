"""`hiva-hf export`: export a detector to a program that runs fast on CPUs."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from ..export.formats import (
    DTYPES,
    FORMATS,
    NUM_CALIBRATION_FACES,
    NUM_COMPARISON_FACES,
    SYNTHFACS,
    check_target,
    default_dtype,
)
from ..packaged_checkpoint import STARTER
from .argument_types import positive_int


if TYPE_CHECKING:
    from ..export import ExportReport

_DESCRIPTION = """\
Export a detector to a program of OpenVINO (the fastest on CPUs), ONNX Runtime (runs anywhere) or torch.export.

Use the new folder like a checkpoint: hiva-hf detect --model FOLDER, pipeline("au-detection", model=FOLDER).
The export is compared with the detector on faces, and the largest change of a probability is printed and recorded.
These faces, and those for the calibration of int8, are by default rendered ones from the package; faces like those
that the export will read are better: --calibration PHOTOS.

Programs of torch.export contain pickles, so only
HiVAForAUDetection.from_exported(FOLDER, trust_remote_code=True) loads them."""

_EXAMPLES = """\
examples:
  hiva-hf export starter --to openvino
  hiva-hf export path/to/checkpoint faster --to openvino --dtype int8 --calibration photos/
  hiva-hf detect interview.mp4 --model faster"""


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "export",
        help="export a detector to a faster program: OpenVINO, ONNX, torch.export",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "model", metavar="MODEL", help=f"folder or Hub repository of a detector, or {STARTER}, the packaged one"
    )
    parser.add_argument(
        "output_dir",
        metavar="OUTPUT_DIR",
        nargs="?",
        type=Path,
        help="a new folder for the result (default: MODEL-FORMAT-DTYPE, in the current folder)",
    )
    parser.add_argument("--to", choices=tuple(FORMATS), required=True, help="format of the program")
    parser.add_argument(
        "--dtype",
        choices=DTYPES,
        help="precision of the arithmetic: int8 is the smallest, bf16 needs no calibration (default: bf16, or fp32 "
        "for onnx, which has no bf16)",
    )
    faces = parser.add_argument_group("faces to calibrate and compare on")
    faces.add_argument(
        "--calibration", metavar="DATA", default=SYNTHFACS, help="a folder of photos (default: %(default)s)"
    )
    faces.add_argument("--aligned", action="store_true", help="the photos are cropped and aligned faces")
    faces.add_argument(
        "--num_calibration_faces",
        type=positive_int,
        default=NUM_CALIBRATION_FACES,
        metavar="N",
        help="number of faces to calibrate int8 on (default: %(default)s)",
    )
    faces.add_argument(
        "--num_comparison_faces",
        type=positive_int,
        default=NUM_COMPARISON_FACES,
        metavar="N",
        help="number of other faces to compare the export on (default: %(default)s)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Exports a detector; returns the exit code."""
    dtype = args.dtype or default_dtype(args.to)
    # Before anything is loaded.
    check_target(args.to, dtype)
    import torch
    from transformers import AutoImageProcessor

    from ..export import export_detector
    from ..modeling_hiva import HiVAForAUDetection
    from ..packaged_checkpoint import find_checkpoint

    checkpoint = find_checkpoint(args.model)
    output_dir = args.output_dir or Path(f"{Path(os.path.abspath(args.model)).name}-{args.to}-{dtype}")
    report = export_detector(
        HiVAForAUDetection.from_pretrained(checkpoint, dtype=torch.float32),
        AutoImageProcessor.from_pretrained(checkpoint),
        output_dir,
        format=args.to,
        dtype=dtype,
        calibration=args.calibration,
        aligned=args.aligned,
        num_calibration_faces=args.num_calibration_faces,
        num_comparison_faces=args.num_comparison_faces,
    )
    print(_describe(report, output_dir))
    return 0


def _describe(report: "ExportReport", output_dir: Path) -> str:
    size = sum(file.stat().st_size for file in output_dir.iterdir()) / 1e6
    return (
        f"{output_dir}: {report.format} {report.dtype}, {size:.0f} MB. On {report.num_comparison_faces} faces "
        f"({report.calibration}) probabilities differ from the detector's by "
        f"{report.largest_probability_change:.4f} at most, {report.mean_probability_change:.4f} on average."
    )

"""`hiva-hf prepare`: convert the unpacked release of a data set to Parquet shards of aligned faces."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from .argument_types import positive_int


if TYPE_CHECKING:
    from ..data.raw import RawDataset

_DESCRIPTION = """\
Find, align and store the faces of a data set with their Action Units, and report what was found.

The command can be given again after any interruption: it goes on where it was. The same data give the same files,
whatever the number of processes."""

_OUTPUT = """\

The output folder gets:
  data/*.parquet   face crops of 256 x 256 pixels with labels, for hiva_hf.load_au_dataset(NAME, OUTPUT_DIR)
  dataset.json     the list of these files; it is there only when all of them are
  report.txt, report.json   what was found, what is missing, and how it compares with the published set
  timing.json      where the time went"""

_BP4D = """\
DATA_DIR is the unpacked release of BP4D, all of it or some subjects (any case; one folder deeper is fine):
  AUCoding/AU_OCC/F001_T1.csv             occurrence of the AUs; 9 counts as missing
  AUCoding/AU_INT/AU06/F001_T1_AU06.csv   intensities, optional
  Sequences(2D+3D)/F001/T1/2440.jpg       pictures; also 2D+3D/F001/... or F001/..., numbers padded or not"""

_DISFA = """\
DATA_DIR is the unpacked release of DISFA, all of it or some subjects:
  ActionUnit_Labels/SN001/SN001_au1.txt       frame,intensity
  Videos_LeftCamera/LeftVideoSN001_comp.avi   or Videos_RightCamera/RightVideoSN001_comp.avi, or frames that were
                                              extracted from them, in one folder for each subject"""

_GFT = """\
DATA_DIR is the unpacked release of GFT, all of it or some subjects:
  001A_occ.csv (or similar)   a column for the frame and one for each AU; all but 0 and 1 counts as missing
  001A.mp4 or 001A/1.jpg      video or frames"""

_CUSTOM = """\
DATA_DIR is a folder with pictures of your own and a table of their labels (see --labels_file):
  path,subject,AU1,AU2,...   one line for each picture; optional columns: task, frame, fold,
                             AU1_intensity, ..."""


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Adds the command with a sub-command for each data set."""
    parser = commands.add_parser(
        "prepare",
        help="turn a data set into Parquet shards of aligned faces",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    sets = parser.add_subparsers(title="data sets", metavar="NAME", required=True)
    bp4d = _add_set(sets, "bp4d", _BP4D, _read_bp4d)
    bp4d.add_argument(
        "--frame_offset",
        type=int,
        default=0,
        help="number of a frame's picture minus its number in the label file (default: %(default)s)",
    )
    disfa = _add_set(sets, "disfa", _DISFA, _read_disfa)
    disfa.add_argument("--camera", choices=("left", "right"), default="left", help="default: %(default)s")
    disfa.add_argument(
        "--threshold", type=int, default=2, help="lowest intensity that counts as present (default: %(default)s)"
    )
    disfa.add_argument(
        "--frame_base",
        type=int,
        choices=(0, 1),
        help="number of the first extracted frame (default: inferred from the files)",
    )
    disfa.add_argument(
        "--drop_bad_frames", action="store_true", help="leave out the frames in which face tracking is known to fail"
    )
    _add_set(sets, "gft", _GFT, _read_gft)
    custom = _add_set(sets, "custom", _CUSTOM, _read_custom)
    custom.add_argument("--labels_file", type=Path, help="the table (default: found in DATA_DIR)")


def _add_set(sets: argparse._SubParsersAction, name: str, description: str, read) -> argparse.ArgumentParser:
    parser = sets.add_parser(
        name,
        help=description.splitlines()[0].removeprefix("DATA_DIR is "),
        description=description + "\n" + _OUTPUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data_dir", type=Path, required=True, help="the unpacked data set, see above")
    parser.add_argument("--output_dir", type=Path, required=True, help="folder for the prepared data set")
    parser.add_argument("--num_proc", type=positive_int, help="processes (default: one for each core)")
    parser.add_argument("--push_to_hub", metavar="ORG/NAME", help="upload the prepared data set to this repository")
    parser.add_argument("--public", action="store_true", help="make the repository public (default: private)")
    parser.add_argument(
        "--confirm_public",
        metavar="ORG/NAME",
        help="confirm --public for licensed pictures",
    )
    parser.set_defaults(run=run, read=read, parser=parser)
    return parser


def run(args: argparse.Namespace) -> int:
    """Prepares a data set; returns the exit code."""
    if (args.public or args.confirm_public) and not args.push_to_hub:
        args.parser.error("--public and --confirm_public need --push_to_hub ORG/NAME")
    # Checked before the preparation, which takes hours.
    if args.public and args.confirm_public != args.push_to_hub:
        args.parser.error(
            f"these pictures would become public: if you have the right to publish them, add --confirm_public "
            f"{args.push_to_hub}; without --public the repository is private"
        )

    if args.push_to_hub:
        _check_repo_id(args)

    from ..data.prepare import PreparationError, prepare
    from ..data.report_text import report_text

    try:
        report = prepare(args.read(args), args.output_dir, args.num_proc)
    except PreparationError as error:
        return _fail(error)
    print(report_text(report))
    print(f"Prepared in {args.output_dir}; this report is in its report.txt, with all problems in report.json.")
    return _push(args) if args.push_to_hub else 0


def _check_repo_id(args: argparse.Namespace):
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(args.push_to_hub)
    except HFValidationError as error:
        args.parser.error(f"--push_to_hub: {error}")


def _push(args: argparse.Namespace) -> int:
    from ..data.hub import push_prepared_to_hub

    try:
        url = push_prepared_to_hub(
            args.output_dir, args.push_to_hub, public=args.public, confirm_public=args.confirm_public
        )
    except (ValueError, OSError) as error:
        return _fail(f"Not pushed: {error}")
    print(f"Pushed to {url}")
    return 0


def _fail(error: Exception | str) -> int:
    print(error, file=sys.stderr)
    return 1


def _read_bp4d(args: argparse.Namespace) -> "RawDataset":
    from ..data.bp4d import read_bp4d

    return read_bp4d(args.data_dir, frame_offset=args.frame_offset)


def _read_disfa(args: argparse.Namespace) -> "RawDataset":
    from ..data.disfa import read_disfa

    return read_disfa(
        args.data_dir,
        camera=args.camera,
        threshold=args.threshold,
        frame_base=args.frame_base,
        drop_bad_frames=args.drop_bad_frames,
    )


def _read_gft(args: argparse.Namespace) -> "RawDataset":
    from ..data.gft import read_gft

    return read_gft(args.data_dir)


def _read_custom(args: argparse.Namespace) -> "RawDataset":
    from ..data.custom import read_custom

    return read_custom(args.data_dir, labels_file=args.labels_file)

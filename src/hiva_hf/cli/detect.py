"""`hiva-hf detect`: detect Action Units in photos, videos and folders."""

import argparse
import logging
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from ..inference.table_formats import FORMATS, STDOUT
from .argument_types import positive_int


if TYPE_CHECKING:
    from pandas import DataFrame

    from ..inference.engine_report import EngineReport
    from ..inference.job import DetectionJob
    from ..inference.writers import TableWriter

logger = logging.getLogger(__name__)

SMOOTHING = ("median", "hysteresis")

_DESCRIPTION = """\
Find the faces in photos and videos, and detect which Action Units they show.

INPUT may be photos, videos and folders, which are searched recursively. The table gets one row for each face in each
photo or video frame, and one for each frame without a face or with an error:
  source, frame, timestamp, face_id, xmin, ymin, xmax, ymax, detector_score, AU01 ... (probabilities),
  AU01_c ... (0 or 1), error
Frames count from 0 in presentation order, timestamps are the video's own, and a face keeps its face_id throughout a
video. Ctrl-C and broken files keep all rows so far; --resume continues."""

_EXAMPLES = """\
examples:
  hiva-hf detect photo.jpg
  hiva-hf detect interview.mp4 photos/ --output faces.csv --draw
  hiva-hf detect interview.mp4 --output faces.parquet --smooth median
  hiva-hf detect videos/ --output openface/ --format openface --every 5"""


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "detect",
        help="detect Action Units in photos, videos and folders",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="photos, videos, folders")
    table = parser.add_argument_group("table")
    table.add_argument("--output", metavar="FILE", default=STDOUT, help="where the table goes (default: stdout)")
    table.add_argument(
        "--format",
        choices=FORMATS,
        help="openface and pyfeat write the columns of these tools (default: by the extension of the output)",
    )
    table.add_argument(
        "--resume",
        action="store_true",
        help="continue an existing output; files that could not be read are not tried again, for which there is "
        "--overwrite",
    )
    table.add_argument("--overwrite", action="store_true", help="replace an existing output")
    table.add_argument("--draw", action="store_true", help="draw the faces into copies of the photos and videos")
    table.add_argument(
        "--draw_dir", metavar="DIR", type=Path, help="folder for the drawn copies (default: beside the output)"
    )
    table.add_argument(
        "--explain",
        action="store_true",
        help="explain the results in plain English: writes OUTPUT-explained.jsonl with a line for each face, or text "
        "to stderr without --output",
    )
    _add_model(parser.add_argument_group("detector"))
    _add_video(parser.add_argument_group("videos"))
    parser.set_defaults(run=run, parser=parser)


def _add_model(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--model", help="folder or Hub repository of a detector (default: the packaged starter checkpoint)"
    )
    group.add_argument(
        "--threshold",
        type=_threshold,
        nargs="+",
        metavar="P",
        help="lowest probability at which an AU counts as present: one for all AUs, or AU12=0.4 AU4=0.6 ... "
        "(default: the checkpoint's)",
    )
    group.add_argument("--device", help="such as cpu or cuda:0 (default: chosen by transformers)")
    group.add_argument("--dtype", help="such as bfloat16 (default: the checkpoint's)")
    group.add_argument(
        "--batch_size", type=positive_int, help="number of faces per batch (default: 8, or 32 on a GPU)"
    )
    group.add_argument(
        "--face_search_size",
        type=positive_int,
        metavar="PIXELS",
        help="downscale larger photos and frames to this longer side for face detection (default: 640); faces then "
        "less than about 18 pixels high are missed; twice the size means four times the pixels",
    )


def _add_video(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--every", type=positive_int, default=1, metavar="N", help="read only every N-th frame")
    group.add_argument(
        "--detect_every",
        type=positive_int,
        default=10,
        metavar="K",
        help="search the whole frame for faces every K frames, and only around known faces in between; 1 is thorough "
        "and slow (default: %(default)s)",
    )
    group.add_argument(
        "--smooth",
        choices=SMOOTHING,
        help="smooth over time: writes OUTPUT-smoothed, and onsets, apexes and offsets to OUTPUT-events.csv",
    )
    group.add_argument("--smooth_window", type=float, metavar="SECONDS", help="window of the median (default: 0.5)")
    group.add_argument(
        "--smooth_high",
        type=float,
        metavar="P",
        help="hysteresis: an event begins at this probability (default: the threshold of each AU)",
    )
    group.add_argument(
        "--smooth_low",
        type=float,
        metavar="P",
        help="hysteresis: it ends below this probability (default: 0.6 of where it begins)",
    )
    group.add_argument("--min_duration", type=float, metavar="SECONDS", help="omit shorter events (default: 0)")


def run(args: argparse.Namespace) -> int:
    """Detects AUs; returns the exit code: 1 if something could not be read."""
    _check(args)
    from ..inference.explanations import explanation_text
    from ..inference.tables import is_default_table

    if args.smooth and not is_default_table(args.output, args.format):
        args.parser.error("--smooth needs --output FILE.csv, .jsonl or .parquet in this package's own columns")
    job = _make_job(args)
    _check_smoothing(args, job)
    explanations = None
    if args.explain and args.output != STDOUT:
        explanations = _beside(args.output, "-explained", ".jsonl")
    table = _open_table(args, job, explanations)
    try:
        with table:
            with closing(job.run(table, explanations=explanations)) as records:
                for record in records:
                    if args.output == STDOUT and record.explanation is not None:
                        logger.info("%s", explanation_text(record))
            table.complete()
            logger.info("%s", job.report.describe())
            if job.experimental and job.report.num_faces:
                logger.info("Experimental, unreliable on real photos: %s.", ", ".join(job.experimental))
            if args.smooth:
                # Before anybody else may write the table.
                _write_smoothed(args, job)
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt(_how_to_go_on(args, job.report)) from stop
    return 1 if job.report.num_errors else 0


def _make_job(args: argparse.Namespace) -> "DetectionJob":
    from ..inference.job import DetectionJob
    from ..inference.loading import load_detector
    from ..inference.sources import find_sources

    draw_dir = _draw_dir(args)
    try:
        # Copies that an earlier call drew beside this output are no inputs, whether or not this one draws.
        drawn = [] if args.output == STDOUT else [_beside(args.output, "-annotated", "")]
        sources, ignored = find_sources(args.inputs, exclude=[draw_dir, *drawn] if draw_dir else drawn)
    except FileNotFoundError as error:
        args.parser.error(str(error))
    return DetectionJob(
        sources,
        ignored,
        load_detector(args.model, args.device, args.dtype),
        every=args.every,
        batch_size=args.batch_size,
        detect_every=args.detect_every,
        face_search_size=args.face_search_size,
        draw_dir=draw_dir,
        explain=args.explain or None,
        threshold=_thresholds(args.threshold),
    )


def _open_table(args: argparse.Namespace, job: "DetectionJob", explanations: Path | None) -> "TableWriter":
    """Opens the table, after checking that neither it nor the files beside it would be replaced without permission."""
    from ..inference.writers import check_new, open_table

    beside = [] if explanations is None else [explanations]
    beside += _smoothed_files(args.output) if args.smooth else []
    try:
        # They are replaced later, once nothing can refuse the new table any more.
        check_new(beside, args.resume or args.overwrite, False, job.sources)
        table = open_table(args.output, job.labels, args.format, job.sources, args.resume, args.overwrite)
    except FileExistsError as error:
        args.parser.error(str(error))
    return table


def _check(args: argparse.Namespace) -> None:
    """Checks the options before anything is processed."""
    if args.resume and args.overwrite:
        args.parser.error("--resume continues a table and --overwrite replaces it: give only one of them")
    if args.resume and args.output == STDOUT:
        args.parser.error("--resume needs --output FILE: a table on stdout cannot be resumed")
    needs = {"smooth_window": ("median",), "smooth_high": ("hysteresis",), "smooth_low": ("hysteresis",)}
    for name, methods in (needs | {"min_duration": SMOOTHING}).items():
        if getattr(args, name) is not None and args.smooth not in methods:
            args.parser.error(f"--{name} needs --smooth {' or '.join(methods)}")


def _draw_dir(args: argparse.Namespace) -> Path | None:
    if args.draw_dir is not None:
        return args.draw_dir
    if not args.draw:
        return None
    return Path("annotated") if args.output == STDOUT else _beside(args.output, "-annotated", "")


def _beside(output: str, mark: str, suffix: str | None = None) -> Path:
    """A file name derived from the output's: faces.csv -> faces-events.csv."""
    path = Path(output)
    # "." and ".." have no name of their own.
    path = path.resolve() if path.name in ("", "..") else path
    return path.with_name(f"{path.stem}{mark}{path.suffix if suffix is None else suffix}")


def _how_to_go_on(args: argparse.Namespace, report: "EngineReport") -> str:
    if args.output == STDOUT:
        return "Stopped."
    return f"Stopped after {report.num_frames} frames; their rows are in {args.output}. --resume continues from there."


def _check_smoothing(args: argparse.Namespace, job: "DetectionJob") -> None:
    """Smooths an empty table, so that invalid options are rejected before anything is processed."""
    from ..inference import records_to_table

    try:
        if args.smooth:
            _smooth(args, job, records_to_table([], job.labels))
    except ValueError as error:
        args.parser.error(f"--smooth {args.smooth}: {error}")


def _smooth(args: argparse.Namespace, job: "DetectionJob", table: "DataFrame") -> tuple["DataFrame", "DataFrame"]:
    """The smoothed table and its events."""
    from ..inference import find_events, smooth

    min_duration = args.min_duration or 0.0
    if args.smooth == "hysteresis":
        high = job.thresholds if args.smooth_high is None else args.smooth_high
        table = smooth(table, "hysteresis", high=high, low=args.smooth_low, min_duration=min_duration)
    else:
        table = smooth(table, "median", window=0.5 if args.smooth_window is None else args.smooth_window)
    return table, find_events(table, min_duration)


def _write_smoothed(args: argparse.Namespace, job: "DetectionJob") -> None:
    from ..inference import read_table, write_table

    smoothed, events = _smoothed_files(args.output)
    table, of_table = _smooth(args, job, read_table(args.output))
    write_table(table, smoothed, overwrite=True)
    of_table.to_csv(events, index=False)
    logger.info("Smoothed: %s; events: %s.", smoothed, events)


def _smoothed_files(output: str) -> tuple[Path, Path]:
    return _beside(output, "-smoothed"), _beside(output, "-events", ".csv")


def _threshold(text: str) -> tuple[str, float]:
    """Reads "0.4" as ("", 0.4) and "AU12=0.4" as ("AU12", 0.4)."""
    label, _, value = text.rpartition("=")
    try:
        return label, float(value)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a probability (put photos and videos before --threshold, or after a `--`)"
        ) from None


def _thresholds(pairs: list[tuple[str, float]] | None) -> float | dict[str, float] | None:
    if pairs is None:
        return None
    thresholds = dict(pairs)
    if "" not in thresholds:
        return thresholds
    if len(pairs) > 1:
        raise ValueError("--threshold is one number for all AUs, or AU12=0.4 AU4=0.6 ... for some of them.")
    return thresholds[""]

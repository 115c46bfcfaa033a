"""Command line: `hiva-hf --help`."""

import argparse
import importlib
import io
import logging
import os
import sys
from collections.abc import Sequence

from .. import __version__


# Modules of this folder, in the order of the help. Each has `add_parser(commands)`, which sets `run`: a function that
# takes the parsed arguments, imports what it needs, and returns the exit code.
COMMANDS = ("detect", "demo", "export", "prepare", "describe", "push", "convert")

# Exit codes: the work failed, the request was refused, and what shells expect after Ctrl-C.
FAILED, REFUSED, INTERRUPTED = 1, 2, 130


def make_parser() -> argparse.ArgumentParser:
    """Builds the parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="hiva-hf", description="Facial Action Units in photos, videos and data sets of faces."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.add_argument("--debug", action="store_true", help="show where in the code an error came from")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name in COMMANDS:
        importlib.import_module(f".{name}", __package__).add_parser(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns 0, 1 if it failed, 2 if its arguments or inputs are invalid, or 130 after Ctrl-C.

    For a `ValueError` (2) or another of `REPORTED_ERRORS` (1), only the message is shown, unless `--debug` is given.
    """
    args = make_parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    # Names of people and files may contain characters that the terminal or a redirected output can't encode.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = args.run(args)
        # Programs without a console, and commands run with `>&-`, have no stdout.
        if sys.stdout is not None:
            sys.stdout.flush()
        return code
    except KeyboardInterrupt as stop:
        print(stop if stop.args else "Stopped.", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of the output, such as `head`, has closed it. Without this, Python would complain when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:
        # Imported late: it imports libraries that most options don't need.
        from ..reported_errors import REPORTED_ERRORS, message_of

        if args.debug or not isinstance(error, REPORTED_ERRORS):
            raise
        print(message_of(error), file=sys.stderr)
        return REFUSED if isinstance(error, ValueError) else FAILED

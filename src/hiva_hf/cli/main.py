"""Command line: `hiva-hf --help`."""

import argparse
import logging
import sys
from collections.abc import Sequence

from . import prepare


# What shells expect of a program that Ctrl-C ended.
INTERRUPTED = 130


def make_parser() -> argparse.ArgumentParser:
    """All commands. What they work with is imported when they run."""
    parser = argparse.ArgumentParser(prog="hiva-hf", description="Facial Action Units: prepare data sets.")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    prepare.add_parser(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns 0, or what went wrong: 1 in the work, 2 in what was asked for, 130 after Ctrl-C."""
    args = make_parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        return args.run(args)
    except KeyboardInterrupt as stop:
        print(stop if stop.args else "Stopped.", file=sys.stderr)
        return INTERRUPTED

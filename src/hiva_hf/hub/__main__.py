"""Render a model card without a push: `python -m hiva_hf.hub render NAME --run_dir RUN --output FILE`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ..reported_errors import REPORTED_ERRORS, message_of
from .finished_run import read_finished_run
from .model_card import card_names, read_photo_agreement, render_card


def main(arguments: Sequence[str] | None = None) -> int:
    """Renders a card; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m hiva_hf.hub", description="Model cards.")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    render = commands.add_parser("render", help="write a card; without a run it says that there are no results")
    render.add_argument("name", choices=card_names(), help="which card: %(choices)s")
    render.add_argument("--run_dir", type=Path, help="finished run that its results come from")
    render.add_argument("--photo_agreement", type=Path, metavar="FILE", help="JSON of a measurement on real photos")
    render.add_argument("--repo_id", metavar="ORG/NAME", help="where the model is, for the card's examples")
    render.add_argument("--output", type=Path, metavar="FILE", help="file to write (default: standard output)")
    args = parser.parse_args(arguments)
    try:
        run = None if args.run_dir is None else read_finished_run(args.run_dir)
        agreement = None if args.photo_agreement is None else read_photo_agreement(args.photo_agreement)
        card = str(render_card(args.name, run, args.repo_id, agreement))
        if args.output is None:
            sys.stdout.write(card)
        else:
            args.output.write_text(card, encoding="utf-8")
    except REPORTED_ERRORS as error:
        sys.stderr.write(f"{message_of(error)}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

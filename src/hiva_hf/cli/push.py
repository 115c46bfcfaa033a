"""`hiva-hf push`: publish a trained run on the Hub."""

import argparse
import logging
from pathlib import Path


_DESCRIPTION = """\
Publish a trained run on the Hub: detector, image processor, tokenizer and descriptions, code for people without this
package, metrics and a model card. The upload is then downloaded into an empty cache, and must give the same logits,
bit by bit.

Log in first with `hf auth login` (or set HF_TOKEN). A detector that was trained on licensed faces, or on your own, is
kept private. Predictions for people, paths of this machine and photos are not published."""


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "push",
        help="publish a trained run on the Hub",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run_dir", metavar="RUN_DIR", type=Path, help="folder of a finished run")
    parser.add_argument("repo_id", metavar="ORG/NAME", help="repository; created if it does not exist")
    visibility = parser.add_mutually_exclusive_group()
    visibility.add_argument("--private", action="store_true", help="make the repository private")
    visibility.add_argument(
        "--public",
        action="store_true",
        help="make it public (the default only for detectors trained on the embedded faces)",
    )
    parser.add_argument(
        "--confirm_public",
        metavar="ORG/NAME",
        help="confirm --public for a detector that was trained on licensed faces, or on your own",
    )
    parser.add_argument(
        "--training_checkpoint", action="store_true", help="publish the network with its text encoder, too"
    )
    parser.add_argument("--tag", help="name of this version, such as v1")
    parser.add_argument(
        "--photo_agreement",
        type=Path,
        metavar="FILE",
        help="JSON with a measurement on real photos, for the model card; see the README",
    )
    parser.add_argument(
        "--dry_run", type=Path, metavar="FOLDER", help="write what would be published to this folder; upload nothing"
    )
    parser.set_defaults(run=run, parser=parser)


def run(args: argparse.Namespace) -> int:
    """Publishes a run; returns the exit code."""
    if args.confirm_public and not args.public:
        args.parser.error("--confirm_public confirms --public, which was not given")

    # A line for each request would hide the important ones.
    for name in ("httpx", "httpx2"):
        logging.getLogger(name).setLevel(logging.WARNING)

    from ..hub.finished_run import read_finished_run
    from ..hub.model_card import read_photo_agreement
    from ..hub.publish import push_run_to_hub
    from ..hub.staging import stage_run

    agreement = None if args.photo_agreement is None else read_photo_agreement(args.photo_agreement)
    if args.dry_run is not None:
        run = read_finished_run(args.run_dir)
        stage_run(run, args.dry_run, args.repo_id, args.training_checkpoint, agreement)
        print(f"{args.dry_run} contains what would be published as {args.repo_id}.")
        return 0
    url = push_run_to_hub(
        args.run_dir,
        args.repo_id,
        private=args.private,
        public=args.public,
        confirm_public=args.confirm_public,
        training_checkpoint=args.training_checkpoint,
        photo_agreement=agreement,
        tag=args.tag,
    )
    print(f"Pushed to {url}; downloaded again, it gives the same logits.")
    return 0

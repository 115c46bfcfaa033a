"""`hiva-hf convert`: convert a research checkpoint to safetensors."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from ..configuration_hiva import HiVAConfig

_DESCRIPTION = """\
Convert a research checkpoint (.pth, .pt, .bin: a PyTorch state dict, also inside of a training checkpoint) to a folder
that AutoModel.from_pretrained loads, in safetensors. Only tensors are read: a file that needs more is refused, since
it could run any code.

No research code of HiVA was released, so the names of its parts are those of the code that it builds upon; the table
is src/hiva_hf/conversion/key_mapping.yaml. With --mapping you pass a file of the same form, whose lines come first:

  neck\\.(.*): vision_model.stem.\\1
  au_heads\\.(?P<au>\\d+)\\.(.*): classifier.\\2
  momentum_.*: null

Every key has to be mapped, or left out with `null`; otherwise it is named and nothing is written."""


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "convert",
        help="convert a research checkpoint (.pth) to safetensors",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("checkpoint", metavar="CHECKPOINT", type=Path, help="file of the checkpoint")
    parser.add_argument("output_dir", metavar="OUTPUT_DIR", type=Path, help="a new folder for the result")
    parser.add_argument(
        "--dataset",
        choices=("bp4d", "disfa", "gft"),
        default="bp4d",
        help="data set whose AUs it detects, in that order (default: %(default)s)",
    )
    parser.add_argument(
        "--config",
        metavar="FILE",
        type=Path,
        help="JSON with fields of HiVAConfig that differ from the paper's network (id2label, backbone_config, ...)",
    )
    parser.add_argument(
        "--mapping", metavar="FILE", type=Path, help="YAML or JSON with rules for the checkpoint's keys"
    )
    parser.add_argument(
        "--tokenizer",
        metavar="NAME",
        help="folder or Hub id of the text encoder's tokenizer; encodes the descriptions, without which nothing can "
        "be detected (the paper's: google-bert/bert-large-uncased)",
    )
    parser.add_argument(
        "--drop_text_encoder",
        action="store_true",
        help="keep only the encoded descriptions; for inference, not training",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Converts a checkpoint; returns the exit code."""
    from ..conversion import convert_checkpoint

    assignment = convert_checkpoint(
        args.checkpoint,
        args.output_dir,
        config=_read_config(args.dataset, args.config),
        mapping=args.mapping,
        tokenizer=args.tokenizer,
        drop_text_encoder=args.drop_text_encoder,
    )
    print(f"{args.output_dir}: {len(assignment.pieces)} tensors; conversion.json records what each was made from.")
    for key in assignment.ignored:
        print(f"left out: {key}")
    # Some come with their encoded descriptions.
    if args.tokenizer is None and "text_memory" not in assignment.pieces:
        print("The descriptions are not encoded yet: pass --tokenizer, or call model.encode_descriptions(tokenizer).")
    return 0


def _read_config(dataset: str, path: Path | None) -> "HiVAConfig":
    from ..configuration_hiva import HiVAConfig
    from ..data.sets import AU_SETS
    from ..training.arguments import paper_num_neighbors

    labels = {index: f"AU{au}" for index, au in enumerate(AU_SETS[dataset])}
    settings = {"id2label": labels, "num_neighbors": paper_num_neighbors(dataset)}
    if path is not None:
        try:
            settings |= json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path} is not a JSON object with fields of HiVAConfig: {error}") from error
    return HiVAConfig(**settings)

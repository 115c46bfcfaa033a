"""`hiva-hf describe`: write further descriptions of Action Units, for a person to review."""

import argparse
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from .argument_types import positive_int


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from ..language.augmentation import Writer

_DESCRIPTION = """\
Write further descriptions of Action Units with a language model, check them, and keep them in a file for review.

--llm is one of
  a folder or Hub id     a text-generation model that transformers loads
  http(s)://.../v1       an endpoint that speaks the OpenAI protocol (llama.cpp, vLLM, Ollama, a hosted service);
                         its API key is read from an environment variable, see --api_key_variable
  grammar                the grammar of this package; no model at all

Each line of the file is a description with the status "accepted" or "rejected", and the reasons. Read it in an editor:
change a status to "accepted" or "rejected", or change a text and accept it; "edit" marks one that is not ready yet.
Then train with --descriptions FILE, which reads the accepted lines. The command can be given again after any
interruption, or with a higher --number: it continues where the file ends."""


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "describe",
        help="write further descriptions of Action Units with a language model",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--aus", nargs="+", required=True, metavar="AU", help="such as AU4 AU12, or all")
    parser.add_argument("--llm", required=True, metavar="MODEL_OR_URL", help="what writes them, see above")
    parser.add_argument(
        "--number",
        type=positive_int,
        default=20,
        help="accepted descriptions per Action Unit, including those already in the file (default: %(default)s)",
    )
    parser.add_argument(
        "--output", type=Path, default=Path("review.jsonl"), metavar="FILE", help="default: %(default)s"
    )
    parser.add_argument(
        "--max_requests",
        type=positive_int,
        default=20,
        help="requests per Action Unit before giving up (default: %(default)s)",
    )
    parser.add_argument("--model_name", metavar="NAME", help="model of the endpoint (default: the first one it lists)")
    parser.add_argument(
        "--api_key_variable",
        default="HIVA_LLM_API_KEY",
        metavar="NAME",
        help="environment variable with the endpoint's API key (default: %(default)s)",
    )
    parser.add_argument(
        "--timeout", type=float, default=120.0, help="seconds to wait for an answer (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of a local model (default: %(default)s)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Writes descriptions; returns the exit code: 1 if an Action Unit got fewer than requested."""
    from ..facs import ACTION_UNITS, get_action_unit
    from ..language.augmentation import augment

    # Checked before a model is loaded.
    aus = list(ACTION_UNITS) if args.aus == ["all"] else [get_action_unit(au).number for au in args.aus]
    counts = augment(
        dict.fromkeys(aus),
        _make_writer(args),
        args.output,
        args.number,
        max_requests=args.max_requests,
        tokenizer=_packaged_tokenizer(),
    )
    for label, count in counts.items():
        print(f"{label}: {count} accepted")
    print(f"{args.output} has all of them, and the rejected ones with reasons. Review it, then use --descriptions.")
    missing = [label for label, count in counts.items() if count < args.number]
    if missing:
        print(
            f"Fewer than {args.number} for {', '.join(missing)} after {args.max_requests} requests each. "
            "Run the command again to continue, or try another model.",
            file=sys.stderr,
        )
    return 1 if missing else 0


def _make_writer(args: argparse.Namespace) -> "Writer":
    from ..language.augmentation import EndpointWriter, GrammarWriter, LocalModelWriter
    from ..language.endpoint import ChatEndpoint

    if args.llm == "grammar":
        return GrammarWriter()
    if args.llm.startswith(("http://", "https://")):
        api_key = os.environ.get(args.api_key_variable)
        return EndpointWriter(ChatEndpoint(args.llm, args.model_name, api_key, timeout=args.timeout))
    return LocalModelWriter(args.llm, args.seed)


def _packaged_tokenizer() -> "PreTrainedTokenizerBase | None":
    """A BERT tokenizer to count word pieces, if the package that holds one is installed."""
    from transformers import AutoTokenizer

    from ..training.towers import TEXT_PACKAGE, packaged_text_tower

    if find_spec(TEXT_PACKAGE) is None:
        print("Word pieces are estimated from words: the tokenizer of the `train` extra is not installed.")
        return None
    return AutoTokenizer.from_pretrained(packaged_text_tower())

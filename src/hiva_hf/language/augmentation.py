"""Generate further descriptions with a language model, and validate them like those of the package."""

import logging
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Protocol

from tqdm.auto import tqdm
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase, set_seed

from ..facs import ACTION_UNITS, ActionUnit, get_action_unit
from ..file_locks import locked_output
from .endpoint import ChatEndpoint
from .grammar import generate_descriptions
from .review import ReviewFile, ReviewRow
from .validation import MAX_CHARACTERS, KnownDescriptions, folded, validate_description


logger = logging.getLogger(__name__)

PROMPT_VERSION = "describe-v1"
"""Name of the prompt in `prompts/`; a changed prompt gets a new name."""

SENTENCES_PER_REQUEST = 10
# About 25 word pieces for each sentence, and some for additions of the model.
_MAX_NEW_TOKENS = 30 * SENTENCES_PER_REQUEST
_NUM_EXAMPLES = 3
_REGION_NAMES = {"brows": "eyebrows and forehead", "eyes": "eyes and eyelids", "mouth": "mouth and lips"}

# Marks that models put around sentences although the prompt forbids them.
_DECORATION = re.compile(r"^\s*(?:[-*\u2022\u2013]|\(?\d+[.):])\s+|[\"\u201c\u201d]")


class Writer(Protocol):
    """Writes descriptions; `source` and `prompt_version` go into the review file."""

    source: str
    prompt_version: str

    def write(self, unit: ActionUnit, request: int) -> list[str]:
        """Candidates for one Action Unit; another `request` (a number) gives other candidates."""


class GrammarWriter:
    """Writes descriptions with the grammar of the package, without a language model."""

    source = "grammar"
    prompt_version = ""

    def write(self, unit: ActionUnit, request: int) -> list[str]:
        first = request * SENTENCES_PER_REQUEST
        return generate_descriptions(unit.number, first + SENTENCES_PER_REQUEST)[first:]


class LocalModelWriter:
    """Writes descriptions with a text-generation model of transformers.

    Args:
        model: Folder or Hub id.
        seed: Seed of the sampling.

    Raises:
        OSError: If there is no such model.
    """

    prompt_version = PROMPT_VERSION

    def __init__(self, model: str, seed: int = 0):
        self.source = Path(model).name if Path(model).is_dir() else model
        self.seed = seed
        self.tokenizer = AutoTokenizer.from_pretrained(model)
        self.model = AutoModelForCausalLM.from_pretrained(model, device_map="auto")

    def write(self, unit: ActionUnit, request: int) -> list[str]:
        inputs = self._encode(prompt_for(unit, request)).to(self.model.device)
        self._check_length(inputs["input_ids"].shape[1] + _MAX_NEW_TOKENS)
        set_seed(self.seed + request)
        output = self.model.generate(
            **inputs,
            max_new_tokens=_MAX_NEW_TOKENS,
            do_sample=True,
            temperature=0.9,
            top_p=0.95,
            pad_token_id=self.tokenizer.pad_token_id or self.tokenizer.eos_token_id,
        )
        reply = self.tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        return candidates_in(reply)

    def _check_length(self, length: int) -> None:
        longest = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        if longest is not None and length > longest:
            raise ValueError(
                f"The context length of {self.source} is {longest} tokens, but prompt and answer may need {length}: "
                "choose a model with a longer context."
            )

    def _encode(self, prompt: str):
        if self.tokenizer.chat_template is None:
            return self.tokenizer(prompt, return_tensors="pt")
        messages = [{"role": "user", "content": prompt}]
        return self.tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )


class EndpointWriter:
    """Writes descriptions with a model behind an endpoint that speaks the OpenAI protocol."""

    prompt_version = PROMPT_VERSION

    def __init__(self, endpoint: ChatEndpoint):
        self.endpoint = endpoint
        self.source = endpoint.model

    def write(self, unit: ActionUnit, request: int) -> list[str]:
        return candidates_in(self.endpoint.ask(prompt_for(unit, request), seed=request))


def prompt_for(unit: ActionUnit, request: int = 0) -> str:
    """The prompt for sentences about an Action Unit; each request shows other existing ones as examples."""
    template = (files(__package__) / "prompts" / f"{PROMPT_VERSION}.txt").read_text(encoding="utf-8")
    written = [unit.description, *unit.variants]
    shown = [written[(request * _NUM_EXAMPLES + index) % len(written)] for index in range(_NUM_EXAMPLES)]
    return Template(template).substitute(
        action=unit.action,
        region=_REGION_NAMES.get(unit.region, unit.region),
        appearance=unit.appearance,
        muscles=", ".join(unit.muscles),
        number=SENTENCES_PER_REQUEST,
        examples="\n".join(f"  {sentence}" for sentence in shown),
    )


def candidates_in(reply: str) -> list[str]:
    """The sentences of a reply, one per line; list markers and quotation marks around them are removed."""
    lines = (_DECORATION.sub("", line).strip() for line in reply.splitlines())
    return [line for line in lines if line]


def augment(
    aus: Sequence[int | str],
    writer: Writer,
    path: str | Path,
    number: int,
    *,
    max_requests: int = 20,
    tokenizer: PreTrainedTokenizerBase | None = None,
) -> Counter[str]:
    """Requests descriptions until each Action Unit has enough accepted ones in a review file.

    Every candidate is written to the file at once, with the reasons against it, so that an interrupted call loses
    nothing and the next one continues. A candidate that is already in the file, whatever its status, is skipped.

    Args:
        aus: Numbers or labels of the Action Units.
        writer: Writes the descriptions.
        path: The review file; an existing one is continued.
        number: Accepted descriptions wanted for each Action Unit, including those already in the file.
        max_requests: Requests for each Action Unit before giving up.
        tokenizer: Counts word pieces, see `validate_description`.

    Returns:
        Number of accepted descriptions of each Action Unit in the file, by label.

    Raises:
        ValueError: If an Action Unit is unknown, or the file is no review file.
        BlockingIOError: If another process writes the file.
        OSError: If the writer fails.
    """
    units = [get_action_unit(au) for au in aus]
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with locked_output(Path(path)):
        review = ReviewFile(path)
        known = KnownDescriptions(dict(_known(review)))
        for unit in units:
            _augment_unit(unit, writer, review, known, number, max_requests, tokenizer)
    accepted = review.texts(["accepted"])
    return Counter({unit.label: len(accepted.get(unit.label, ())) for unit in units})


def _augment_unit(unit, writer, review, known, number, max_requests, tokenizer) -> None:
    num_accepted = len(review.texts(["accepted"]).get(unit.label, ()))
    # A call that continues a file makes new requests.
    asked = [row.request for row in review.rows if row.au == unit.label and row.request is not None]
    first = max(asked, default=-1) + 1
    seen = {folded(row.text) for row in review.rows if row.au == unit.label}
    with tqdm(total=number, initial=min(num_accepted, number), desc=unit.label, unit="description") as progress:
        for request in range(first, first + max_requests):
            if num_accepted >= number:
                return
            for text in writer.write(unit, request):
                if folded(text) in seen or num_accepted >= number:
                    continue
                row = _judge(text, unit, writer, known, tokenizer, request)
                review.append(row)
                seen.add(folded(text))
                if row.status == "accepted":
                    known.add(text, unit.number)
                    num_accepted += 1
                    progress.update()


def _judge(
    text: str, unit: ActionUnit, writer: Writer, known: KnownDescriptions, tokenizer, request: int
) -> ReviewRow:
    """Validates a candidate and returns it as a row."""
    reasons = validate_description(text, unit.number, tokenizer=tokenizer)
    if len(text) <= MAX_CHARACTERS:
        reasons += known.conflicts(text, unit.number)
    return ReviewRow(
        au=unit.label,
        text=text,
        status="rejected" if reasons else "accepted",
        reasons=tuple(reasons),
        source=writer.source,
        prompt_version=writer.prompt_version,
        request=request,
    )


def _known(review: ReviewFile) -> Iterator[tuple[str, list[str]]]:
    """The descriptions that a new one must differ from: those of the package, and accepted ones of the file."""
    accepted = review.texts(["accepted", "edit"])
    for unit in ACTION_UNITS.values():
        yield unit.label, [unit.description, *unit.variants, *accepted.get(unit.label, ())]

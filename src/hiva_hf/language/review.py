"""Review files: machine-made descriptions, for a person to review before they are used in training.

A review file has one JSON object on each line:

    {"au": "AU12", "text": "...", "status": "accepted", "reasons": [], "source": "...", "prompt_version": "..."}

A person opens it in an editor and changes the status, the text, or both. Training reads only lines with the status
"accepted"; "edit" marks a text that still has to be changed, "rejected" one that must not be used.
"""

import json
import logging
import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal, get_args

from ..facs import get_action_unit
from .validation import folded, validate_description


logger = logging.getLogger(__name__)

# Start of every row that is written here.
_ROW_BEGIN = b'{"au": "'
Status = Literal["accepted", "rejected", "edit"]


@dataclass(frozen=True)
class ReviewRow:
    """One description of a review file.

    Attributes:
        au: Label of the Action Unit, for example "AU12".
        text: The description.
        status: "accepted", "rejected" or "edit".
        reasons: What is wrong with it, see `validate_description`; empty if nothing was found.
        source: What wrote it: a model, an endpoint, or "grammar".
        prompt_version: Name of the prompt; empty if there was none.
        request: Number of the request for this Action Unit that returned it, from 0; None in rows that were written in
            another way.
    """

    au: str
    text: str
    status: Status
    reasons: tuple[str, ...] = ()
    source: str = ""
    prompt_version: str = ""
    request: int | None = None


def read_review(path: str | Path) -> list[ReviewRow]:
    """Reads all rows of a review file, in order.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a line is no row; the message names the line and says what is expected.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no review file {path}. `hiva-hf describe` writes one.")
    return _read_rows(path.read_bytes(), path)


def _read_rows(content: bytes, path: Path) -> list[ReviewRow]:
    try:
        # Editors on Windows write a byte order mark.
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a text file in UTF-8 ({error}), as review files are.") from error
    # Descriptions may hold what `splitlines` takes for the end of a line.
    lines = text.split("\n")
    return [_read_row(line, f"{path}, line {number}") for number, line in enumerate(lines, start=1) if line.strip()]


def accepted_descriptions(path: str | Path) -> dict[str, tuple[str, ...]]:
    """Reads the accepted descriptions of a review file, by label of the Action Unit.

    The reviewer has the last word: a text that the validators would reject is read with a warning.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a line is no row, or a description is accepted twice.
    """
    accepted: dict[str, list[str]] = defaultdict(list)
    seen: dict[str, str] = {}
    for row in read_review(path):
        if row.status != "accepted":
            continue
        key = folded(row.text)
        if key in seen:
            raise ValueError(
                f"{path} accepts {row.text!r} for {seen[key]} and again for {row.au}. Reject one of the two lines."
            )
        seen[key] = row.au
        for reason in validate_description(row.text, row.au):
            logger.warning("%s: an accepted description of %s %s: %r", path, row.au, reason, row.text)
        accepted[row.au].append(row.text)
    return {label: tuple(texts) for label, texts in accepted.items()}


class ReviewFile:
    """A review file that grows: each row is on disk before the next one is made.

    Args:
        path: The file; an existing one is continued. A last line that was cut off by an interruption is removed.

    Raises:
        ValueError: If a line of an existing file is no row.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.exists():
            self._remove_broken_line()
        self.rows = read_review(self.path) if self.path.exists() else []

    def append(self, row: ReviewRow) -> None:
        """Adds a row and waits until it is on disk."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(row), ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.rows.append(row)

    def texts(self, statuses: Iterable[Status]) -> dict[str, list[str]]:
        """The texts with one of these statuses, by label of the Action Unit."""
        statuses = set(statuses)
        texts: dict[str, list[str]] = defaultdict(list)
        for row in self.rows:
            if row.status in statuses:
                texts[row.au].append(row.text)
        return texts

    def _remove_broken_line(self) -> None:
        content = self.path.read_bytes()
        complete, newline, rest = content.rpartition(b"\n")
        if not rest:
            return
        try:
            # Valid JSON was written by a person and is no row that was cut off.
            json.loads(rest)
        except ValueError:
            # Nothing is changed in a file that is no review file, or whose last line is complete but has a mistake.
            _read_rows(complete, self.path)
            if not _is_begun_row(rest):
                return
            logger.warning("%s: the last line was cut off by an interruption and is removed.", self.path)
            with self.path.open("r+b") as file:
                file.truncate(len(complete) + len(newline))
        else:
            # An editor omitted the last line break.
            with self.path.open("ab") as file:
                file.write(b"\n")


def _is_begun_row(line: bytes) -> bool:
    """Whether a last line can be the remains of one that `append` wrote when the process or the power failed."""
    begins_so = _ROW_BEGIN.startswith(line[: len(_ROW_BEGIN)])
    return (begins_so and not line.rstrip().endswith(b"}")) or not line.strip(b"\0")


def _read_row(line: str, place: str) -> ReviewRow:
    expected = 'a line is {"au": "AU12", "text": "...", "status": "accepted"} with further fields'
    try:
        values = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{place} is not JSON ({error}); {expected}.") from error
    if not isinstance(values, dict) or not all(isinstance(values.get(name), str) for name in ("au", "text", "status")):
        raise ValueError(f"{place} lacks au, text or status; {expected}.")
    if values["status"] not in get_args(Status):
        raise ValueError(f"{place} has the status {values['status']!r}; it is one of {', '.join(get_args(Status))}.")
    if not isinstance(values.get("request"), int | None):
        raise ValueError(f"{place} has the request {values['request']!r}; it must be a number, or omitted.")
    reasons = values.get("reasons") or []
    if not (isinstance(reasons, list) and all(isinstance(reason, str) for reason in reasons)):
        raise ValueError(f"{place} has the reasons {reasons!r}; they must be a list of texts, or omitted.")
    if not values["text"].strip() and values["status"] == "accepted":
        raise ValueError(f"{place} accepts an empty text.")
    try:
        label = get_action_unit(values["au"]).label
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from error
    known = {field.name: values[field.name] for field in fields(ReviewRow) if field.name in values}
    return ReviewRow(**known | {"au": label, "reasons": tuple(reasons)})

"""Map keys of a research checkpoint to keys of this package, by the rules in `key_mapping.yaml`."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml


_TABLE = "key_mapping.yaml"
_AU = "au"


class ConversionError(ValueError):
    """A research checkpoint can't be converted. The message names the keys and the remedy."""


@dataclass(frozen=True)
class Rule:
    """A rule of the table.

    Attributes:
        pattern: Matches a whole key of the research checkpoint.
        targets: Keys of this package, with references to groups; empty to ignore the tensor.
        if_present: Matches another key that must be present, too.
    """

    pattern: re.Pattern[str]
    targets: tuple[str, ...]
    if_present: re.Pattern[str] | None = None


@dataclass(frozen=True)
class Piece:
    """A tensor of the research checkpoint, or one of several equal parts of it, that is assigned to a target key.

    Attributes:
        key: Its key in the research checkpoint.
        au: Position of its AU; None for tensors of all AUs.
        part: Index of the part along the first dimension.
        num_parts: Number of parts.
    """

    key: str
    au: int | None
    part: int
    num_parts: int


@dataclass
class Assignment:
    """Where all keys of a checkpoint went.

    Attributes:
        pieces: For each target key, the pieces that it is made of, by AU.
        ignored: Keys that the rules ignore.
        unmatched: Keys that no rule matches.
    """

    pieces: dict[str, list[Piece]] = field(default_factory=dict)
    ignored: list[str] = field(default_factory=list)
    unmatched: list[str] = field(default_factory=list)


def read_rules(path: Path | None = None) -> list[Rule]:
    """Reads the rules of the package, after those of a file if one is given.

    Args:
        path: YAML or JSON file in the format of `key_mapping.yaml`.

    Raises:
        FileNotFoundError: if there is no such file.
        ConversionError: if its format or a regular expression is invalid.
    """
    default = (files(__package__) / _TABLE).read_text(encoding="utf-8")
    own = [] if path is None else _parse_rules(path.read_text(encoding="utf-8"), str(path))
    return own + _parse_rules(default, _TABLE)


def _parse_rules(text: str, source: str) -> list[Rule]:
    try:
        # JSON is YAML, too.
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConversionError(f"{source} is not valid YAML or JSON: {error}") from error
    if not isinstance(content, dict):
        raise ConversionError(f"{source} must consist of lines `expression: key`, see {_TABLE} of the package.")
    return [_parse_rule(pattern, entry, source) for pattern, entry in content.items()]


def _parse_rule(pattern: Any, entry: Any, source: str) -> Rule:
    condition = None
    if isinstance(entry, dict):
        if entry.keys() != {"to", "if_present"}:
            raise ConversionError(f"{source}: {pattern!r} needs `to` and `if_present`, but has {sorted(entry)}.")
        entry, condition = entry["to"], entry["if_present"]
    targets = [] if entry is None else [entry] if isinstance(entry, str) else entry
    if not isinstance(targets, list) or not all(isinstance(text, str) for text in (pattern, *targets)):
        raise ConversionError(f"{source}: {pattern!r} must have a key of HiVAForAUDetection, a list of keys, or null.")
    try:
        return Rule(re.compile(pattern), tuple(targets), None if condition is None else re.compile(condition))
    except (re.error, TypeError) as error:
        raise ConversionError(f"{source}: {pattern!r} is not a valid regular expression: {error}.") from error


def assign_keys(keys: Iterable[str], rules: Iterable[Rule]) -> Assignment:
    """Assigns each key by the first rule that matches it.

    Raises:
        ConversionError: if two keys have the same target, or a rule refers to a group that it does not have.
    """
    keys = list(keys)
    active = [rule for rule in rules if rule.if_present is None or any(map(rule.if_present.fullmatch, keys))]
    assignment = Assignment()
    for key in keys:
        rule, match = next(((rule, match) for rule in active if (match := rule.pattern.fullmatch(key))), (None, None))
        if rule is None:
            assignment.unmatched.append(key)
        elif not rule.targets:
            assignment.ignored.append(key)
        else:
            _add_pieces(assignment.pieces, key, rule, match)
    return assignment


def _add_pieces(pieces: dict[str, list[Piece]], key: str, rule: Rule, match: re.Match[str]):
    au = match.groupdict().get(_AU)
    for part, template in enumerate(rule.targets):
        try:
            target = match.expand(template)
        except (re.error, IndexError) as error:
            raise ConversionError(f"{rule.pattern.pattern!r} does not fit {template!r}: {error}.") from error
        piece = Piece(key, None if au is None else int(au), part, len(rule.targets))
        others = pieces.setdefault(target, [])
        rival = next((other for other in others if other.au == piece.au or None in (other.au, piece.au)), None)
        if rival is not None:
            raise ConversionError(
                f"{rival.key} and {key} both go to {target}. Ignore one of them: add its expression with `null` to "
                "the file of `--mapping`."
            )
        others.append(piece)


def describe_pieces(pieces: Mapping[str, list[Piece]]) -> dict[str, list[str]]:
    """The keys of the research checkpoint that each target key is made of."""
    return {target: [piece.key for piece in of_target] for target, of_target in sorted(pieces.items())}

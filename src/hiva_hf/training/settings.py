"""Settings from presets, YAML files and the command line: preset < file < command line."""

import argparse
import difflib
import reprlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, fields
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import yaml
from transformers import HfArgumentParser

from ..atomic_files import write_text
from .arguments import AUTrainingArguments, check_settings_of_model, settings_of_other_models


PRESETS = ("demo", "paper", "starter")
# The embedded set is for the demo; all other data sets are real faces, for the paper's network.
_DEMO_DATASET = "synthfacs"

# Options of transformers' example scripts that have another name here, or belong to another command.
_USED_ELSEWHERE = {
    "--with_tracking": "Name the trackers: --report_to tensorboard, or trackio.",
    "--push_to_hub": "Publish the finished run: `hiva-hf push OUTPUT_DIR ORG/NAME`.",
    "--hub_model_id": "Publish the finished run: `hiva-hf push OUTPUT_DIR ORG/NAME`.",
}

_DESCRIPTION = """\
Train HiVA or VL-FAU, test it on unseen subjects, and run it on a photo.

Settings can be given on the command line, in a YAML file with the same names, or by a preset; the command line
overrides the file, and the file the preset. Without --preset, synthfacs uses `demo` (the defaults below) and all other
data sets `paper` (Swin-B, BERT-large, 30 epochs per stage, batch size 128 over all processes, learning rates 1e-5 and
1e-6). `starter` has the settings that the packaged detector was trained with."""


def preset_arguments(preset: str, **overrides) -> AUTrainingArguments:
    """The settings of a preset, with overrides.

    Args:
        preset: One of `PRESETS`.
        overrides: Fields of [`AUTrainingArguments`]. A batch size per process keeps the preset's total batch size.

    Raises:
        ValueError: if there is no such preset, or a value is invalid.
    """
    return AUTrainingArguments(**_overruled(load_preset(preset), overrides))


def _overruled(settings: dict[str, Any], by: dict[str, Any]) -> dict[str, Any]:
    """Merges settings, the second ones taking precedence, and resolves conflicts with the total batch size."""
    merged = settings | by
    if "per_device_train_batch_size" in by and merged.get("total_train_batch_size") is not None:
        if "gradient_accumulation_steps" not in by:
            # To be computed from the total batch size.
            merged["gradient_accumulation_steps"] = None
        elif "total_train_batch_size" not in by:
            # Both factors are given, and hence the total.
            merged["total_train_batch_size"] = None
    return merged


def load_preset(name: str) -> dict[str, Any]:
    """The settings that a preset changes."""
    if name not in PRESETS:
        raise ValueError(f"There is no preset {name!r}. Known: {', '.join(PRESETS)}.")
    text = (files(__package__) / "presets" / f"{name}.yaml").read_text(encoding="utf-8")
    return read_settings(text, f"preset {name}")


def read_settings(text: str, source: str) -> dict[str, Any]:
    """Reads settings from YAML.

    Args:
        text: The YAML: one mapping from names to values.
        source: Where it comes from, for error messages.

    Raises:
        ValueError: if it is not a mapping, a name is unknown, or a value has the wrong type.
    """
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"{source} is not valid YAML: {error}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ValueError(f"{source} holds a {type(content).__name__}, but settings are lines of `name: value`.")
    hints = get_type_hints(AUTrainingArguments) | {"preset": str}
    for name in content:
        if name not in hints:
            close = difflib.get_close_matches(str(name), hints, n=1)
            advice = f" Did you mean `{close[0]}`?" if close else " `--help` lists all."
            raise ValueError(f"{source} sets `{name}`, which is not a setting.{advice}")
    return {name: _typed(value, hints[name], name, source) for name, value in content.items()}


def save_settings(arguments: AUTrainingArguments, path: Path):
    """Writes all settings of the model as YAML that [`parse_arguments`] reads again."""
    others = settings_of_other_models(arguments.model)
    settings = {name: value for name, value in asdict(arguments).items() if name not in others}
    write_text(path, yaml.safe_dump(settings, sort_keys=False))


def parse_arguments(args: Sequence[str] | None = None) -> AUTrainingArguments:
    """Settings from a command line: `[settings.yaml] [--preset NAME] [--name value ...]`.

    Args:
        args: The words of the command line, by default the process's own. Ends the process with a message, as argparse
            does, if one is unknown or invalid.
    """
    return parse_settings(args)[0]


def parse_settings(args: Sequence[str] | None = None) -> tuple[AUTrainingArguments, dict[str, Any]]:
    """Like [`parse_arguments`], but also tells which settings were requested.

    Returns:
        All settings; and those of them that the command line gives or in which the file differs from its preset (a
        file saved by a run holds all settings).
    """
    parser = _make_parser()
    words = sys.argv[1:] if args is None else list(args)
    _check_names(parser, words)
    given = vars(parser.parse_args(words))
    try:
        path = given.pop("settings", None)
        from_file = {} if path is None else _read_settings_file(path)
        _check_batch_size(given)
        settings = _overruled(from_file, given)
        preset = settings.pop("preset", None) or default_preset(settings)
        arguments = preset_arguments(preset, **settings)
        unasked = asdict(preset_arguments(preset, model=arguments.model, dataset=arguments.dataset))
        asked = {name: value for name, value in settings.items() if name in given or value != unasked[name]}
        check_settings_of_model(arguments.model, asked)
        return arguments, asked
    except (ValueError, OSError) as error:
        parser.error(str(error))


def default_preset(settings: Mapping[str, Any]) -> str:
    """The preset of a run that names none."""
    return "demo" if settings.get("dataset", _DEMO_DATASET) == _DEMO_DATASET else "paper"


def _check_batch_size(given: Mapping[str, Any]):
    # A saved file has all three, for one number of processes; for another number they may be inconsistent.
    names = ("total_train_batch_size", "per_device_train_batch_size", "gradient_accumulation_steps")
    if given.keys() >= set(names):
        raise ValueError(f"Pass only two of {', '.join(f'`{name}`' for name in names)}: the third follows.")


def _check_names(parser: argparse.ArgumentParser, words: Sequence[str]):
    """Ends the process at an option that is not a setting, with advice on what may be meant."""
    known = parser._option_string_actions
    for word, following in pairwise([*words, ""]):
        option, _, value = word.partition("=")
        if not option.startswith("--") or option == "--":
            continue
        if option not in known:
            close = difflib.get_close_matches(option, known, n=1)
            advice = _USED_ELSEWHERE.get(option) or (f"Did you mean {close[0]}?" if close else "--help lists all.")
            parser.error(f"unrecognized arguments: {option}. {advice}")
        # Without a value it means true.
        named = value or following
        if option == "--resume_from_checkpoint" and named not in ("", "true", "false") and Path(named).is_dir():
            parser.error("--resume_from_checkpoint takes `true`: the newest checkpoint in --output_dir is used.")


def _read_settings_file(path: str) -> dict[str, Any]:
    return read_settings(Path(path).read_text(encoding="utf-8"), path)


def _make_parser() -> argparse.ArgumentParser:
    parser = HfArgumentParser(
        AUTrainingArguments,
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="%(prog)s [settings.yaml] [--preset {demo,paper,starter}] [--name value ...]",
        allow_abbrev=False,
    )
    defaults = {setting.name: setting.default for setting in fields(AUTrainingArguments)}
    for action in parser._actions:
        if defaults.get(action.dest) not in (None, MISSING):
            action.help = f"{action.help} [{defaults[action.dest]}]"
        # Only options that were given may override a file.
        action.default = argparse.SUPPRESS
    parser.add_argument(
        "settings", nargs="?", default=argparse.SUPPRESS, help="YAML file with settings; must come first."
    )
    parser.add_argument(
        "--preset", choices=PRESETS, default=argparse.SUPPRESS, help="Settings to start from; default: see above."
    )
    return parser


def _typed(value: Any, hint: Any, name: str, source: str) -> Any:
    """`value` as the type of its setting; YAML reads `1e-5` as text and `no` as false."""
    if value is None and NoneType in get_args(hint):
        return None
    alternatives = [kind for kind in get_args(hint) if kind is not NoneType] or [hint]
    kind = hint if get_origin(hint) in (Literal, list) else alternatives[0]
    try:
        return _as_type(value, kind)
    # Integers may be too large for a float.
    except (ValueError, OverflowError):
        expected = "text" if kind is str or get_origin(kind) is Literal else getattr(kind, "__name__", str(kind))
        raise ValueError(
            f"{source} sets `{name}` to {_shortened(value)}, but it must be of type {expected}."
        ) from None


def _as_type(value: Any, kind: Any) -> Any:
    """`value` as a plain type, a `Literal` or a list of strings; a `ValueError` if it is of another type."""
    if get_origin(kind) is list:
        items = [value] if isinstance(value, str) else value
        if isinstance(items, list) and all(isinstance(item, (str, int)) for item in items):
            return [str(item) for item in items]
    elif get_origin(kind) is Literal and isinstance(value, (str, bool)):
        return "no" if value is False else value
    # Python counts booleans among the integers.
    elif isinstance(value, bool) or kind is bool:
        if isinstance(value, bool) and kind is bool:
            return value
    elif kind is float and isinstance(value, (int, float, str)):
        return float(value)
    elif kind is str and isinstance(value, (str, int)):
        return str(value)
    elif kind is int and isinstance(value, int):
        return value
    raise ValueError


def _shortened(value: Any) -> str:
    """`value` for a message: YAML can nest a list in itself so often that it fills the memory, once written out."""
    short = reprlib.Repr()
    short.maxlevel = 2
    return short.repr(value)

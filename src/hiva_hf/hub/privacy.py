"""What is never published: names of people and folders, private photos, predictions for people's faces, tokens."""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from huggingface_hub import get_token

from ..data.hub import is_hub_id
from ..data.sets import AU_DATASETS
from .finished_run import FinishedRun


SUBJECT_LISTS = ("training_subjects", "validation_subjects", "test_subjects")
# Settings that are paths on the machine that trained.
PATH_SETTINGS = ("output_dir", "data_dir", "photo")
# Values of `descriptions` that are no files.
KINDS_OF_DESCRIPTIONS = ("written", "generated")
TOWER_SETTINGS = ("vision_model_name_or_path", "text_model_name_or_path")

_TOKEN = re.compile(rb"\bhf_[A-Za-z0-9]{20,}")


def public_results(run: FinishedRun) -> dict[str, Any]:
    """The run's results; for users' own data sets, subjects, which may be names, are replaced by their number.

    Subjects of the known data sets are ids that their authors published. They are kept, so that nobody evaluates the
    detector on people that it was trained on.
    """
    results = dict(run.results)
    if set(run.training_datasets) | {run.dataset} <= set(AU_DATASETS):
        return results
    for name in SUBJECT_LISTS:
        if name in results:
            results[f"num_{name}"] = len(results.pop(name))
    return results


def public_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The run's settings without paths of the machine that it ran on."""
    kept = {name: value for name, value in settings.items() if name not in PATH_SETTINGS}
    for name in TOWER_SETTINGS:
        tower = kept.get(name)
        if tower is not None and not is_hub_tower(tower):
            del kept[name]
    if kept.get("descriptions") not in KINDS_OF_DESCRIPTIONS:
        kept.pop("descriptions", None)
    if kept.get("additional_data"):
        kept["additional_data"] = [f"{source.partition('=')[0]}=" for source in kept["additional_data"]]
    return kept


def is_hub_tower(tower: str) -> bool:
    """Whether a tower is a Hub id and no folder."""
    return is_hub_id(tower) and not Path(tower).expanduser().exists()


def check_no_secrets(folder: Path, run: FinishedRun, token: str | bool | None):
    """Checks all text that is about to be published.

    Args:
        folder: The files that are about to be published.
        run: The run that they come from.
        token: The token that publishes them; by default the one that `hf auth login` stored.

    Raises:
        ValueError: if a file contains a token or a path of this machine; the message names the file, not the secret.
    """
    own_token = token if isinstance(token, str) else get_token()
    paths = {str(value).encode() for value in _local_paths(run)}
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.suffix in (".safetensors", ".png", ".parquet"):
            continue
        content, name = path.read_bytes(), path.relative_to(folder)
        if _TOKEN.search(content) or (own_token and own_token.encode() in content):
            raise ValueError(f"Not published: {name} contains an access token. Remove it from the run's folder.")
        if any(local in content for local in paths):
            raise ValueError(f"Not published: {name} contains a local path. Remove it from the run's folder.")


def _local_paths(run: FinishedRun) -> Iterator[str]:
    yield str(run.path.resolve())
    # With the separator, so that a short home directory does not match inside other words; in containers, it may be
    # the root folder, which would match every URL.
    # A user that the system does not know, as in containers, may have none.
    with suppress(RuntimeError):
        if Path.home() != Path(Path.home().anchor):
            yield f"{Path.home()}/"
    values = [run.settings.get(name) for name in (*PATH_SETTINGS, *TOWER_SETTINGS, "descriptions")]
    values += [source.partition("=")[2] for source in run.settings.get("additional_data") or ()]
    yield from (value for value in values if value and Path(value).is_absolute())

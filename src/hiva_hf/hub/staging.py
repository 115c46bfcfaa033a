"""Collect the files of a repository from a run's folder: only files that are named here are published."""

import shutil
from pathlib import Path

import yaml
from transformers import AutoTokenizer
from transformers.utils import CONFIG_NAME, IMAGE_PROCESSOR_NAME, SAFE_WEIGHTS_INDEX_NAME

from ..atomic_files import fill_folder
from ..facs import get_action_unit
from ..remote_code import add_remote_code, drop_local_towers
from ..training.descriptions import description_variants
from ..training.run_folder import (
    ENVIRONMENT_FILE,
    METRICS_FILE,
    PHOTO_PICTURE,
    RESOURCES_FILE,
    RESULTS_FILE,
    RESULTS_PICTURE,
    SETTINGS_FILE,
    TEST_PREDICTIONS_FILE,
    TEST_SENTENCES_FILE,
    VALIDATION_PREDICTIONS_FILE,
    write_json,
)
from ..training.towers import packaged_text_tower
from .finished_run import TRAINING_CHECKPOINT, WEIGHTS, FinishedRun
from .model_card import PhotoAgreement, card_of_run
from .privacy import KINDS_OF_DESCRIPTIONS, check_no_secrets, public_results, public_settings


CARD_FILE = "README.md"
DESCRIPTIONS_FILE = "descriptions.json"
# Files that a VL-FAU needs to generate text.
WRITER_FILES = ("tokenizer.json", "tokenizer_config.json", "generation_config.json")
# Folder for the network with its text encoder, if it is published.
TRAINING_FOLDER = "training"


def stage_run(
    run: FinishedRun,
    folder: Path,
    repo_id: str,
    training_checkpoint: bool = False,
    photo_agreement: PhotoAgreement | None = None,
    token: str | bool | None = None,
):
    """Fills a folder with everything that is published of a run, or with nothing if something must not be published.

    Args:
        run: A finished run.
        folder: An empty folder; created if it does not exist.
        repo_id: `ORG/NAME` of the repository, for the card.
        training_checkpoint: Whether to include the network with its text encoder.
        photo_agreement: Agreement of the detector with another one on real photos, for the card.
        token: Token to download the tokenizer of a text tower on the Hub.

    Raises:
        FileNotFoundError: if files to publish are missing from the run.
        ValueError: if the folder is not empty, or a file contains a token or a path of this machine.
        FileExistsError: if something else was written to the folder in the meantime.
    """
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty: pass a new folder.")
    if training_checkpoint and run.config.model_type == "vl_fau":
        raise ValueError(
            f"{run.path} contains a VL-FAU, which has no training checkpoint besides the model itself: omit "
            "`training_checkpoint`."
        )
    if training_checkpoint and not (run.path / TRAINING_CHECKPOINT / CONFIG_NAME).is_file():
        raise FileNotFoundError(f"{run.path} has no {TRAINING_CHECKPOINT}/: its training checkpoint is missing.")

    def write(staged: Path):
        _copy_checkpoint(run.path, staged)
        shutil.copy(run.path / IMAGE_PROCESSOR_NAME, staged)
        add_remote_code(staged)
        if training_checkpoint:
            _copy_checkpoint(run.path / TRAINING_CHECKPOINT, staged / TRAINING_FOLDER)
            drop_local_towers(staged / TRAINING_FOLDER)
        if run.config.model_type == "vl_fau":
            for name in WRITER_FILES:
                shutil.copy(run.path / name, staged)
        elif run.reads_descriptions:
            _write_descriptions(run, staged, token)
        _write_records(run, staged)
        pictures = _copy_pictures(run, staged)
        card = card_of_run(run, repo_id, photo_agreement, training_checkpoint, pictures)
        card.save(staged / CARD_FILE)
        check_no_secrets(staged, run, token)

    fill_folder(folder, write, last=CARD_FILE)


def _copy_checkpoint(source: Path, folder: Path):
    folder.mkdir(parents=True, exist_ok=True)
    for path in (source / CONFIG_NAME, source / SAFE_WEIGHTS_INDEX_NAME, *sorted(source.glob(WEIGHTS))):
        if path.is_file():
            shutil.copy(path, folder)


def _write_descriptions(run: FinishedRun, folder: Path, token: str | bool | None):
    """Writes the descriptions of each AU, and the tokenizer of the text encoder that reads them."""
    tower = run.settings.get("text_model_name_or_path") or packaged_text_tower()
    tokenizer = AutoTokenizer.from_pretrained(tower, token=token)
    tokenizer.save_pretrained(folder)
    labels, variant = run.config.au_labels, run.config.variant
    source = run.settings.get("descriptions", "written")
    # Descriptions from a user's own file may be private; the control `names_only` reads only names.
    is_known = source in KINDS_OF_DESCRIPTIONS and variant != "names_only"
    variants = description_variants(source, labels) if is_known else {}
    # In the control `shuffled_descriptions`, each AU reads the descriptions of its neighbour.
    read = [labels[-1], *labels[:-1]] if variant == "shuffled_descriptions" else labels
    rows = {}
    for label, read_label in zip(labels, read, strict=True):
        unit = get_action_unit(read_label)
        rows[label] = {
            "name": get_action_unit(label).name,
            "description": unit.name if variant == "names_only" else unit.description,
            "variants": list(variants.get(read_label, ())),
        }
    write_json(folder / DESCRIPTIONS_FILE, rows)


def _write_records(run: FinishedRun, folder: Path):
    write_json(folder / RESULTS_FILE, public_results(run))
    for name in (METRICS_FILE, ENVIRONMENT_FILE, RESOURCES_FILE):
        if (run.path / name).is_file():
            shutil.copy(run.path / name, folder)
    if run.settings:
        text = yaml.safe_dump(public_settings(run.settings), sort_keys=False)
        (folder / SETTINGS_FILE).write_text(text, encoding="utf-8")
    if not run.is_restricted:
        for name in (TEST_PREDICTIONS_FILE, VALIDATION_PREDICTIONS_FILE, TEST_SENTENCES_FILE):
            if (run.path / name).is_file():
                shutil.copy(run.path / name, folder)


def _copy_pictures(run: FinishedRun, folder: Path) -> list[str]:
    """Copies pictures; the default photo is in the public domain, while the user's own photo is not published."""
    names = [RESULTS_PICTURE] + [PHOTO_PICTURE] * (run.settings.get("photo") is None)
    names = [name for name in names if (run.path / name).is_file()]
    for name in names:
        shutil.copy(run.path / name, folder)
    return names

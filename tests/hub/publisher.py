"""What somebody who has the package does at the Hub double: `python publisher.py FOLDERS PHOTO`, a process of its own.

`test_publish.py` starts it with the environment variables that `huggingface_hub` reads when it is imported.
"""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import TestCase

import torch
from huggingface_hub import HfApi, ModelCard, hf_hub_download
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoTokenizer, pipeline
from vl_fau_reading import read_vl_fau

import hiva_hf
from hiva_hf.cli.main import main as hiva_hf_command
from hiva_hf.experiments.checkpoint_evaluation import read_subject_record
from hiva_hf.hub import push_run_to_hub
from hiva_hf.hub.model_card import card_names, render_card
from hiva_hf.hub.verification import verify_published_model


def error_of(function: Callable, *args: Any, **options: Any) -> str:
    try:
        function(*args, **options)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "no error"


def logits_of(name_or_path: str, **options: Any) -> list[list[float]]:
    model = AutoModel.from_pretrained(name_or_path, **options)
    with torch.no_grad():
        return model(pixel_values=torch.linspace(-2, 2, 3 * 56 * 56).reshape(1, 3, 56, 56)).logits.tolist()


def push(folders: Path) -> dict[str, Any]:
    api = HfApi()
    url = push_run_to_hub(folders / "first", "org/hiva", training_checkpoint=True, tag="v1")
    for theirs in ("app.py", "figure.png", "onnx/model.onnx"):
        api.upload_file(path_or_fileobj=b"theirs", path_in_repo=theirs, repo_id="org/hiva")
    push_run_to_hub(folders / "second", "org/hiva")
    second = api.model_info("org/hiva").sha
    same_tag = error_of(push_run_to_hub, folders / "first", "org/hiva", tag="v1")
    nothing_was_sent = api.model_info("org/hiva").sha == second
    code = hiva_hf_command(["push", str(folders / "disfa"), "org/disfa"])
    push_run_to_hub(folders / "vl-fau", "org/vl-fau", tag="v1")
    refused = error_of(push_run_to_hub, folders / "disfa", "org/hiva")
    kept_private = error_of(push_run_to_hub, folders / "first", "org/hiva", private=True)
    push_run_to_hub(folders / "disfa", "org/told-twice", public=True, confirm_public="org/told-twice")
    push_run_to_hub(folders / "vl-fau", "org/own", private=True)
    with TestCase().assertLogs("hiva_hf.hub.publish", "WARNING") as warnings:
        push_run_to_hub(folders / "second", "org/own")
    repos = ("org/hiva", "org/disfa", "org/told-twice", "org/own")
    return {
        "url": url,
        "code": code,
        "refused": refused,
        "same_tag": same_tag,
        "nothing_was_sent": nothing_was_sent,
        "kept_private": kept_private,
        "stays_private": warnings.output,
        "private": {repo: api.model_info(repo).private for repo in repos},
        "files": {repo: api.list_repo_files(repo) for repo in repos},
        "other_weights": error_of(
            verify_published_model, folders / "first", folders / "empty", "org/hiva", revision="main"
        ),
        "other_words": error_of(
            verify_published_model, folders / "other-words", folders / "empty", "org/vl-fau", revision="v1"
        ),
        "lost_file": error_of(verify_published_model, folders / "first", folders / "first", "org/hiva", revision="v1"),
        "stranger": error_of(push_run_to_hub, folders / "first", "org/hiva", token="hf_stranger"),
    }


def push_parts(folders: Path) -> dict[str, Any]:
    model = AutoModel.from_pretrained(folders / "first")
    model.push_to_hub("org/parts", private=True)
    AutoImageProcessor.from_pretrained(folders / "first").push_to_hub("org/parts")
    pipeline("au-detection", model=str(folders / "first")).push_to_hub("org/pipe", private=True)
    pipeline("au-detection", model=str(folders / "vl-fau")).push_to_hub("org/vl-fau-pipe", private=True)
    return {repo: HfApi().list_repo_files(repo) for repo in ("org/parts", "org/pipe", "org/vl-fau-pipe")}


def read(folders: Path) -> dict[str, Any]:
    """All without `trust_remote_code`."""
    training = hiva_hf.HiVAForAUDetection.from_pretrained("org/hiva", subfolder="training", revision="v1")
    memory = training.text_memory.clone()
    training.text_memory.zero_()
    training.encode_descriptions(AutoTokenizer.from_pretrained("org/hiva"))
    return {
        "local": {name: logits_of(str(folders / name)) for name in ("first", "second", "disfa")},
        "hub": {repo: logits_of(repo) for repo in ("org/hiva", "org/disfa", "org/parts", "org/pipe")},
        "v1": logits_of("org/hiva", revision="v1"),
        "anonymous": error_of(logits_of, "org/disfa", token=False, cache_dir=folders / "cache1"),
        "stranger": error_of(logits_of, "org/disfa", token="hf_stranger", cache_dir=folders / "cache2"),
        "no_revision": error_of(logits_of, "org/hiva", revision="v9"),
        "training_encodes_descriptions": torch.equal(memory, training.text_memory),
        "results": json.loads(Path(hf_hub_download("org/hiva", "all_results.json", revision="v1")).read_text()),
        "subjects": sorted(read_subject_record("org/disfa").training),
        "config": type(AutoConfig.from_pretrained("org/hiva")).__module__,
    }


def read_with_the_token_as_an_argument(repo: str, photo: str) -> list[dict[str, Any]]:
    """Explanations of a private VL-FAU, by a user who is not logged in otherwise."""
    token = os.environ.pop("HF_TOKEN")
    try:
        return pipeline("au-detection", model=repo, token=token, explain=True)(photo, detect_faces=False)
    finally:
        os.environ["HF_TOKEN"] = token


def validate_cards() -> dict[str, str]:
    """The client asks the server; a card with a flaw shows that it does."""
    flawed = ModelCard("---\nlicense: other\n---\n")
    pushed = {repo: ModelCard.load(repo) for repo in ("org/hiva", "org/disfa", "org/vl-fau")}
    cards = {name: render_card(name) for name in card_names()} | pushed
    return {name: error_of(card.validate) for name, card in cards.items()} | {"flawed": error_of(flawed.validate)}


def main(folders: Path, photo: str) -> dict[str, Any]:
    return {
        "pushed": push(folders),
        "parts": push_parts(folders),
        "read": read(folders),
        "vl_fau": read_vl_fau(str(folders / "vl-fau"), photo),
        "told_the_token": read_with_the_token_as_an_argument("org/vl-fau-pipe", photo),
        "cards": validate_cards(),
    }


if __name__ == "__main__":
    seen = json.dumps(main(Path(sys.argv[1]), sys.argv[2]))
    sys.stdout.write(f"\n{seen}")

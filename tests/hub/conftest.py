"""Folders of finished runs, as training leaves them, around small real networks."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import GenerationConfig

from hiva_hf import HiVAForAUDetection
from hiva_hf.evaluation.metrics import compute_au_metrics
from hiva_hf.evaluation.predictions import write_predictions
from hiva_hf.training.arguments import AUTrainingArguments
from hiva_hf.training.environment import describe_environment
from hiva_hf.training.run_folder import RunFolder, write_metrics
from hiva_hf.training.towers import packaged_text_tower


@pytest.fixture(scope="session")
def make_run(tiny_model_dir, tokenizer, tmp_path_factory) -> Callable[..., Path]:
    """A finished run: `make_run("disfa", seed=1, photo=None)`."""

    def make(dataset: str, seed: int = 0, **settings) -> Path:
        folder = tmp_path_factory.mktemp("runs") / f"{dataset}-run"
        data_dir = None if dataset == "synthfacs" else f"/data/licensed/{dataset}"
        text = settings.pop("text_model_name_or_path", str(packaged_text_tower()))
        arguments = AUTrainingArguments(
            output_dir=str(folder), dataset=dataset, data_dir=data_dir, text_model_name_or_path=text, **settings
        )
        run = RunFolder(folder)
        run.open(arguments, describe_environment(1, torch.device("cpu"), "no"))
        run.add_resources("run", 12.5)
        write_metrics(folder / "metrics.jsonl", "stage2", [{"epoch": 1, "train_loss": 0.5}])
        labels = _write_checkpoints(folder, tiny_model_dir, tokenizer, seed)
        run.write_results(_test(folder, labels, seed) | _facts(dataset, arguments))
        for name in ("results.png", "photo.png"):
            Image.new("RGB", (8, 8)).save(folder / name)
        # What happens to lie in the folder of a run, and is nobody's business.
        (folder / "notes.txt").write_text("private")
        (folder / "optimizer.bin").write_bytes(b"\x80\x04.")
        return folder

    return make


def _write_checkpoints(folder: Path, tiny_model_dir: Path, tokenizer, seed: int) -> list[str]:
    torch.manual_seed(seed)
    config = HiVAForAUDetection.from_pretrained(tiny_model_dir).config
    config.use_text_encoder, config.text_memory_length, config.description_pieces = True, 0, None
    # As towers that came from folders leave it.
    config.backbone_config._name_or_path = str(folder.parent / "vision-tower")
    config.text_config._name_or_path = str(folder.parent / "text-tower")
    model = HiVAForAUDetection(config)
    model.encode_descriptions(tokenizer)
    model.save_pretrained(folder / "stage2")
    model.drop_text_encoder()
    model.save_pretrained(folder)
    shutil.copy(tiny_model_dir / "preprocessor_config.json", folder)
    return config.au_labels


def _test(folder: Path, labels: list[str], seed: int) -> dict:
    random = np.random.default_rng(seed)
    present, probabilities = random.integers(0, 2, (40, len(labels))), random.random((40, len(labels)))
    # An AU that nobody shows: its scores are undefined.
    present[:, 0] = 0
    rows = {"subject": ["anna"] * 40, "task": ["T1"] * 40, "frame": list(range(40)), "fold": [1] * 40}
    for split in ("test", "validation"):
        write_predictions(folder / f"predictions_{split}.parquet", rows, present, probabilities, labels)
    return {f"test_{name}": value for name, value in compute_au_metrics(present, probabilities, labels).items()}


def _facts(dataset: str, arguments: AUTrainingArguments) -> dict:
    return {
        "dataset": dataset,
        "training_datasets": [name for name, _ in arguments.training_sources()],
        "fold": arguments.fold,
        "test_subjects": ["anna"],
        "training_subjects": ["bob", "carl"],
        "validation_subjects": ["dora"],
    }


@pytest.fixture
def results_of() -> Callable[[Path], dict]:
    return lambda run: json.loads((run / "all_results.json").read_text())


@pytest.fixture(scope="session")
def make_vl_fau_run(make_run, tiny_vl_fau_dir, tmp_path_factory) -> Callable[..., Path]:
    """A finished run of a VL-FAU: `make_vl_fau_run("synthfacs")`."""

    def make(dataset: str) -> Path:
        folder = make_run(dataset, model="vl_fau")
        shutil.rmtree(folder / "stage2")
        for path in tiny_vl_fau_dir.iterdir():
            shutil.copy(path, folder)
        # Decoders that learned nothing would write to their last position.
        generation = GenerationConfig.from_pretrained(folder)
        generation.max_new_tokens = 8
        generation.save_pretrained(folder)
        results = json.loads((folder / "all_results.json").read_text())
        scores = {"test_local_mean_text_f1": 0.625, "test_local_bleu": 0.75, "test_global_mean_text_f1": 0.5}
        (folder / "all_results.json").write_text(json.dumps(results | scores))
        (folder / "sentences_test.jsonl").write_text('{"face": "Neutral face."}\n')
        return folder

    return make

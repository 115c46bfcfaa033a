"""A reproduction of a few seconds: real towers of random weights, two folds, three variants."""

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch
from transformers import BertConfig, BertModel, Dinov2Config, Dinov2Model

from hiva_hf.evaluation.reproduction import Reproduction
from hiva_hf.training.arguments import AUTrainingArguments


@pytest.fixture(scope="session")
def small_towers(tmp_path_factory, tokenizer) -> Path:
    """Folders `vision` (2-layer DINOv2) and `text` (3-layer BERT)."""
    folder = tmp_path_factory.mktemp("small-towers")
    torch.manual_seed(0)
    Dinov2Model(
        Dinov2Config(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=56, use_mask_token=False)
    ).save_pretrained(folder / "vision")
    BertModel(
        BertConfig(hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32, vocab_size=30522)
    ).save_pretrained(folder / "text")
    tokenizer.save_pretrained(folder / "text")
    return folder


@pytest.fixture(scope="session")
def small_settings(small_towers) -> Callable[..., dict]:
    """Settings of runs of about two seconds."""

    def make(**overrides) -> dict:
        settings = {
            "vision_model_name_or_path": str(small_towers / "vision"),
            "text_model_name_or_path": str(small_towers / "text"),
            "image_size": 56,
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_attention_heads": 2,
            "trainable_backbone_layers": 1,
            "stage1_epochs": 1,
            "stage2_epochs": 1,
            "stage2_learning_rate": 0.02,
            "max_train_samples": 64,
            "max_eval_samples": 120,
            "mixed_precision": "no",
            "num_cpu_threads": 1,
        }
        return settings | overrides

    return make


@pytest.fixture(scope="session")
def make_reproduction(small_settings) -> Callable[..., Reproduction]:
    def make(output_dir: Path, folds=(1, 2), seeds=(42,), variants=("full",), share_stage1=True, **settings):
        arguments = AUTrainingArguments(**small_settings(output_dir=str(output_dir), **settings))
        return Reproduction(arguments, folds, seeds, variants, share_stage1)

    return make


@pytest.fixture(scope="session")
def reproduction(make_reproduction, tmp_path_factory) -> Reproduction:
    """Two folds of the full network, the baseline and the ablation of Figure 5, all finished."""
    folder = tmp_path_factory.mktemp("reproduction")
    finished = make_reproduction(folder, variants=("baseline", "full", "no_difference_loss"))
    for job in finished.pending():
        finished.run(job)
    return finished


@pytest.fixture(scope="session")
def example() -> Iterator[Callable[[str], ModuleType]]:
    """Loads a script of `examples/` without running it."""
    folder = Path(__file__).parents[2] / "examples"
    # Where Python looks first when it runs one of them: they import each other.
    sys.path.insert(0, str(folder))

    def load(name: str) -> ModuleType:
        path = folder / f"{name}.py"
        spec = importlib.util.spec_from_file_location(f"examples_{name}", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    yield load
    sys.path.remove(str(folder))

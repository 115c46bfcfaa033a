"""A reproduction of a few seconds: real towers of random weights, two folds, three variants."""

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from hiva_hf.experiments.reproduction import Reproduction
from hiva_hf.training.arguments import AUTrainingArguments


@pytest.fixture(scope="session")
def small_settings(small_network) -> Callable[..., dict]:
    """Settings of runs of about two seconds."""

    def make(**overrides) -> dict:
        settings = {
            "stage1_epochs": 1,
            "stage2_epochs": 1,
            "stage2_learning_rate": 0.02,
            "max_train_samples": 64,
            "max_eval_samples": 120,
        }
        return small_network | settings | overrides

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

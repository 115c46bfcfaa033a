"""The module of the `evaluate` library says what the plain metrics say, as a class and loaded by path."""

import json
import socket
from pathlib import Path

import evaluate
import numpy as np
import pytest

from hiva_hf.evaluation import au_f1, compute_au_metrics
from hiva_hf.evaluation.au_f1 import AuF1


MODULE_FOLDER = Path(au_f1.__file__).parent
AU_NAMES = ["AU1", "AU4", "AU12"]


@pytest.fixture(scope="module")
def faces() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = rng.choice([0, 1, -100], size=(30, 3), p=[0.5, 0.4, 0.1])
    labels[:, 2] = 0
    return labels, rng.random((30, 3))


@pytest.fixture(params=["class", "path"])
def metric(request, monkeypatch, tmp_path) -> evaluate.Metric:
    if request.param == "class":
        return AuF1(cache_dir=str(tmp_path))

    def refuse_network(*args, **kwargs):
        raise AssertionError("loading by path must not touch the network")

    monkeypatch.setattr(socket.socket, "connect", refuse_network)
    monkeypatch.setattr(socket, "getaddrinfo", refuse_network)
    return evaluate.load(str(MODULE_FOLDER), cache_dir=str(tmp_path))


def test_metric_says_what_the_plain_function_says(metric, faces):
    labels, probabilities = faces
    results = metric.compute(
        predictions=probabilities, references=labels, au_names=AU_NAMES, threshold=[0.4, 0.5, 1.0]
    )
    assert results == compute_au_metrics(labels, probabilities, AU_NAMES, threshold=[0.4, 0.5, 1.0])
    assert results["f1_AU12"] is None
    json.dumps(results, allow_nan=False)


def test_metric_takes_lists(metric, faces):
    labels, probabilities = faces
    results = metric.compute(predictions=probabilities.tolist(), references=labels.tolist(), au_names=AU_NAMES)
    assert results == compute_au_metrics(labels, probabilities, AU_NAMES)


def test_metric_pools_batches(metric, faces):
    labels, probabilities = faces
    for start in range(0, 30, 7):
        metric.add_batch(predictions=probabilities[start : start + 7], references=labels[start : start + 7])
    assert metric.compute(au_names=AU_NAMES) == compute_au_metrics(labels, probabilities, AU_NAMES)


def test_metric_refuses_a_fractional_label_instead_of_cutting_it(metric):
    with pytest.raises(ValueError, match=r"row 0, AU1, is 0\.5"):
        metric.compute(predictions=[[0.5]], references=[[0.5]], au_names=["AU1"])


def test_metric_needs_names(metric):
    with pytest.raises(TypeError, match="au_names"):
        metric.compute(predictions=[[0.5]], references=[[1]])


def test_metric_is_named_after_its_folder(metric):
    assert metric.name == MODULE_FOLDER.name == "au_f1"
    assert "unknown labels" in metric.description.lower()
    assert "au_names" in metric.inputs_description

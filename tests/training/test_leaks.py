"""Nothing before the final test can depend on the test subjects."""

import filecmp
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PILImage

from hiva_hf.data import load_au_dataset
from hiva_hf.evaluation.metrics import tune_thresholds
from hiva_hf.evaluation.predictions import read_predictions
from hiva_hf.training.run_folder import read_metrics


@pytest.fixture(scope="module")
def poisoned_faces(tmp_path_factory) -> Path:
    """The embedded faces, but those that fold 1 tests have noise for pictures and the opposite labels."""
    folder = tmp_path_factory.mktemp("poisoned")
    noise = np.random.default_rng(0).integers(0, 255, (160, 160, 3), dtype=np.uint8)
    for fold in (1, 2, 3):
        faces = load_au_dataset("synthfacs", fold=fold, split="test")
        if fold == 1:
            features = faces.features
            faces = faces.map(
                lambda face: {"image": PILImage.fromarray(noise), "labels": [1 - label for label in face["labels"]]},
                features=features,
            )
        faces.to_parquet(folder / f"synthfacs-fold{fold}.parquet")
    return folder


def test_poisoned_test_faces_change_nothing_but_the_test(run_to_the_end, poisoned_faces):
    clean, poisoned = run_to_the_end(), run_to_the_end(data_dir=str(poisoned_faces))
    for weights in ("stage1/model.safetensors", "stage2/model.safetensors", "model.safetensors", "config.json"):
        assert filecmp.cmp(clean / weights, poisoned / weights, shallow=False), weights
    assert read_metrics(clean / "metrics.jsonl") == read_metrics(poisoned / "metrics.jsonl")
    validation = [read_predictions(folder / "predictions_validation.parquet") for folder in (clean, poisoned)]
    thresholds = [tune_thresholds(part.labels, part.probabilities, part.au_labels) for part in validation]
    assert np.array_equal(*thresholds)
    test = [read_predictions(folder / "predictions_test.parquet") for folder in (clean, poisoned)]
    assert np.array_equal(test[0].labels, 1 - test[1].labels)
    assert not np.allclose(test[0].probabilities, test[1].probabilities)

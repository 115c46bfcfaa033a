"""Predictions to score: random ones with many subjects, AUs and unknown labels, and some by hand."""

import numpy as np
import pytest

from hiva_hf.evaluation.predictions import Predictions
from hiva_hf.evaluation.protocol import FoldPredictions


AU_LABELS = ("AU1", "AU4", "AU12", "AU25")


def make_predictions(
    labels, probabilities, subjects, au_labels=AU_LABELS, fold: int = 1, first_frame: int = 0
) -> Predictions:
    labels = np.asarray(labels, dtype=np.int8)
    return Predictions(
        subject=np.array(subjects, dtype=object),
        task=np.array(["T1"] * len(labels), dtype=object),
        frame=np.arange(first_frame, first_frame + len(labels), dtype=np.int32),
        fold=np.full(len(labels), fold, dtype=np.int8),
        labels=labels,
        probabilities=np.asarray(probabilities, dtype=np.float32),
        au_labels=tuple(au_labels),
    )


def make_random_fold(
    fold: int, seed: int = 0, skill: float = 0.2, num_subjects: int = 8, faces_each: int = 12, name: int = 0
) -> FoldPredictions:
    """Test and validation predictions. The labels depend on the fold alone, so that methods can be compared.

    Networks of another `name` err on other faces.
    """

    def draw(split: str) -> Predictions:
        truth = np.random.default_rng([fold, split == "test"])
        network = np.random.default_rng([99, fold, split == "test", seed, *([name] if name else [])])
        num_faces = num_subjects * faces_each
        labels = (truth.random((num_faces, len(AU_LABELS))) < 0.35).astype(int)
        # Rounded, so that there are ties.
        noise = network.uniform(0, 1 - skill, labels.shape)
        probabilities = (skill * labels + noise).round(2)
        labels[truth.random(labels.shape) < 0.1] = -100
        subjects = [f"{split}{fold}-{face % num_subjects}" for face in range(num_faces)]
        return make_predictions(labels, probabilities, subjects, fold=fold)

    return FoldPredictions(fold=fold, seed=seed, test=draw("test"), validation=draw("validation"))


@pytest.fixture(scope="session")
def predictions_of():
    """[`make_predictions`] for tests, which can't import from here."""
    return make_predictions


@pytest.fixture(scope="session")
def random_fold():
    """[`make_random_fold`]."""
    return make_random_fold


@pytest.fixture
def three_folds() -> list[FoldPredictions]:
    return [make_random_fold(fold) for fold in (1, 2, 3)]

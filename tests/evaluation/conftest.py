"""Random predictions of three folds."""

import pytest

from hiva_hf.evaluation.protocol import FoldPredictions


@pytest.fixture
def three_folds(random_fold) -> list[FoldPredictions]:
    return [random_fold(fold) for fold in (1, 2, 3)]

"""The rank correlation of Figure 4 is Spearman's."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from hiva_hf.experiments.result_figures import spearman_correlation


def test_spearman_s_rho_agrees_with_scipy_also_with_ties():
    rng = np.random.default_rng(0)
    first = rng.integers(0, 6, 20).astype(float)
    second = first + rng.integers(0, 5, 20)
    assert spearman_correlation(first, second) == pytest.approx(spearmanr(first, second).statistic)
    assert spearman_correlation(first, -(first**3)) == pytest.approx(-1)


def test_undefined_entries_are_left_out_and_a_constant_has_no_rho():
    nan = float("nan")
    assert spearman_correlation(np.array([1, 2, nan, 3]), np.array([3, 2, 9, 1])) == pytest.approx(-1)
    assert np.isnan(spearman_correlation(np.array([1.0, 1.0]), np.array([1.0, 2.0])))

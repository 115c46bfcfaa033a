"""Drawn expressions obey the rules, carry exact labels and repeat with their seed."""

import numpy as np
import pytest

from hiva_hf.synthesis.expression import (
    COMBINATION,
    NEUTRAL,
    SINGLE,
    conflicts,
    sample_expression,
    weight_of_intensity,
)
from hiva_hf.synthesis.head import shape_weights
from hiva_hf.synthesis.recipes import IMPLICATIONS, LEVEL_JITTER, RECIPES, SYNTHFACS_AUS


@pytest.fixture(scope="module")
def expressions():
    rng = np.random.default_rng(0)
    return [sample_expression(rng) for _ in range(2000)]


def test_same_seed_gives_same_expression():
    first, second = (sample_expression(np.random.default_rng(7)) for _ in range(2))
    assert first == second
    assert first != sample_expression(np.random.default_rng(8))


def test_exclusive_aus_never_meet(expressions):
    assert not any(conflicts(tuple(expression.intensities)) for expression in expressions)


def test_implied_aus_are_labelled(expressions):
    for expression in expressions:
        for cause, effect in IMPLICATIONS:
            assert cause not in expression.intensities or effect in expression.intensities


def test_labels_are_intensities_from_two_on(expressions):
    for expression in expressions:
        intensities, labels = np.array(expression.intensity_row), np.array(expression.label_row)
        assert intensities.shape == labels.shape == (len(SYNTHFACS_AUS),)
        assert set(intensities.tolist()) <= {0, 2, 3, 4, 5}
        assert np.array_equal(labels == 1, intensities >= 2)


def test_mean_weight_of_both_sides_belongs_to_its_intensity(expressions):
    for expression in expressions:
        for au, sides in expression.weights.items():
            expected = weight_of_intensity(au, expression.intensities[au])
            assert np.mean(sides) == pytest.approx(expected, abs=LEVEL_JITTER + 1e-9)


def test_kinds_of_take_hold_what_they_say():
    rng = np.random.default_rng(1)
    assert not sample_expression(rng, NEUTRAL).intensities
    for _ in range(50):
        single = sample_expression(rng, SINGLE).intensities
        assert len(single) == 1 or (len(single) == 2 and 25 in single)
    assert max(len(sample_expression(rng, COMBINATION).intensities) for _ in range(50)) >= 4


def test_positive_rates_are_neither_rare_nor_common(expressions):
    rates = np.mean([expression.label_row for expression in expressions], axis=0)
    assert rates.min() > 0.08
    assert rates.max() < 0.4


def test_raised_lip_stays_closed_unless_lips_part():
    rng = np.random.default_rng(2)
    while True:
        expression = sample_expression(rng, COMBINATION)
        if 10 in expression.intensities and not {12, 25} & set(expression.intensities):
            break
    assert shape_weights(expression)["mouthLowerDownLeft"] < 0


def test_shape_without_sides_takes_the_mean_of_both():
    rng = np.random.default_rng(3)
    while True:
        expression = sample_expression(rng, SINGLE)
        if 1 in expression.intensities:
            break
    left, right = expression.weights[1]
    shapes = shape_weights(expression)
    assert shapes["browInnerUp"] / ((left + right) / 2) == pytest.approx(RECIPES[1].shapes["browInnerUp"])

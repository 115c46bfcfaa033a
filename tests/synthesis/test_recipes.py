"""The recipe table is complete and consistent with the catalogue of Action Units."""

import itertools

import pytest

from hiva_hf.facs import get_action_unit
from hiva_hf.synthesis.expression import conflicts, weight_of_intensity
from hiva_hf.synthesis.recipes import (
    COMPANIONS,
    EXCLUSIVE_GROUPS,
    IMPLICATIONS,
    LEVEL_JITTER,
    RECIPES,
    SYNTHFACS_AUS,
)
from hiva_hf.synthesis.wrinkles import FOLDS


def test_aus_are_ascending_and_known():
    assert list(SYNTHFACS_AUS) == sorted(set(RECIPES))
    assert [get_action_unit(au).number for au in SYNTHFACS_AUS] == list(SYNTHFACS_AUS)


@pytest.mark.parametrize("au", SYNTHFACS_AUS)
def test_recipe_moves_something_at_a_plausible_rate(au):
    recipe = RECIPES[au]
    assert recipe.shapes
    assert all(weight > 0 for weight in recipe.shapes.values())
    assert 0.05 <= recipe.rate <= 0.6
    assert set(recipe.wrinkles) <= set(FOLDS)


@pytest.mark.parametrize("au", SYNTHFACS_AUS)
def test_levels_rise_and_do_not_overlap(au):
    levels = RECIPES[au].levels
    assert len(levels) == 4
    assert levels[0] >= 0.5
    assert levels[-1] <= 1.1
    # The two highest levels of a lid that closes are close to each other; their order still holds.
    assert all(low < high for low, high in itertools.pairwise(levels))
    if au != 43:
        assert all(high - low > 2 * LEVEL_JITTER for low, high in itertools.pairwise(levels))


def test_weight_follows_intensity():
    weights = [weight_of_intensity(12, intensity) for intensity in (2, 3, 4, 5)]
    assert weights == sorted(weights)


@pytest.mark.parametrize("intensity", [0, 1, 6, -1])
def test_weight_of_an_intensity_that_is_not_drawn_raises(intensity):
    with pytest.raises(ValueError, match="is not drawn"):
        weight_of_intensity(12, intensity)


def test_exclusions_of_the_catalogue_are_respected():
    for au in SYNTHFACS_AUS:
        for other in get_action_unit(au).exclusions:
            if other in RECIPES:
                assert conflicts((au, other)), f"AU{au} and AU{other} exclude each other in FACS"


def test_rules_name_known_aus_and_do_not_contradict_each_other():
    assert {au for group in EXCLUSIVE_GROUPS for au in group} <= set(RECIPES)
    for cause, effect in [*IMPLICATIONS, *((cause, effect) for cause, effect, _ in COMPANIONS)]:
        assert {cause, effect} <= set(RECIPES)
        assert not conflicts((cause, effect))
    assert all(0 < chance <= 1 for _, _, chance in COMPANIONS)

import pytest

from hiva_hf.training.label_weights import label_weights_from_positive_rates


def test_label_weights_are_inverse_positive_rates_of_mean_one():
    # 1/r = 2, 4, 4: w = 3 * (2, 4, 4) / 10.
    assert label_weights_from_positive_rates([0.5, 0.25, 0.25]) == pytest.approx([0.6, 1.2, 1.2])


@pytest.mark.parametrize("rate", [0.0, -0.1, 1.5, float("nan")])
def test_label_weights_refuse_a_rate_that_is_none(rate):
    with pytest.raises(ValueError, match="position 1"):
        label_weights_from_positive_rates([0.5, rate])

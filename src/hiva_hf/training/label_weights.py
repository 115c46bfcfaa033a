"""The weights of the AU loss: rare AUs count more."""

from collections.abc import Sequence


def label_weights_from_positive_rates(
    positive_rates: Sequence[float], au_labels: Sequence[str] | None = None
) -> list[float]:
    """The weights `w_i = N (1 / r_i) / sum_j (1 / r_j)`, which average to 1.

    Args:
        positive_rates: `r_i` [N], the share of positive labels of AU i among its known labels in the training fold,
            above 0.
        au_labels: Names of the N AUs, for the error message.

    Raises:
        ValueError: if a rate is not in (0, 1]: an AU that never occurs in the training set can't be learned.
    """
    for index, rate in enumerate(positive_rates):
        if not 0 < rate <= 1:
            name = f"The AU at position {index}" if au_labels is None else au_labels[index]
            raise ValueError(
                f"{name} has a positive rate of {rate} in the training set. It can't be learned from that: leave it "
                "out (of `id2label`; for `examples/train.py` of the prepared columns), or add samples that show it."
            )
    inverse = [1 / rate for rate in positive_rates]
    return [len(inverse) * value / sum(inverse) for value in inverse]

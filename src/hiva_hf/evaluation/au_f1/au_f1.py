"""The AU scores as a module of the `evaluate` library: a thin wrapper of `hiva_hf.evaluation.metrics`.

`evaluate.load` copies this one file elsewhere and scans it for imports line by line, so it imports one module per line
and the package by its absolute name.
"""

from collections.abc import Sequence

import datasets
import evaluate

from hiva_hf.evaluation.metrics import DEFAULT_THRESHOLD, compute_au_metrics


_DESCRIPTION = """
Scores facial Action Unit (AU) detection: per AU the F1 score, accuracy, ROC-AUC, positive rate and support, and the
means over AUs. Unknown labels (-100) are ignored; a score that is undefined is None and left out of the means.
"""

_KWARGS_DESCRIPTION = """
Args:
    predictions (list of list of float): probabilities, one row per face and one column per AU.
    references (list of list of float): labels of the same shape: 1 present, 0 absent, -100 unknown.
    au_names (list of str): one name per column, for example "AU12"; the names become part of the keys.
    threshold (float or list of float): lowest probability that counts as detected, or one per AU. Default: 0.5.
Returns:
    dict: mean_f1, mean_accuracy, mean_roc_auc; undefined_f1, undefined_accuracy, undefined_roc_auc (names of the AUs
    that these means leave out); and per AU f1_AU12, accuracy_AU12, roc_auc_AU12, positive_rate_AU12, support_AU12.
Examples:
    >>> metric = AuF1()
    >>> results = metric.compute(predictions=[[0.9], [0.2]], references=[[1], [0]], au_names=["AU12"])
    >>> results["mean_f1"]
    1.0
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class AuF1(evaluate.Metric):  # `evaluate` derives the name "au_f1" from this spelling
    def _info(self) -> evaluate.MetricInfo:
        # Labels are floats here, so that a wrong one such as 0.5 reaches the check instead of being truncated to 0.
        rows = datasets.Features(
            {
                "predictions": datasets.Sequence(datasets.Value("float64")),
                "references": datasets.Sequence(datasets.Value("float64")),
            }
        )
        return evaluate.MetricInfo(
            description=_DESCRIPTION, citation="", inputs_description=_KWARGS_DESCRIPTION, features=rows
        )

    def _compute(
        self,
        predictions: list[list[float]],
        references: list[list[float]],
        au_names: Sequence[str],
        threshold: float | Sequence[float] = DEFAULT_THRESHOLD,
    ) -> dict[str, float | int | list[str] | None]:
        return compute_au_metrics(references, predictions, au_names, threshold)

"""Scores of Action Unit detection. The `evaluate` module over them is `hiva_hf.evaluation.au_f1`."""

from .metrics import (
    AUCounts,
    compute_au_metrics,
    compute_roc_auc,
    count_au_predictions,
    format_au_table,
    mean_over_aus,
    tune_thresholds,
)


__all__ = [
    "AUCounts",
    "compute_au_metrics",
    "compute_roc_auc",
    "count_au_predictions",
    "format_au_table",
    "mean_over_aus",
    "tune_thresholds",
]

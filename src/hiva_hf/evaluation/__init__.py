"""Scores of Action Unit detection, the protocol over folds, and published results.

The `evaluate` metric for the scores is `hiva_hf.evaluation.au_f1`. What evaluates checkpoints and reproduces the
paper's comparisons is in `hiva_hf.experiments`.
"""

from .bootstrap import BootstrapScores, bootstrap_scores, compare_paired
from .metrics import (
    AUCounts,
    compute_au_metrics,
    compute_roc_auc,
    count_au_predictions,
    format_au_table,
    mean_over_aus,
    tune_thresholds,
)
from .predictions import Predictions, read_predictions, write_predictions
from .protocol import FoldPredictions, ProtocolScores, score_protocol
from .published import published_tables


__all__ = [
    "AUCounts",
    "BootstrapScores",
    "FoldPredictions",
    "Predictions",
    "ProtocolScores",
    "bootstrap_scores",
    "compare_paired",
    "compute_au_metrics",
    "compute_roc_auc",
    "count_au_predictions",
    "format_au_table",
    "mean_over_aus",
    "published_tables",
    "read_predictions",
    "score_protocol",
    "tune_thresholds",
    "write_predictions",
]

"""Scores facial movements from sentences, also movements that nobody labelled.

[`OpenVocabularyDetector`] is what to use; [`TextConditionedAUHead`] is the network. How well it does on an Action Unit
that it was never trained on is measured by `hiva_hf.open_vocabulary.leave_one_out` (`examples/new_au.py`).
"""

from .detector import OpenVocabularyDetector
from .head import TextConditionedAUConfig, TextConditionedAUHead
from .towers import FrozenTowers
from .training import Ridges, fit_head, training_sentences


__all__ = [
    "FrozenTowers",
    "OpenVocabularyDetector",
    "Ridges",
    "TextConditionedAUConfig",
    "TextConditionedAUHead",
    "fit_head",
    "training_sentences",
]

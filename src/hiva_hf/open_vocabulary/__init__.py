"""Score facial movements from sentences that describe them, including movements without labels.

Use [`OpenVocabularyDetector`]; [`TextConditionedAUHead`] is its network. `hiva_hf.open_vocabulary.leave_one_out`
(`examples/new_au.py`) measures how well it detects an Action Unit that it was never trained on.
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

"""Data sets of aligned faces with AU labels, all in one schema."""

from ..facs import MISSING_LABEL
from .folds import split_subjects
from .loading import AU_SETS, load_au_dataset
from .schema import au_features


__all__ = ["AU_SETS", "MISSING_LABEL", "au_features", "load_au_dataset", "split_subjects"]

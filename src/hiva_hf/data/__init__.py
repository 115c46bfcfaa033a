"""Data sets of aligned faces with AU labels, all in one schema."""

from ..facs import MISSING_LABEL
from .builders import AUFaces
from .folds import split_subjects
from .hub import push_prepared_to_hub
from .loading import au_numbers, fold_numbers, load_au_dataset, load_au_datasets
from .schema import au_features
from .sets import AU_DATASETS, AU_SETS, AUSet, shared_aus


__all__ = [
    "AU_DATASETS",
    "AU_SETS",
    "MISSING_LABEL",
    "AUFaces",
    "AUSet",
    "au_features",
    "au_numbers",
    "fold_numbers",
    "load_au_dataset",
    "load_au_datasets",
    "push_prepared_to_hub",
    "shared_aus",
    "split_subjects",
]

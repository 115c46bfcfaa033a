"""The AU scores for the `evaluate` library: `AuF1`, or `evaluate.load` with the path of this folder."""

from .au_f1 import AuF1


__all__ = ["AuF1"]

"""Sentences about Action Units: generating, validating and reviewing descriptions, tokenizing and parsing."""

from .grammar import GRADES, generate_descriptions
from .validation import BankReport, validate_bank, validate_description


__all__ = ["GRADES", "BankReport", "generate_descriptions", "validate_bank", "validate_description"]

"""Sentences about Action Units: descriptions and what makes a good one, tokens of sentences, reading them back."""

from .grammar import GRADES, generate_descriptions
from .validation import BankReport, validate_bank, validate_description


__all__ = ["GRADES", "BankReport", "generate_descriptions", "validate_bank", "validate_description"]

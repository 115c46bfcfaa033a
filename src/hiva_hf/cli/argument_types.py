"""Types of arguments that several commands share."""

import argparse


def positive_int(text: str) -> int:
    """A whole number of at least 1, as the `type` of an argument."""
    try:
        number = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a whole number, got {text!r}") from None
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {number}")
    return number

"""Errors that programs report in one line, because users can fix their cause; all others show a traceback."""

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError


# Python's own errors, errors of configurations, and weights that are damaged or can't be written. A loss that is not
# finite raises FloatingPointError.
REPORTED_ERRORS = (ValueError, OSError, ImportError, FloatingPointError, StrictDataclassError, SafetensorError)


def message_of(error: BaseException) -> str:
    """The message of an error, without what a library wraps around the checks of a configuration."""
    if isinstance(error, StrictDataclassError) and error.__cause__ is not None:
        error = error.__cause__
    return str(error) or type(error).__name__

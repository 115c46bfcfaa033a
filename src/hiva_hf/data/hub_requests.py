"""Requests to the Hub fail with one kind of error, whichever library sends them."""

from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub.utils import httpx


@contextmanager
def hub_requests() -> Iterator[None]:
    """Around requests, or as a decorator of what makes them.

    What the Hub answers with is an `OSError` already (`HfHubHTTPError`); where it can't be reached, the errors of the
    library that sends the requests are not.

    Raises:
        ConnectionError: if the Hub can't be reached.
    """
    try:
        yield
    except httpx.RequestError as error:
        raise ConnectionError(f"The Hub can't be reached ({error}). Try again when it can.") from error

"""Give failed requests to the Hub one kind of error, whichever library sends them."""

from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub.utils import httpx


@contextmanager
def hub_requests() -> Iterator[None]:
    """Context manager, or decorator, for code that sends requests.

    Error responses of the Hub are `OSError`s already (`HfHubHTTPError`); the connection errors of the HTTP library are
    not.

    Raises:
        ConnectionError: if the Hub can't be reached.
    """
    try:
        yield
    except httpx.RequestError as error:
        raise ConnectionError(f"The Hub can't be reached ({error}). Try again when it can.") from error

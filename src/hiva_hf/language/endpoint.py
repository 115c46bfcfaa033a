"""A client of endpoints that speak the OpenAI protocol: `POST URL/chat/completions`."""

import http.client
import json
import logging
import math
import re
import time
import urllib.error
import urllib.request
from typing import Any


logger = logging.getLogger(__name__)

_RETRIED = frozenset((408, 429, 500, 502, 503, 504))
_LONGEST_WAIT = 60.0


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Follows no redirects, which would send the API key to another host."""

    def redirect_request(self, *args):
        return None


class _Transient(Exception):
    """A failure that may be temporary."""

    def __init__(self, message: str, wait: float | None = None):
        super().__init__(message)
        self.wait = wait


class ChatEndpoint:
    """Sends prompts to a model, one at a time.

    Args:
        url: Base URL of the protocol, for example "http://localhost:8000/v1".
        model: Name of the model; None takes the first one that the endpoint lists.
        api_key: Sent as a bearer token; never logged, written or part of an error.
        timeout: Seconds to wait for an answer.
        max_tries: How often a request is sent while the endpoint is busy (429), fails (5xx), does not answer, or
            answers with anything but the protocol's JSON. The waits in between grow from `first_wait` seconds, or
            follow the endpoint's Retry-After.
        first_wait: See `max_tries`.

    Raises:
        ValueError: If the API key is invalid.
        OSError: If listing the endpoint's models fails, see `ask`.
    """

    def __init__(
        self,
        url: str,
        model: str | None = None,
        api_key: str | None = None,
        *,
        timeout: float = 120.0,
        max_tries: int = 5,
        first_wait: float = 1.0,
    ):
        self.url = url.rstrip("/")
        self.timeout = timeout
        self.max_tries = max_tries
        self.first_wait = first_wait
        self._api_key = _checked(api_key)
        self._opener = urllib.request.build_opener(_NoRedirects)
        self.model = model if model is not None else self._first_model()

    def ask(self, prompt: str, seed: int = 0) -> str:
        """The model's answer.

        Raises:
            OSError: If the endpoint rejects the request, or still fails after `max_tries`.
        """
        question = {
            "model": self.model,
            "messages": [{"role": "user", "content": prompt}],
            "temperature": 0.9,
            "top_p": 0.95,
            "seed": seed,
        }
        return self._persist("/chat/completions", question, _message_of)

    def _first_model(self) -> str:
        return self._persist("/models", None, lambda answer: _text(answer["data"][0]["id"]))

    def _persist(self, path: str, question: dict | None, read) -> str:
        for attempt in range(1, self.max_tries + 1):
            try:
                return self._send(path, question, read)
            except _Transient as failure:
                if attempt == self.max_tries:
                    raise OSError(
                        f"{self.url}{path} failed {attempt} times; the last time it {failure}. What was written is "
                        "kept: run the command again to continue."
                    ) from None
                wait = self.first_wait * 2 ** (attempt - 1) if failure.wait is None else failure.wait
                logger.info("%s%s %s; retrying in %.1f s.", self.url, path, failure, wait)
                time.sleep(min(wait, _LONGEST_WAIT))
        raise ValueError(f"`max_tries` is {self.max_tries}, but it must be at least 1.")

    def _send(self, path: str, question: dict | None, read) -> str:
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        if self._api_key:
            headers["Authorization"] = f"Bearer {self._api_key}"
        body = None if question is None else json.dumps(question).encode()
        request = urllib.request.Request(self.url + path, data=body, headers=headers)
        try:
            with self._opener.open(request, timeout=self.timeout) as response:
                content = response.read()
        except urllib.error.HTTPError as error:
            message = f"answered {error.code} ({self._shown(_rest_of(error))})"
            if error.code in _RETRIED:
                raise _Transient(message, _seconds(error.headers.get("Retry-After"))) from error
            raise OSError(f"{self.url}{path} {message}.{_advice(error.code)}") from None
        except (TimeoutError, http.client.HTTPException, OSError) as error:
            raise _Transient(f"could not be reached ({self._shown(str(error).encode())})") from error
        try:
            return read(json.loads(content))
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise _Transient(f"gave an answer that is not in the OpenAI protocol ({self._shown(content)})") from error

    def _shown(self, content: bytes) -> str:
        """The start of an answer, to be shown in a message; the API key is masked in case it was sent back."""
        text = " ".join(content.decode("utf-8", errors="replace").split())
        if self._api_key:
            text = re.sub(_as_json_may_write(self._api_key), "***", text)
        return text[:200]


def _checked(api_key: str | None) -> str | None:
    """The API key, without whitespace and line ends around it."""
    key = (api_key or "").strip()
    if not (key.isascii() and key.isprintable()):
        # Without the key, since messages end up in logs.
        raise ValueError(
            "The API key contains characters that can't be sent: check that it is complete and has no quotation marks."
        )
    return key or None


def _as_json_may_write(key: str) -> str:
    """A pattern that matches a key as it was sent, and with JSON escapes: "/" as "\\/", "+" as "\\u002B"."""
    return "".join(rf"(?:\\?{re.escape(sign)}|\\u(?i:{ord(sign):04x}))" for sign in key)


def _rest_of(error: urllib.error.HTTPError) -> bytes:
    """The body of an error response, as far as it was received."""
    try:
        return error.read()
    except http.client.IncompleteRead as cut:
        return cut.partial
    except (OSError, http.client.HTTPException):
        return b""


def _message_of(answer: Any) -> str:
    return _text(answer["choices"][0]["message"]["content"])


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("a text was expected")
    # An answer that was cut inside an emoji ends with half of a surrogate pair, which can't be encoded.
    return value.encode("utf-8", errors="replace").decode("utf-8")


def _seconds(header: str | None) -> float | None:
    try:
        seconds = float(header)
    except (TypeError, ValueError):
        return None
    return None if math.isnan(seconds) else max(seconds, 0.0)


def _advice(code: int) -> str:
    if code in (401, 403):
        return " Set the environment variable of --api_key_variable to the API key."
    if code == 404:
        return (
            " Check that the URL is complete (it usually ends in /v1) and that the endpoint has this model "
            "(--model_name)."
        )
    if 300 <= code < 400:
        return " Redirects are not followed: pass the URL to which it redirects."
    return ""

"""Requests to a server that speaks the OpenAI protocol: the key, retries, and what went wrong in one line."""

import logging
import os
import threading
from typing import Any

import httpx2
from tenacity import RetryCallState, Retrying, retry_if_exception, wait_random_exponential

from mva_ray.config.engine import Endpoint
from mva_ray.errors import ConfigError, last_line

log = logging.getLogger(__name__)

TRY_AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
BEHIND_A_PROXY = frozenset({502, 503, 504})
THIS_REQUEST_ONLY = frozenset({400, 413, 422})
LONGEST_WAIT = 60.0


class Client:
    """Posts JSON, as often as `attempts` says where the failure may pass; thread-safe.

    A server that has answered before and is gone is waited for, with a line: it may be starting again.

    Args:
        settings: the server.
        section: the part of the config that they are from, for messages.
        patience: seconds to wait for a server that was there.

    Raises:
        ConfigError: where the environment variable for the key is not set.
    """

    def __init__(self, settings: Endpoint, section: str, patience: float = 0.0) -> None:
        self.url = settings.base_url.rstrip("/")
        self._attempts = settings.attempts
        self._patience = patience
        self._was_there = False
        self._is_missed = threading.Event()
        self._client = httpx2.Client(
            headers=_headers(settings, section),
            timeout=settings.timeout,
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=settings.concurrency),
        )

    def close(self) -> None:
        self._client.close()

    def post(self, path: str, body: dict[str, Any], refusal: str | None = None) -> httpx2.Response:
        """The answer, a good one.

        Args:
            refusal: what a server says, whatever the status, that would say so again.

        Raises:
            httpx2.HTTPError: of the last attempt; `cause` says it in one line.
        """

        def is_passing(error: BaseException) -> bool:
            return _is_passing(error) and not (refusal and refusal in (said(error) or ""))

        attempts = Retrying(stop=self._gives_up, wait=_wait, retry=retry_if_exception(is_passing), reraise=True)
        return attempts(self.post_once, path, body)

    def post_once(self, path: str, body: dict[str, Any]) -> httpx2.Response:
        """The answer to one attempt, a good one.

        Raises:
            httpx2.HTTPError: there is none.
        """
        response = self._client.post(f"{self.url}{path}", json=body).raise_for_status()
        self._was_there = True
        if self._is_missed.is_set():
            self._is_missed.clear()
            log.warning("the server at %s answers again", self.url)
        return response

    def _gives_up(self, state: RetryCallState) -> bool:
        if state.attempt_number < self._attempts:
            return False
        error = state.outcome.exception() if state.outcome else None
        if not (self._was_there and _is_gone(error) and (state.seconds_since_start or 0) < self._patience):
            return True
        if not self._is_missed.is_set():
            self._is_missed.set()
            log.warning("the server at %s is gone; it has %d s to come back", self.url, self._patience)
        return False


def cause(error: httpx2.HTTPError) -> str:
    """What went wrong, and what the server says of it."""
    if not isinstance(error, httpx2.HTTPStatusError):
        return f"{type(error).__name__}: {last_line(error)}"
    status = f"HTTP {error.response.status_code} {error.response.reason_phrase}".strip()
    message = said(error)
    return f"{status}: {last_line(message)}" if message else status


def status_of(error: httpx2.HTTPError) -> int | None:
    """None where there was no answer."""
    return error.response.status_code if isinstance(error, httpx2.HTTPStatusError) else None


def said(error: BaseException) -> str | None:
    """The message in an error of the OpenAI protocol (or vLLM's older form of it), None where it is no such error."""
    try:
        body = error.response.json() if isinstance(error, httpx2.HTTPStatusError) else None
    except ValueError:
        return None
    details = body.get("error", body) if isinstance(body, dict) else None
    message = details.get("message") if isinstance(details, dict) else None
    return message if isinstance(message, str) else None


def _headers(settings: Endpoint, section: str) -> dict[str, str]:
    if settings.api_key_env is None:
        return {}
    key = os.environ.get(settings.api_key_env)
    if not key:
        raise ConfigError(f"{section}.api_key_env", [f"the environment variable {settings.api_key_env} is not set"])
    return {"Authorization": f"Bearer {key}"}


def _is_passing(error: BaseException) -> bool:
    """Whether the next attempt may do better."""
    return isinstance(error, httpx2.TransportError) or (
        isinstance(error, httpx2.HTTPStatusError) and status_of(error) in TRY_AGAIN
    )


def _is_gone(error: BaseException | None) -> bool:
    """Nobody there, or a proxy that says so of who is behind it."""
    if isinstance(error, httpx2.HTTPStatusError):
        return status_of(error) in BEHIND_A_PROXY
    return isinstance(error, httpx2.TransportError) and not isinstance(error, httpx2.ReadTimeout)


def _wait(state: RetryCallState) -> float:
    """Seconds: what the endpoint asks for, else longer each time."""
    error = state.outcome.exception() if state.outcome else None
    asked = error.response.headers.get("retry-after", "") if isinstance(error, httpx2.HTTPStatusError) else ""
    if asked.isdigit():
        return min(float(asked), LONGEST_WAIT)
    return wait_random_exponential(multiplier=0.5, max=LONGEST_WAIT)(state)

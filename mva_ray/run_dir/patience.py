"""An object store that is away for minutes costs these minutes, and nothing else."""

import logging
import re
from collections.abc import Callable
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_delay, wait_random_exponential

from mva_ray.errors import RunError

log = logging.getLogger(__name__)
T = TypeVar("T")

PATIENCE_S = 600.0
"""How long a store may be away."""

AWAY = re.compile(
    r"Generic (S3|GCS|MicrosoftAzure) error|HTTP status 5\d\d"
    r"|AWS Error (NETWORK_CONNECTION|SERVICE_UNAVAILABLE|SLOW_DOWN|INTERNAL_FAILURE|REQUEST_TIMEOUT)"
)
"""How obstore, deltalake and Arrow begin, in errors of many classes, where a server is away or cannot answer now."""


def is_away(error: BaseException) -> bool:
    """Whether the store may answer the same question later."""
    return isinstance(error, Exception) and AWAY.search(first_line(error)) is not None


def patiently(place: str, call: Callable[[], T]) -> T:
    """What a call to an object store returns, which is made again while the store is away.

    Raises:
        RunError: the store was away for `PATIENCE_S`.
    """
    attempts = Retrying(
        retry=retry_if_exception(is_away),
        stop=stop_after_delay(PATIENCE_S),
        wait=wait_random_exponential(0.2, max=10),
        before_sleep=lambda state: _say(place, state),
        reraise=True,
    )
    try:
        return attempts(call)
    except Exception as error:
        if not is_away(error):
            raise
        raise RunError(
            f"{place}: the store has not answered for {PATIENCE_S:g} s ({first_line(error)}); what was computed is "
            "kept, and the same command goes on from here"
        ) from error


def _say(place: str, state: RetryCallState) -> None:
    if state.attempt_number == 1 and state.outcome is not None:
        cause = first_line(state.outcome.exception())
        log.warning("%s: the store does not answer (%s); trying again for %g s", place, cause, PATIENCE_S)


def first_line(error: object) -> str:
    """Object stores' errors begin with what went wrong, and end with how it is represented."""
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__

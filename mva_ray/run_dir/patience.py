"""An object store that is away for minutes costs these minutes, and nothing else."""

import logging
import re
from collections.abc import Callable
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_delay, wait_random_exponential

from mva_ray.errors import GOES_ON, RunError

log = logging.getLogger(__name__)
T = TypeVar("T")

PATIENCE_S = 600.0
"""How long a store may be away."""

AWAY = re.compile(
    r"Generic (S3|GCS|MicrosoftAzure) error|HTTP status 5\d\d"
    r"|AWS Error (NETWORK_CONNECTION|SERVICE_UNAVAILABLE|SLOW_DOWN|INTERNAL_FAILURE|REQUEST_TIMEOUT)"
)
"""How obstore, deltalake and Arrow begin, in errors of many classes, where a server is away or cannot answer now."""


NO_CREDENTIALS = re.compile(r"/latest/(api/token|meta-data)|metadata\.google|/metadata/identity")
"""Where there are no keys in the environment, the machine is asked for its role, and has none."""


def is_away(error: BaseException) -> bool:
    """Whether the store may answer the same question later."""
    line = first_line(error)
    return isinstance(error, Exception) and AWAY.search(line) is not None and not NO_CREDENTIALS.search(line)


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
            f"{place}: the store has not answered for {PATIENCE_S:g} s ({first_line(error)}); {GOES_ON}"
        ) from error


def _say(place: str, state: RetryCallState) -> None:
    if state.attempt_number == 1 and state.outcome is not None:
        cause = first_line(state.outcome.exception())
        log.warning("%s: the store does not answer (%s); trying again for %g s", place, cause, PATIENCE_S)


def plain(error: object) -> str:
    """What an object store's error says, in one line that helps."""
    line = first_line(error)
    keys = "no credentials: there are none in the environment, and this machine has no role"
    return keys if NO_CREDENTIALS.search(line) else line


def first_line(error: object) -> str:
    """Object stores' errors begin with what went wrong, and end with how it is represented."""
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__

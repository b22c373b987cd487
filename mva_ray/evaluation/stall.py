"""A process that stands still ends itself, so that another takes its place, and what it stood still over is found."""

import faulthandler
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

LONGEST_PASS_S = 900.0
"""Of 1,024 tokens: a model of 7 billion parameters needs five minutes for them on two slow cores."""

_STDERR, _REARM_S = 2, 1.0
_limit, _rearm_at = LONGEST_PASS_S, math.inf


@contextmanager
def ends_if_stalled(seconds: float = LONGEST_PASS_S) -> Iterator[None]:
    """End this process, with its stack on stderr, where so many seconds pass without `progress`; one at a time.

    Python's fault handler watches: it needs no interpreter lock, which may be what is never let go of.
    """
    global _limit, _rearm_at
    _limit, _rearm_at = seconds, 0.0
    progress()
    try:
        yield
    finally:
        _rearm_at = math.inf
        faulthandler.cancel_dump_traceback_later()


def progress() -> None:
    """Count anew, where anybody counts."""
    global _rearm_at
    if (now := time.monotonic()) >= _rearm_at:
        _rearm_at = now + min(_REARM_S, _limit / 10)
        faulthandler.dump_traceback_later(_limit, exit=True, file=_STDERR)

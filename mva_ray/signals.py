"""How a command ends where it is asked to: in one line, with an exit code that tells the truth."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from mva_ray.errors import Interrupted

_received: int | None = None


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Ray's own code lets go of KeyboardInterrupt alone, and raises one of its own in its place."""
    global _received
    _received = number
    raise KeyboardInterrupt


def stop_if_asked() -> None:
    """Where what was at work may have swallowed the KeyboardInterrupt, as callbacks of compiled code do.

    Raises:
        KeyboardInterrupt: a signal has come.
    """
    if _received is not None:
        raise KeyboardInterrupt


def _catch_signals() -> None:
    """Take Ctrl-C and SIGTERM alike."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, _interrupt)
        signal.signal(signal.SIGTERM, _interrupt)


@contextmanager
def interruptible() -> Iterator[None]:
    """
    Raises:
        Interrupted: a signal asked to stop.
    """
    global _received
    _received = None
    _catch_signals()
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(_received or signal.SIGINT) from None

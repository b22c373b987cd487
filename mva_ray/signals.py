"""How a command ends where it is asked to: in one line, with an exit code that tells the truth."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from mva_ray.errors import Interrupted, MvaError

_received: int | None = None


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Ray's own code lets go of KeyboardInterrupt alone, and raises one of its own in its place."""
    global _received
    _received = number
    raise KeyboardInterrupt


def _asked() -> int | None:
    """The signal that has come."""
    return _received


def catch_signals() -> None:
    """Take Ctrl-C and SIGTERM alike; again after Ray, whose compiled code takes SIGTERM to be a crash.

    Raises:
        KeyboardInterrupt: a signal has come that what was at work has swallowed, as callbacks of compiled code do.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, _interrupt)
        signal.signal(signal.SIGTERM, _interrupt)
    if _asked() is not None:
        raise KeyboardInterrupt


@contextmanager
def interruptible() -> Iterator[None]:
    """
    Raises:
        Interrupted: a signal asked to stop; also where Python has made another error of that, as it does in the middle
            of an import.
    """
    global _received
    _received = None
    catch_signals()
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(_asked() or signal.SIGINT) from None
    except Exception as error:
        if (number := _asked()) is None or isinstance(error, MvaError):
            raise
        raise Interrupted(number) from error

"""How a command ends where it is asked to: in one line, with an exit code that tells the truth."""

import signal
import threading
from types import FrameType

from mva_ray.errors import Interrupted


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise Interrupted(number)


def stop_plainly() -> None:
    """Make Ctrl-C and SIGTERM raise `Interrupted`; again after Ray has put handlers of its own in their place."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, _interrupt)
        signal.signal(signal.SIGTERM, _interrupt)

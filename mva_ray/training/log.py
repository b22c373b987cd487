"""What workers say of their jobs, and how the driver hears of it. Knows nothing of Ray."""

import threading
from collections.abc import Callable, Mapping, Sequence

from mva_ray.errors import last_line

Rows = Sequence[tuple[str, Mapping[str, float]]]
OnStep = Callable[[str, Mapping[str, float]], None]
POLL_S = 0.2


class TrainingLog:
    """Metrics, once a step also where steps are repeated after a kill, jobs that run, and jobs that failed."""

    def __init__(self) -> None:
        self._running: dict[str, None] = {}
        self._rows: dict[tuple[str, float], dict[str, float]] = {}
        self._failures: dict[str, str] = {}
        self._placing = False

    def placing(self) -> None:
        """Workers are being placed."""
        self._placing = True

    def placed(self) -> None:
        self._placing = False

    def is_waiting(self) -> bool:
        """Whether workers have no place yet, or none any more."""
        return self._placing

    def start(self, name: str) -> None:
        self._running[name] = None

    def done(self, name: str) -> None:
        self._running.pop(name, None)

    def running(self) -> list[str]:
        return list(self._running)

    def add(self, name: str, row: dict[str, float]) -> None:
        self._rows.setdefault((name, row["step"]), row)

    def since(self, seen: int) -> list[tuple[str, dict[str, float]]]:
        """The rows after the first `seen`, each with its job's name."""
        return [(name, row) for (name, _), row in list(self._rows.items())[seen:]]

    def fail(self, name: str, message: str) -> None:
        self._failures.setdefault(name, message)
        self.done(name)

    def failures(self) -> dict[str, str]:
        """Why jobs failed, by name."""
        return self._failures


class Follower:
    """Calls `on_step` for each new row while training blocks the main thread, and for the last ones at its end.

    Args:
        since: the rows after the first so many.
        on_step: called with the job's name and the row, from a thread of its own or where the context ends.
    """

    def __init__(self, since: Callable[[int], Rows], on_step: OnStep) -> None:
        self._since = since
        self._on_step = on_step
        self._done = threading.Event()
        self._seen = 0
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._thread.join()
        self._drain()

    def _follow(self) -> None:
        while not self._done.wait(POLL_S):
            self._drain()

    def _drain(self) -> None:
        for name, row in self._since(self._seen):
            self._seen += 1
            self._on_step(name, row)


def innermost(error: BaseException) -> str:
    """The last line of the innermost message: Ray wraps a worker's exception several times."""
    if workers := getattr(error, "worker_failures", None):
        return innermost(next(iter(workers.values())))
    cause = getattr(error, "cause", None) or error.__cause__
    if isinstance(cause, BaseException) and cause is not error:
        return innermost(cause)
    return last_line(error)

"""Counts what the phases of a run reserve and for how long, and keeps it in the run's directory."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from threading import Event, Lock, Thread

from mva_ray.errors import MvaError
from mva_ray.placement.capacity import Bundle, Reserving, total
from mva_ray.records import Spent
from mva_ray.run_dir.spending import read_phases, write_phases
from mva_ray.run_dir.store import File

EVERY_S = 30.0
"""A driver that is killed has counted all but the last so many seconds."""


class Clock:
    """Runs while something is reserved.

    Args:
        bundles: that are.
    """

    def __init__(self, bundles: Sequence[Bundle]) -> None:
        self._reserved = total(bundles)
        self._running = True
        self._seconds, self._since = 0.0, time.monotonic()

    def look(self, waiting: bool) -> None:
        """While waiting, nothing is reserved."""
        now = time.monotonic()
        self._seconds += now - self._since if self._running else 0.0
        self._running, self._since = not waiting, now

    @property
    def spent(self) -> Spent:
        seconds = self._seconds + (time.monotonic() - self._since if self._running else 0.0)
        return Spent(
            gpu_seconds=self._reserved.get("GPU", 0.0) * seconds, cpu_seconds=self._reserved.get("CPU", 0.0) * seconds
        )


class Meter:
    """What each phase of a run has cost, in all its starts.

    Args:
        file: where that is kept, also while a phase lasts.
    """

    def __init__(self, file: File) -> None:
        self._file = file
        self._before = read_phases(file)
        self._clocks: dict[str, Clock] = {}
        self._lock = Lock()

    def phases(self) -> dict[str, Spent]:
        """By now, and those under way too."""
        with self._lock:
            names = [*self._before, *(name for name in self._clocks if name not in self._before)]
            return {name: self._before.get(name, Spent()) + self._under_way(name) for name in names}

    def add(self, phase: str, spent: Spent) -> None:
        """What was spent on a phase besides what it reserves."""
        with self._lock:
            self._before[phase] = self._before.get(phase, Spent()) + spent
        write_phases(self._file, self.phases())

    def reserving(self, phase: str) -> Reserving:
        """Counts bundles as a phase's, as long as they are reserved."""
        return partial(self.reserved, phase)

    @contextmanager
    def reserved(self, phase: str, bundles: Sequence[Bundle]) -> Iterator[Clock]:
        """A phase that has reserved these, until the context ends; one at a time."""
        clock = self._clocks[phase] = Clock(bundles)
        try:
            with self._kept():
                yield clock
        finally:
            with self._lock:
                self._before[phase] = self._before.get(phase, Spent()) + self._clocks.pop(phase).spent
            write_phases(self._file, self.phases())

    def _under_way(self, phase: str) -> Spent:
        return self._clocks[phase].spent if phase in self._clocks else Spent()

    @contextmanager
    def _kept(self) -> Iterator[None]:
        done = Event()

        def keep() -> None:
            while not done.wait(EVERY_S):
                with suppress(MvaError):  # the driver meets it too
                    write_phases(self._file, self.phases())

        thread = Thread(target=keep, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

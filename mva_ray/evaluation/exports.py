"""Adapters on their way to a server: directories that somebody holds, and what a killed process has left of them."""

import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from mva_ray.errors import ConfigError, RunError

LOCK = ".held"
YOUNG_S = 60.0
"""A directory that nobody holds may have been made a moment ago, to be held the next."""


class Exports:
    """Directories named `mva-*`, each locked by the process that made it until it removes it.

    Raises:
        ConfigError: the directory cannot be made.
    """

    def __init__(self, directory: str) -> None:
        self._directory = Path(directory)
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            message = f"{directory} cannot be made: {error.strerror}"
            raise ConfigError("engine.openai.adapters_dir", [message]) from error

    @contextmanager
    def new(self) -> Iterator[Path]:
        """An empty directory, as long as the context lasts.

        Raises:
            RunError: it cannot be made.
        """
        directory = self._directory / f"mva-{uuid.uuid4().hex}"
        try:
            directory.mkdir()
            lock = FileLock(directory / LOCK)
            lock.acquire()
        except OSError as error:
            raise RunError(f"no adapter can be written to {self._directory}: {error.strerror or error}") from error
        try:
            yield directory
        finally:
            shutil.rmtree(directory, ignore_errors=True)
            lock.release()

    def remove_abandoned(self) -> list[str]:
        """The names of those whose process has ended, which are deleted."""
        return [each.name for each in self._directory.glob("mva-*") if _is_old(each) and _removed(each)]


def _is_old(directory: Path) -> bool:
    try:
        return time.time() - directory.stat().st_mtime > YOUNG_S
    except FileNotFoundError:
        return False


def _removed(directory: Path) -> bool:
    try:
        with FileLock(directory / LOCK, timeout=0):
            shutil.rmtree(directory, ignore_errors=True)
            return True
    except (Timeout, OSError):
        return False

"""A run's files in a directory of this machine, or of a disk that all machines share."""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import gethostname

from filelock import FileLock, Timeout

from mva_ray.errors import NO_SPACE, ConfigError, DamagedFile, RunError, out_of_space
from mva_ray.run_dir.files import write_atomically


class LocalStore:
    """See `Store`."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def place(self) -> str:
        return str(self._root)

    def read(self, name: str) -> bytes | None:
        path = self._root / name
        return path.read_bytes() if path.is_file() else None

    def write(self, name: str, content: bytes) -> None:
        with self._space_for(name):
            write_atomically(self._root / name, content)

    def append(self, name: str, content: bytes) -> None:
        path = self._root / name
        with self._space_for(name):
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("ab") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())

    @contextmanager
    def _space_for(self, name: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if out_of_space(error):
                raise RunError(f"{self._root / name}: {NO_SPACE}") from error
            raise

    def names(self, folder: str) -> list[str]:
        path = self._root / folder
        return sorted(os.listdir(path)) if path.is_dir() else []

    def remove(self, name: str) -> None:
        path = self._root / name
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)

    def exists(self, name: str) -> bool:
        return (self._root / name).is_dir()

    def scratch(self, name: str) -> Path:
        return self._root / f"{name}.partial"

    def publish(self, directory: Path, name: str, keep: bool = False) -> None:
        target = self._root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if keep:
            shutil.rmtree(self.scratch(name), ignore_errors=True)
            directory = Path(shutil.copytree(directory, self.scratch(name)))
        try:
            directory.rename(target)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            shutil.rmtree(directory)

    def fetch(self, name: str) -> Path:
        path = self._root / name
        if not path.is_dir():
            raise DamagedFile(path, f"{gethostname()} has no such directory", "start the same command again")
        return path

    def check_usable(self) -> None:
        """Makes the directory where it is missing, and writes to it."""
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self._root):
                pass
        except OSError as error:
            existing = next(parent for parent in (self._root, *self._root.parents) if parent.exists())
            problem = f"the run directory cannot be written: {error.strerror} (what exists of it: {existing})"
            raise ConfigError(str(self._root), [problem]) from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """The system lets go of it where the process dies."""
        lock = FileLock(self._root / ".lock")
        try:
            lock.acquire(blocking=False)
        except Timeout:
            raise RunError(f"another process is at work in {self._root}: wait for it, or end it") from None
        try:
            yield
        finally:
            lock.release()

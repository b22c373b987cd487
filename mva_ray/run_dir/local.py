"""A run's files in a directory of this machine, or of a disk that all machines share."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mva_ray.errors import NO_SPACE, RunError, out_of_space
from mva_ray.run_dir.files import write_atomically


class LocalStore:
    """See `Store`."""

    def __init__(self, root: Path) -> None:
        self._root = root

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

    def directory(self, name: str) -> Path:
        return self._root / name

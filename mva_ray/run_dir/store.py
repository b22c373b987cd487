"""Where the files of a run are kept: the seam between a run directory's names and what holds their content."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from mva_ray.errors import DamagedFile


class Store(Protocol):
    """Files by name, with "/" between folders. A reader, or a kill, never meets half of a file."""

    def read(self, name: str) -> bytes | None:
        """The content; None where there is no such file."""
        ...

    def write(self, name: str, content: bytes) -> None:
        """Replace or make a file, all of it or nothing."""
        ...

    def append(self, name: str, content: bytes) -> None:
        """Add to the end of a file, which may be missing; kept for good when this returns. A kill may leave a part."""
        ...

    def names(self, folder: str) -> list[str]:
        """What is directly in a folder, sorted; nothing where there is none."""
        ...

    def directory(self, name: str) -> Path:
        """Where a directory of the run is on this machine, or would be: what libraries of others read and write."""
        ...


@dataclass(frozen=True)
class File:
    """One file of a store."""

    store: Store
    name: str

    @property
    def path(self) -> Path:
        """Where it is on this machine, or would be."""
        return self.store.directory(self.name)

    def read(self) -> bytes | None:
        """See `Store.read`."""
        return self.store.read(self.name)

    def write(self, content: bytes) -> None:
        """See `Store.write`."""
        self.store.write(self.name, content)

    def append(self, content: bytes) -> None:
        """See `Store.append`."""
        self.store.append(self.name, content)

    def read_object(self) -> dict[str, Any] | None:
        """The content of a file that holds a JSON object, None where there is none.

        Raises:
            DamagedFile: it holds something else.
        """
        content: dict[str, Any] | None = self._json(dict, "a JSON object")
        return content

    def read_list(self) -> list[Any] | None:
        """The content of a file that holds a JSON list, None where there is none.

        Raises:
            DamagedFile: it holds something else.
        """
        content: list[Any] | None = self._json(list, "a JSON list")
        return content

    def _json(self, kind: type, expected: str) -> Any:
        content = self.read()
        if content is None:
            return None
        try:
            found = json.loads(content)
        except ValueError as error:
            raise DamagedFile(self.path, f"not valid JSON ({error})") from error
        if not isinstance(found, kind):
            raise DamagedFile(self.path, f"expected {expected}, got {content[:40]!r}")
        return found

    def write_json(self, content: object) -> None:
        """Replace the file by an indented JSON text."""
        self.write((json.dumps(content, indent=2) + "\n").encode())

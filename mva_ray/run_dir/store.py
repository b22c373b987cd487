"""Where the files of a run are kept: the seam between a run directory's names and what holds their content."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


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

    def read_json(self) -> Any | None:
        """The content of a JSON file, None where there is none."""
        content = self.read()
        return None if content is None else json.loads(content)

    def write_json(self, content: object) -> None:
        """Replace the file by an indented JSON text."""
        self.write((json.dumps(content, indent=2) + "\n").encode())

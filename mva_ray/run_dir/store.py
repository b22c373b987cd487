"""Where the files of a run are kept: the seam between a run directory's names and what holds their content."""

import json
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from mva_ray.errors import DamagedFile
from mva_ray.run_dir.place import joined


class Store(Protocol):
    """Files by name, with "/" between folders. A reader, or a kill, never meets half of a file or of a directory.

    A directory is what other libraries write and read, such as an adapter: it grows on the node that makes it, and is
    published when it is complete. Names of directories end with a key of what is in them.
    """

    @property
    def place(self) -> str:
        """The path or URL that people see."""
        ...

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
        """What is directly in a folder, sorted, complete or not; nothing where there is none."""
        ...

    def remove(self, name: str) -> None:
        """Delete a file or a directory, if it is there."""
        ...

    def exists(self, name: str) -> bool:
        """Whether a directory has been published."""
        ...

    def scratch(self, name: str) -> Path:
        """Where a directory of that name grows on this node; whoever makes it empties it first."""
        ...

    def publish(self, directory: Path, name: str, keep: bool = False) -> None:
        """Move a complete directory of this node here; where somebody was first, theirs stays and this is dropped.

        Args:
            keep: leave it where it is, too.
        """
        ...

    def fetch(self, name: str) -> Path:
        """A published directory on this node, to be read alone.

        Raises:
            DamagedFile: there is none, or it is not what was published.
        """
        ...

    def check_usable(self) -> None:
        """
        Raises:
            ConfigError: it cannot be written, or does not keep what a run needs of it.
        """
        ...

    def locked(self) -> AbstractContextManager[None]:
        """Hold the store alone; another process may have it soon after this one has died.

        Raises:
            RunError: another process holds it, or has taken it over.
        """
        ...


@dataclass(frozen=True)
class _Entry:
    store: Store
    name: str

    @property
    def place(self) -> str:
        """The path or URL that people see."""
        return joined(self.store.place, self.name)


class Directory(_Entry):
    """One directory of a store."""

    @property
    def scratch(self) -> Path:
        """See `Store.scratch`."""
        return self.store.scratch(self.name)

    def exists(self) -> bool:
        """See `Store.exists`."""
        return self.store.exists(self.name)

    def publish(self, directory: Path, keep: bool = False) -> None:
        """See `Store.publish`."""
        self.store.publish(directory, self.name, keep)

    def fetch(self) -> Path:
        """See `Store.fetch`."""
        return self.store.fetch(self.name)

    def remove(self) -> None:
        """See `Store.remove`."""
        self.store.remove(self.name)


class File(_Entry):
    """One file of a store."""

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
            raise DamagedFile(self.place, f"not valid JSON ({error})") from error
        if not isinstance(found, kind):
            raise DamagedFile(self.place, f"expected {expected}, got {content[:40]!r}")
        return found

    def write_json(self, content: object) -> None:
        """Replace the file by an indented JSON text."""
        self.write((json.dumps(content, indent=2) + "\n").encode())

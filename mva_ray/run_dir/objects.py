"""A run's files in an object store. There is no rename: a directory is there when its marker is, which comes last."""

import hashlib
import json
import shutil
import uuid
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any, TypeVar

from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
from obstore.store import ObjectStore as Client

from mva_ray.errors import ConfigError, DamagedFile, RunError
from mva_ray.run_dir.cache import cache_directory, filled
from mva_ray.run_dir.lease import Lease, version_of
from mva_ray.run_dir.patience import patiently, plain
from mva_ray.run_dir.place import joined, object_store

T = TypeVar("T")

MARKER = "complete.json"
"""Of a published directory: which files it has, each with its SHA-256, and the folder that they are in."""

AGAIN = "delete it, and start the same command again"
NO_CONDITIONS = (
    "the store does not keep conditional writes (it ignores {header}), so that two writers would lose each other's "
    "rows without a word; use one that does, such as S3, Google Cloud Storage, Azure or SeaweedFS"
)


class ObjectStore:
    """See `Store`. Holds no connection, so that it can travel to other processes and nodes.

    A file that is appended to is a folder of numbered parts, unless it was written whole.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    @property
    def place(self) -> str:
        return self._url

    def read(self, name: str) -> bytes | None:
        whole = self._get(name)
        if whole is not None:
            return whole
        parts = self._under(name)
        return b"".join(map(self._part, parts)) if parts else None

    def write(self, name: str, content: bytes) -> None:
        self._ask(lambda client: client.put(name, content))
        self._delete(self._under(name))

    def append(self, name: str, content: bytes) -> None:
        while True:
            whole = self._version(name)
            if whole is None:
                if self._add_part(name, content):
                    return
            elif self._replaced(name, (self._get(name) or b"") + content, whole):
                return

    def names(self, folder: str) -> list[str]:
        found = self._ask(lambda client: client.list_with_delimiter(folder or None))
        paths = [*found["common_prefixes"], *(entry["path"] for entry in found["objects"])]
        return sorted(path.rpartition("/")[2] for path in paths)

    def remove(self, name: str) -> None:
        self._delete([f"{name}/{MARKER}", name, *self._under(name)])

    def exists(self, name: str) -> bool:
        return self._version(f"{name}/{MARKER}") is not None

    def scratch(self, name: str) -> Path:
        place = hashlib.sha256(joined(self._url, name).encode()).hexdigest()[:16]
        return cache_directory() / "scratch" / f"{name.rpartition('/')[2]}-{place}.partial"

    def publish(self, directory: Path, name: str, keep: bool = False) -> None:
        if not self.exists(name):
            self._upload(directory, name)
        if not keep:
            shutil.rmtree(directory)

    def fetch(self, name: str) -> Path:
        marker = self._get(f"{name}/{MARKER}")
        if marker is None:
            raise DamagedFile(joined(self._url, name), f"its {MARKER} is missing", AGAIN)
        files, folder = _read_marker(marker, joined(self._url, f"{name}/{MARKER}"))

        def download(target: Path) -> None:
            for file, sha256 in files.items():
                self._download(f"{name}/{folder}/{file}", target / file, sha256)

        return filled(cache_directory() / "published" / folder, download)

    def check_usable(self) -> None:
        probe = f"probe-{uuid.uuid4().hex}"
        client = object_store(self._url)
        try:
            first = client.put(probe, b"1", mode="create")
            try:
                problem = _ignored(client, probe, first)
            finally:
                client.delete(probe)
        except (BaseError, OSError) as error:
            raise ConfigError(self._url, [f"the store cannot be used: {plain(error)}"]) from error
        if problem:
            raise ConfigError(self._url, [problem])

    def locked(self) -> AbstractContextManager[None]:
        return Lease(self._url).held()

    def _ask(self, call: Callable[[Client], T]) -> T:
        """
        Raises:
            RunError: the store is away for too long, or refuses.
        """
        try:
            return patiently(self._url, lambda: call(object_store(self._url)))
        except (AlreadyExistsError, PreconditionError):
            raise
        except BaseError as error:
            raise RunError(f"{self._url}: {plain(error)}") from error

    def _get(self, name: str) -> bytes | None:
        try:
            return self._ask(lambda client: bytes(client.get(name).bytes()))
        except FileNotFoundError:
            return None

    def _part(self, name: str) -> bytes:
        content = self._get(name)
        if content is None:
            raise DamagedFile(joined(self._url, name), "it was there, and is not any more", AGAIN)
        return content

    def _version(self, name: str) -> dict[str, Any] | None:
        try:
            return version_of(self._ask(lambda client: client.head(name)))
        except FileNotFoundError:
            return None

    def _under(self, folder: str) -> list[str]:
        entries = self._ask(lambda client: client.list(folder).collect())
        return sorted(entry["path"] for entry in entries)

    def _delete(self, names: list[str]) -> None:
        for name in names:
            with suppress(FileNotFoundError):
                self._ask(lambda client, name=name: client.delete(name))  # type: ignore[misc]

    def _add_part(self, name: str, content: bytes) -> bool:
        """Whether this became the next part; another writer may have been first."""
        number = len(self._under(name)) + 1
        return self._created(f"{name}/{number:06d}", content)

    def _created(self, name: str, content: bytes) -> bool:
        """Whether this is now the content of an object that was not there. The answer to an earlier try may be lost."""
        try:
            self._ask(lambda client: client.put(name, content, mode="create"))
            return True
        except AlreadyExistsError:
            return self._get(name) == content

    def _replaced(self, name: str, content: bytes, version: dict[str, Any]) -> bool:
        try:
            self._ask(lambda client: client.put(name, content, mode=version))  # type: ignore[arg-type]
            return True
        except PreconditionError:
            return self._get(name) == content

    def _upload(self, directory: Path, name: str) -> None:
        """Under a folder of their own content, so that another publisher's files are never touched."""
        files = {path.relative_to(directory).as_posix(): _sha256(path) for path in _files(directory)}
        folder = _folder(files)
        for file in files:
            self._ask(lambda client, file=file: client.put(f"{name}/{folder}/{file}", directory / file))  # type: ignore[misc]
        marker = json.dumps({"folder": folder, "files": files}, indent=2).encode()
        if not self._created(f"{name}/{MARKER}", marker):
            self._delete(self._under(f"{name}/{folder}"))

    def _download(self, name: str, target: Path, sha256: str) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)

        def stream(client: Client) -> None:
            with target.open("wb") as file:
                for chunk in client.get(name):
                    file.write(chunk)

        try:
            self._ask(stream)
        except FileNotFoundError:
            raise DamagedFile(joined(self._url, name), "it is missing", AGAIN) from None
        if _sha256(target) != sha256:
            raise DamagedFile(joined(self._url, name), "its content is not what was published", AGAIN)


def _ignored(client: Client, probe: str, first: Mapping[str, Any]) -> str | None:
    """What is wrong with a store that takes a put whose condition does not hold."""
    try:
        client.put(probe, b"2", mode="create")
        return NO_CONDITIONS.format(header="If-None-Match")
    except AlreadyExistsError:
        pass
    client.put(probe, b"3", mode=version_of(first))  # type: ignore[arg-type]
    try:
        client.put(probe, b"4", mode=version_of(first))  # type: ignore[arg-type]
        return NO_CONDITIONS.format(header="If-Match")
    except PreconditionError:
        return None


def _files(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("*") if path.is_file())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _folder(files: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()[:16]


def _read_marker(content: bytes, place: str) -> tuple[dict[str, str], str]:
    """The files and their folder, whose name is their content's: none is taken from outside the cache."""
    try:
        marker = json.loads(content)
        files, folder = {str(name): str(sha) for name, sha in marker["files"].items()}, str(marker["folder"])
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise DamagedFile(place, f"no marker of a directory ({type(error).__name__})", AGAIN) from error
    if folder != _folder(files) or any(Path(name).is_absolute() or ".." in Path(name).parts for name in files):
        raise DamagedFile(place, "its folder is not that of its files", AGAIN)
    return files, folder

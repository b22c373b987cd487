"""Which store a place is in."""

from functools import lru_cache
from pathlib import Path

from mva_ray.run_dir.local import LocalStore
from mva_ray.run_dir.place import absolute, is_url
from mva_ray.run_dir.store import Directory, Store


def store_at(place: str | Path) -> Store:
    """The store of all that is under a path or a URL.

    Raises:
        ConfigError: a URL that is none of an object store.
    """
    return _store_at(absolute(place))


@lru_cache
def _store_at(place: str) -> Store:
    if not is_url(place):
        return LocalStore(Path(place))
    from mva_ray.run_dir.objects import ObjectStore  # takes a moment, and local runs do without

    return ObjectStore(place)


def directory_at(place: str | Path) -> Directory:
    """The directory that a place names."""
    parent, _, name = absolute(place).rpartition("/")
    return Directory(store_at(parent or "/"), name)

"""What this node keeps of what it has fetched: complete directories, filled once a node."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock


def cache_directory() -> Path:
    """Where models and adapters are kept: $MVA_RAY_CACHE, else mva_ray under $XDG_CACHE_HOME or ~/.cache."""
    default = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "mva_ray"
    return Path(os.environ.get("MVA_RAY_CACHE", default))


def filled(directory: Path, fill: Callable[[Path], None]) -> Path:
    """The directory, after `fill` has written it, unless it is there.

    One process of a node fills it while the others wait. A scratch directory beside it is renamed, so that a kill
    leaves nothing half done.
    """
    if directory.is_dir():
        return directory
    locks = cache_directory() / "locks"
    for folder in (directory.parent, locks):
        folder.mkdir(parents=True, exist_ok=True)
    with FileLock(locks / f"{directory.parent.name}-{directory.name}"):
        if not directory.is_dir():
            with tempfile.TemporaryDirectory(dir=directory.parent) as scratch:
                target = Path(scratch) / "model"
                target.mkdir()
                fill(target)
                target.rename(directory)
    return directory

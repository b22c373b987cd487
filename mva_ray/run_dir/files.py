"""Small files of a run directory: read where they are, replaced in one move."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file in one move, so that a reader (or a kill) never meets half of it; makes its directory."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


@contextmanager
def whole_directory(directory: Path) -> Iterator[Path]:
    """A directory to write into that takes its name at the end, so that nobody meets half of it.

    Raises:
        OSError: there is a directory of that name, with something in it.
    """
    scratch = directory.with_name(f"{directory.name}.partial")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    yield scratch
    publish(scratch, directory)


def publish(finished: Path, directory: Path) -> None:
    """Give a finished directory its name in one move, so that nobody meets half of it.

    Raises:
        OSError: there is a directory of that name, with something in it.
    """
    finished.rename(directory)

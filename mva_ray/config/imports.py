"""Reward functions by `package.module:function`, and near misses of names."""

import importlib
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any

OURS = "mva_ray.rewards:"
"""What begins like that is known to import."""


def import_function(source: str, directory: Path | None = None) -> Callable[..., Any]:
    """Imports `package.module:function`, looking in `directory` and the current directory before anything else.

    Raises:
        ValueError: the module does not import, or has no such function.
    """
    module_name, _, name = source.partition(":")
    with _importing_from([*([directory] if directory else []), Path.cwd()]):
        module = _import_module(module_name)
    if not hasattr(module, name):
        raise ValueError(f"the module {module_name!r} has no {name!r}{did_you_mean(name, vars(module))}")
    function: Callable[..., Any] = getattr(module, name)
    if not callable(function):
        raise ValueError(f"{name!r} in the module {module_name!r} is not a function")
    return function


def _import_module(name: str) -> object:
    importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and error.name and f"{name}.".startswith(f"{error.name}."):
            where = "it is neither installed nor next to the config nor in the current directory"
            raise ValueError(f"there is no module {error.name!r}: {where}") from error
        raise ValueError(f"the module {name!r} does not import: {type(error).__name__}: {error}") from error


@contextmanager
def _importing_from(directories: Sequence[Path]) -> Iterator[None]:
    before = sys.path.copy()
    sys.path[:0] = map(str, directories)
    try:
        yield
    finally:
        sys.path[:] = before


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'margin'?` for a word close to a known one, else nothing."""
    close = get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""

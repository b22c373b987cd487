"""What single entries of a config have to fulfil: pydantic validators, each raising ValueError with what is right.

Validators that look at files or import rewards do so only when a config file is read: its directory is then in
the context. A config made in Python is taken as it is.
"""

import importlib
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import ValidationInfo

from mva_ray.records import RESERVED_COLUMNS

A_MODEL = "a hub id (org/name), a model directory or a .gguf file"
A_DATA_SET = "the id of a data set on the hub (org/name)"
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", re.ASCII)
FUNCTION = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")


def check_value_name(name: str) -> str:
    """Refuses names that would clash with a column of the Pareto table."""
    if name in RESERVED_COLUMNS or name.startswith("w_") or name.endswith("_se"):
        raise ValueError(
            f"{name!r} is taken by the Pareto table (its own columns, coefficients w_... and errors ..._se);"
            " choose another name"
        )
    return name


def check_bounds(bounds: tuple[float, float]) -> tuple[float, float]:
    """Refuses an empty interval."""
    lower, upper = bounds
    if lower >= upper:
        raise ValueError(f"the lower bound {lower:g} must be below the upper bound {upper:g}")
    return bounds


def absolute_path(path: str, info: ValidationInfo) -> str:
    """The path as seen from the directory of the config file."""
    directory = directory_of(info)
    return path if directory is None else str(join(directory, path))


def join(directory: Path, path: str) -> Path:
    """An absolute path; `~` is the home directory."""
    return Path(os.path.abspath(directory / os.path.expanduser(path)))


def directory_of(info: ValidationInfo) -> Path | None:
    """The directory of the config file that is being read, if one is."""
    directory: Path | None = (info.context or {}).get("directory")
    return directory


def check_model(model: str, info: ValidationInfo) -> str:
    """A hub id as it is, the absolute path of a model directory or .gguf file that exists."""
    directory = directory_of(info)
    if directory is None:
        return model
    path = join(directory, model)
    if path.exists() or model.startswith((".", "/", "~")) or model.endswith(".gguf"):
        _check_model_path(path)
        return str(path)
    if not HUB_ID.fullmatch(model):
        raise ValueError(
            f"{model!r} is no hub id (org/name), and there is no such directory or .gguf file next to the config"
        )
    return model


def check_data_set(data_set: str, info: ValidationInfo) -> str:
    """A hub id."""
    if directory_of(info) is not None and not HUB_ID.fullmatch(data_set):
        raise ValueError(f"expected {A_DATA_SET}, got {data_set!r}; a local file is a path")
    return data_set


def _check_model_path(path: Path) -> None:
    if path.suffix == ".gguf":
        if not path.is_file():
            raise ValueError(f"there is no file {path}")
    elif path.is_file():
        raise ValueError(f"{path} is a file; expected {A_MODEL}")
    elif not path.is_dir():
        raise ValueError(f"there is no directory {path}; expected {A_MODEL}")
    elif not (path / "config.json").is_file():
        raise ValueError(f"{path} is no model directory: it has no config.json")


def check_run_directory(path: str, info: ValidationInfo) -> str:
    """The absolute path of a run directory that exists."""
    directory = directory_of(info)
    if directory is None:
        return path
    run = join(directory, path)
    if not (run / "run.json").is_file():
        problem = "it has no run.json" if run.is_dir() else "there is no such directory"
        raise ValueError(f"{run} is no run directory: {problem}")
    return str(run)


def check_function(function: str, info: ValidationInfo) -> str:
    """A reward that can be imported and called."""
    if not FUNCTION.fullmatch(function):
        raise ValueError(f"expected package.module:function, such as mva_ray.rewards:positive, got {function!r}")
    directory = directory_of(info)
    if directory is not None:
        import_function(function, directory)
    return function


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

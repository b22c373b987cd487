"""The types of the config's fields; each description says what would be right, in messages.

Validators raise ValueError with what is right. Those that look at files do so only when a config file is read: its
directory is then in the context. A config made in Python is taken as it is.
"""

import os
import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo

from mva_ray.config.imports import OURS, import_function
from mva_ray.records import RESERVED_COLUMNS
from mva_ray.run_dir.layout import STATE_FILE, RunDirectory
from mva_ray.run_dir.place import absolute, is_url

A_MODEL = "a hub id (org/name), a model directory or a .gguf file"
A_DATA_SET = "the id of a data set on the hub (org/name)"
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", re.ASCII)
FUNCTION = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")


LARGEST_COEFFICIENT, NARROWEST = 100, 0.01


class Section(BaseModel):
    """A part of the config: unknown keys are errors, nothing changes after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def check_value_name(name: str) -> str:
    """Refuses names that would clash with a column of the Pareto table."""
    if name in RESERVED_COLUMNS or name.startswith(("w_", "pseudo_")) or name.endswith("_se"):
        raise ValueError(
            f"{name!r} is taken by the Pareto table (its own columns, coefficients w_..., pseudo-weights pseudo_... and"
            " errors ..._se); choose another name"
        )
    return name


def check_bounds(bounds: tuple[float, float]) -> tuple[float, float]:
    """Refuses an interval that is empty, has no room for two coefficients or holds some that break every model."""
    lower, upper = bounds
    if lower >= upper:
        raise ValueError(f"the lower bound {lower:g} must be below the upper bound {upper:g}")
    if max(-lower, upper) > LARGEST_COEFFICIENT:
        raise ValueError(
            f"[{lower:g}, {upper:g}] goes beyond {LARGEST_COEFFICIENT}: an adapter is trained to be added once, and no "
            "model is left of so many times that"
        )
    if upper - lower < NARROWEST:
        raise ValueError(f"[{lower:g}, {upper:g}] is narrower than {NARROWEST}: coefficients have four decimals")
    return bounds


def at_most(limit: float, why: str) -> AfterValidator:
    """Refuses numbers beyond a limit, and says why there is one."""

    def check(number: float) -> float:
        if number > limit:
            digits = str(number)
            shown = digits if len(digits) <= 24 else f"{digits[:21]}..."
            raise ValueError(f"expected at most {limit:,}, got {shown}: {why}")
        return number

    return AfterValidator(check)


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
    run = absolute(path) if is_url(path) else str(join(directory, path))
    if RunDirectory(run).state.read() is None:
        problem = f"it has no {STATE_FILE}" if is_url(run) or Path(run).is_dir() else "there is no such directory"
        raise ValueError(f"{run} is no run directory: {problem}")
    return run


def check_function(function: str, info: ValidationInfo) -> str:
    """A reward that is written like one; whether it can be imported is tried where that may take for ever."""
    if not FUNCTION.fullmatch(function):
        raise ValueError(f"expected package.module:function, such as mva_ray.rewards:positive, got {function!r}")
    if directory_of(info) is not None and function.startswith(OURS):
        import_function(function)
    return function


A_NAME = "a name of at most 32 lower-case letters, digits and _ that begins with a letter"

A_RUN = "the directory of a run"

A_DATA_FILE = "the path of a JSONL, JSON, CSV or Parquet file"

NAME = r"^[a-z][a-z0-9_]{0,31}$"

Name = Annotated[str, Field(pattern=NAME, description=A_NAME)]
Text = Annotated[str, Field(min_length=1, description="a text")]
MOST_CANDIDATES = at_most(100_000, "each is a model to be evaluated on every search prompt")
MOST_STEPS = at_most(10_000_000, "at milliseconds each that is weeks for one adapter")
MOST_PROCESSES = at_most(10_000, "each is a process of its own")
MOST_TOKENS = at_most(1_000_000, "no model has so many positions")
WHOLE, REAL = at_most(2**31 - 1, "more than 31 bits"), at_most(1e9, "nothing here is that large")

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False, description="a number > 0"), REAL]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False, description="a number >= 0"), REAL]
Index = Annotated[int, Field(ge=0, description="a whole number >= 0"), WHOLE]
Count = Annotated[int, Field(ge=1, description="a whole number >= 1"), WHOLE]
Several = Annotated[int, Field(ge=2, description="a whole number >= 2"), WHOLE]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Interval = Annotated[
    tuple[Finite, Finite],
    Field(strict=False, description="[lower, upper], two numbers"),
    AfterValidator(check_bounds),
]
FilePath = Annotated[str, Field(min_length=1, description=A_DATA_FILE), AfterValidator(absolute_path)]
DataSet = Annotated[str, Field(description=A_DATA_SET), AfterValidator(check_data_set)]
Share = Annotated[float, Field(ge=0, lt=1, description="a number >= 0 and < 1")]
LoraDirectory = Annotated[str, Field(min_length=1, description="a PEFT LoRA directory"), AfterValidator(absolute_path)]
RunPath = Annotated[str, Field(min_length=1, description=A_RUN), AfterValidator(check_run_directory)]
Model = Annotated[str, Field(min_length=1, description=A_MODEL), AfterValidator(check_model)]
Function = Annotated[str, Field(description="package.module:function"), AfterValidator(check_function)]

"""The types of the config's fields; each description says what would be right, in messages."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from mva_ray.config_checks import (
    A_DATA_SET,
    A_MODEL,
    absolute_path,
    check_bounds,
    check_data_set,
    check_function,
    check_model,
    check_run_directory,
)

A_NAME = "a name of at most 32 lower-case letters, digits and _ that begins with a letter"

A_RUN = "the directory of a run"

A_DATA_FILE = "the path of a JSONL, JSON, CSV or Parquet file"

NAME = r"^[a-z][a-z0-9_]{0,31}$"

Name = Annotated[str, Field(pattern=NAME, description=A_NAME)]
Text = Annotated[str, Field(min_length=1, description="a text")]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False, description="a number > 0")]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False, description="a number >= 0")]
Index = Annotated[int, Field(ge=0, description="a whole number >= 0")]
Count = Annotated[int, Field(ge=1, description="a whole number >= 1")]
Several = Annotated[int, Field(ge=2, description="a whole number >= 2")]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Interval = Annotated[
    tuple[Finite, Finite],
    Field(strict=False, description="[lower, upper], two numbers"),
    AfterValidator(check_bounds),
]
FilePath = Annotated[str, Field(min_length=1, description=A_DATA_FILE), AfterValidator(absolute_path)]
DataSet = Annotated[str, Field(description=A_DATA_SET), AfterValidator(check_data_set)]
Share = Annotated[float, Field(ge=0, lt=1, description="a number >= 0 and < 1")]
Probability = Annotated[float, Field(gt=0, lt=1, description="a number > 0 and < 1")]
LoraDirectory = Annotated[str, Field(min_length=1, description="a PEFT LoRA directory"), AfterValidator(absolute_path)]
RunDirectory = Annotated[str, Field(min_length=1, description=A_RUN), AfterValidator(check_run_directory)]
Model = Annotated[str, Field(min_length=1, description=A_MODEL), AfterValidator(check_model)]
Function = Annotated[str, Field(description="package.module:function"), AfterValidator(check_function)]


class Section(BaseModel):
    """A part of the config: unknown keys are errors, nothing changes after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

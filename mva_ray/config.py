"""The configuration: one YAML file, checked whole before anything is computed."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mva_ray.errors import ConfigError

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Interval = Annotated[tuple[float, float], Field(strict=False)]


class Section(BaseModel):
    """A part of the config: unknown keys are errors, nothing changes after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class PromptFile(Section):
    """A JSONL file, one {"prompt": "..."} a line; `count` takes the first lines only."""

    path: str
    count: Count | None = None


class PromptSplits(Section):
    """Train makes pairs, search guides the search, held_out is seen by neither."""

    train: PromptFile
    search: PromptFile
    held_out: PromptFile


class Generation(Section):
    """How candidates answer: greedy, so an evaluation depends on the candidate and the prompt alone."""

    max_new_tokens: Count = 40
    system_prompt: str | None = None
    batch_size: Count = 64


class Sampling(Section):
    """How preference pairs are sampled from the base model."""

    completions_per_prompt: Annotated[int, Field(ge=2)] = 4
    temperature: Positive = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0


class Resources(Section):
    """What one Ray actor reserves."""

    num_cpus: NonNegative = 0.1
    num_gpus: NonNegative = 0.0


class Reward(Section):
    """`function: package.module:function` (TRL's signature) or `model:` (sequence classifier, hub id or directory).

    Higher is better. `label` is the logit used where the classifier has several.
    """

    function: str | None = None
    model: str | None = None
    label: Annotated[int, Field(ge=0)] = 0
    batch_size: Count = 16
    max_length: Count = 512
    resources: Resources = Resources()

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.function is None) == (self.model is None):
            raise ValueError("give exactly one of 'function' (package.module:function) and 'model' (id or directory)")
        return self

    @property
    def source(self) -> str:
        return self.function or self.model or ""


class Value(Section):
    """One human value: its reward, and its preference pairs or the margin to make them with.

    `bounds` are the search interval of its coefficient; the lower one may be negative, the upper above 1.
    """

    name: Name
    reward: Reward
    pairs: str | None = None
    margin: NonNegative = 0.0
    bounds: Interval | None = None


class Lora(Section):
    r: Count = 16
    alpha: Count = 32
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    target_modules: Annotated[list[str], Field(min_length=1)] = ["q_proj", "k_proj", "v_proj", "o_proj"]


class Training(Section):
    """DPO (Rafailov et al. 2023) with the HSIC penalty of MVA (arXiv 2511.17579)."""

    steps: Count = 24
    pairs_per_step: Count = 4
    learning_rate: Positive = 5e-4
    beta: Positive = 0.1
    hsic_weight: NonNegative = 10.0
    max_length: Count = 512
    lora: Lora = Lora()
    num_workers: Count = 1


class Search(Section):
    """NSGA-II (Deb et al. 2002) over the coefficients."""

    candidates: Count = 24
    population: Annotated[int, Field(ge=2)] = 8
    bounds: Interval = (0.0, 1.5)
    convex_partitions: Count = 4
    evaluators: Count = 1
    resources: Resources = Resources(num_cpus=1.0)


class RunConfig(Section):
    """Everything a run depends on. Paths in it are absolute after `load_config`."""

    name: Name
    base_model: str
    seed: Annotated[int, Field(ge=0)] = 0
    prompts: PromptSplits
    generation: Generation = Generation()
    sampling: Sampling = Sampling()
    values: Annotated[list[Value], Field(min_length=2)]
    training: Training = Training()
    search: Search = Search()

    @property
    def value_names(self) -> list[str]:
        return [value.name for value in self.values]

    @property
    def bounds(self) -> list[tuple[float, float]]:
        """Search interval of each value's coefficient, in the order of the values."""
        return [value.bounds or self.search.bounds for value in self.values]

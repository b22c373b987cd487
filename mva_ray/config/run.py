"""The whole config, and the way from a YAML file to it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    ValidationError,
    model_validator,
)

from mva_ray.config.budget import Budget, Prices
from mva_ray.config.compare import Compare
from mva_ray.config.constraints import Constraint, constraint_problems
from mva_ray.config.document import Document, Problem, read_yaml
from mva_ray.config.engine import Engine
from mva_ray.config.fields import Index, Model, Name, Positive, RunPath, Section, at_most, join
from mva_ray.config.generation import GenerationSettings, PromptSplits, Sampling
from mva_ray.config.messages import explain
from mva_ray.config.reward import RewardSettings
from mva_ray.config.search import DIRECTED, Search
from mva_ray.config.training import Training
from mva_ray.config.values import Value
from mva_ray.errors import ConfigError
from mva_ray.records import coefficient_names

MOST_VALUES = 32
A_WEEK = at_most(7 * 86_400, "seconds to wait for resources: a week")


def _few_enough(values: list[Value]) -> list[Value]:
    if len(values) > MOST_VALUES:
        raise ValueError(
            f"expected at most {MOST_VALUES} values, got {len(values)}: every candidate blends an adapter of each, and "
            "between more than a few, nearly every candidate is on the front"
        )
    return values


class RunConfig(Section):
    """Everything a run depends on. Paths in it are absolute after `load_config`.

    `device` is what training workers and evaluators ask for where their `resources` do not say: with `gpu` one each,
    with `auto` one each where the machine has, or the cluster has or may start, GPUs. A run waits `resources_timeout`
    seconds for what it asks for.
    """

    name: Name
    base_model: Model
    seed: Index = 0
    prompts: PromptSplits
    generation: GenerationSettings = GenerationSettings()
    engine: Engine = Engine()
    sampling: Sampling = Sampling()
    values: Annotated[
        list[Value],
        Field(min_length=2, description="a list of at least 2 values, each with name and reward"),
        AfterValidator(_few_enough),
    ]
    training: Training = Training()
    search: Search = Search()
    budget: Budget = Budget()
    prices: Prices | None = None
    compare: Compare = Compare()
    constraints: Annotated[dict[str, Constraint], Field(description="a mapping of names to min and max")] = Field(
        default_factory=dict
    )
    device: Annotated[Literal["auto", "cpu", "gpu"], Field(description="auto, cpu or gpu", exclude=True)] = "auto"
    resources_timeout: Annotated[Positive, A_WEEK, Field(exclude=True)] = 1800.0
    _written_base_model: str | None = None
    warm_start: Annotated[list[RunPath], Field(description="a list of run directories")] = Field(default_factory=list)

    @model_validator(mode="after")
    def _directions(self) -> Self:
        search, n_values = self.search, len(self.values)
        if search.method in DIRECTED and search.generation_size < n_values:
            raise ValueError(
                f"search.method {search.method} needs a population of at least the number of values ({n_values}),"
                f" got {search.generation_size}"
            )
        return self

    @model_validator(mode="after")
    def _one_budget(self) -> Self:
        if self.budget.cost is not None and self.prices is None:
            raise ValueError("budget.cost needs prices: give gpu_hour, cpu_hour or million_tokens")
        planned, limit = self.search.answers, self.budget.answers
        if planned and limit and planned > limit:
            raise ValueError(
                f"search.answers plans for {planned:,} answers, and budget.answers ends the search before as many "
                f"({limit:,}): give search.answers less, with room for samples and the held-out front"
            )
        return self

    @model_validator(mode="after")
    def _gpus_of_the_device(self) -> Self:
        for name, asked in {"training": self.training.resources, "search": self.search.resources}.items():
            said = "num_gpus" in asked.model_fields_set
            if said and ((self.device == "cpu" and asked.num_gpus) or (self.device == "gpu" and not asked.num_gpus)):
                raise ValueError(f"device is {self.device}, but {name}.resources.num_gpus is {asked.num_gpus:g}")
        return self

    @property
    def written_base_model(self) -> str:
        """As the config says it: where a job of a cluster finds the file is no name for it."""
        return self._written_base_model or self.base_model

    @property
    def own_run(self) -> str:
        """Where its run is, unless another place is given; that of its comparison is `own_comparison`."""
        return f"runs/{self.name}"

    @property
    def own_comparison(self) -> str:
        return f"{self.own_run}_compare"

    @property
    def value_names(self) -> list[str]:
        return [value.name for value in self.values]

    @property
    def extra_rewards(self) -> dict[str, RewardSettings]:
        """The rewards that are only constraints, by name."""
        return {name: limit.reward for name, limit in self.constraints.items() if limit.reward}

    @property
    def rewards(self) -> dict[str, RewardSettings]:
        """Every reward of the run by name: those of the values in their order, then those that are only constraints."""
        return {value.name: value.reward for value in self.values} | self.extra_rewards

    @property
    def training_order(self) -> list[Value]:
        """Values that bring an adapter, then the others, each in the order of the config."""
        return sorted(self.values, key=lambda value: value.adapter is None)

    @property
    def trained_values(self) -> list[Value]:
        """The values whose adapter is not brought."""
        return [value for value in self.values if value.adapter is None]

    @property
    def sampled_values(self) -> list[Value]:
        """Those of them whose pairs are made of the base model's own answers to the train prompts."""
        return [value for value in self.trained_values if value.pairs is None]

    @property
    def training_workers(self) -> int:
        """How many train at the same time."""
        return self.training.num_workers if self.training.schedule == "sequential" else len(self.trained_values)

    def frozen_before(self, value: Value) -> list[Value]:
        """The values whose finished adapters are there when this one is trained: it is penalised against them."""
        before = self.training_order[: self.training_order.index(value)]
        return before if self.training.schedule == "sequential" else [other for other in before if other.adapter]

    @property
    def coefficient_names(self) -> dict[str, tuple[str, ...]]:
        """The names of each value's coefficients, in the order of the values."""
        return coefficient_names(self.value_names, self.search.coefficients_per_value)

    @property
    def bounds(self) -> list[tuple[float, float]]:
        """Search interval of each coefficient, in the order of the values, first block first."""
        count = self.search.coefficients_per_value
        return [value.bounds or self.search.bounds for value in self.values for _ in range(count)]


@dataclass(frozen=True)
class Draft:
    """A config file as far as it could be understood: `config` is None if and only if there are problems."""

    path: Path
    document: Document
    config: RunConfig | None
    problems: list[Problem]

    def file_at(self, *location: str | int) -> Path | None:
        """The absolute path that is written at a location, None where there is none."""
        written = self.document.get(*location)
        return join(self.path.parent, written) if isinstance(written, str) and written else None

    def finish(self, more_problems: Sequence[Problem] = ()) -> RunConfig:
        """The config.

        Raises:
            ConfigError: there are problems, of the draft or more; they come in the order of the file.
        """
        problems = sorted([*self.problems, *more_problems], key=lambda problem: problem.line)
        if self.config is None or problems:
            raise ConfigError(str(self.path), [problem.text for problem in problems])
        return self.config


def read_config(path: Path) -> Draft:
    """Reads a config and checks all of it but the content of its data files.

    Raises:
        ConfigError: the file is no YAML mapping.
    """
    document = read_yaml(path)
    problems = [*document.repeated, *_repeated_names(document), *constraint_problems(document)]
    try:
        config = RunConfig.model_validate(document.data, context={"directory": path.absolute().parent})
    except ValidationError as error:
        return Draft(path, document, None, problems + explain(error, RunConfig, document))
    config._written_base_model = document.get("base_model")
    problems += _names_of_coefficients(document, config)
    return Draft(path, document, None if problems else config, problems)


def _repeated_names(document: Document) -> Iterator[Problem]:
    first: dict[str, int] = {}
    values = document.get("values")
    for index in range(len(values) if isinstance(values, list) else 0):
        name = document.get("values", index, "name")
        if isinstance(name, str) and first.setdefault(name, index) != index:
            message = f"values[{first[name]}] is called {name!r} too; give each value its own name"
            yield document.problem(("values", index, "name"), message)


def _names_of_coefficients(document: Document, config: RunConfig) -> Iterator[Problem]:
    owners = {name: value for value, names in config.coefficient_names.items() for name in names}
    for index, name in enumerate(config.value_names):
        if owners.get(name, name) != name:
            message = (
                f"{name!r} is the name of a coefficient of {owners[name]!r}, one for each block; choose another name"
            )
            yield document.problem(("values", index, "name"), message)


def load_config(path: Path) -> RunConfig:
    """Reads a config whose data files need not exist (`mva_ray.checks.check` wants them too).

    Raises:
        ConfigError: with every problem of the file.
    """
    return read_config(path).finish()

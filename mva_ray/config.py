"""The configuration: one YAML file, checked whole before anything is computed."""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    ValidationError,
    model_validator,
)

from mva_ray.config_checks import (
    check_value_name,
    join,
)
from mva_ray.config_compare import Compare
from mva_ray.config_constraints import Constraint, constraint_problems
from mva_ray.config_engine import Engine
from mva_ray.config_messages import explain
from mva_ray.config_reward import Reward
from mva_ray.config_search import DIRECTED, Search
from mva_ray.config_training import Training
from mva_ray.config_types import (
    A_DATA_FILE,
    Count,
    DataSet,
    FilePath,
    Index,
    Interval,
    LoraDirectory,
    Model,
    Name,
    NonNegative,
    Positive,
    RunDirectory,
    Section,
    Several,
    Share,
    Text,
)
from mva_ray.config_yaml import Document, Problem, read_yaml
from mva_ray.errors import ConfigError
from mva_ray.records import coefficient_names


class PromptFile(Section):
    """A JSONL, JSON, CSV or Parquet file with a column `prompt`; `count` takes the first rows only."""

    path: FilePath
    count: Several | None = None


class PromptSplits(Section):
    """Train makes pairs, search guides the search, held_out is seen by neither."""

    train: PromptFile
    search: PromptFile
    held_out: PromptFile


class Generation(Section):
    """How candidates answer: greedy, or sampled among the `top_k` likeliest tokens (0 for all) at a `temperature`.

    Random numbers depend on the run's seed and the prompt, so that candidates differ by what they are, not by luck.
    `batch_size` rows are answered at once; where it is not given, the engine finds what is fast (and fits, on a GPU).
    """

    max_new_tokens: Count = 40
    system_prompt: Text | None = None
    temperature: NonNegative = 0.0
    top_k: Index = 0
    batch_size: Count | None = None

    @model_validator(mode="after")
    def _top_k_of_samples(self) -> Self:
        if self.top_k and not self.temperature:
            raise ValueError("top_k belongs to a temperature above 0; greedy answers take the likeliest token")
        return self


class Sampling(Section):
    """How preference pairs are sampled from the base model: among the `top_k` likeliest tokens, 0 for all."""

    completions_per_prompt: Several = 4
    temperature: Positive = 1.0
    top_k: Index = 50


class PairSource(Section):
    """Preference pairs of a file (`path`) or of a data set on the hub. Formats and options: docs/data.md.

    A text in place of the mapping is the path. `limit` takes the first pairs only; more bad rows than
    `max_bad_share` of all rows are an error, as many or fewer are left out.
    """

    path: FilePath | None = None
    hub: DataSet | None = None
    config: Text | None = None
    data_dir: Text | None = None
    split: Text = "train"
    revision: Text | None = None
    format: Annotated[
        Literal["auto", "pairs", "dialogues", "safe_rlhf", "scores"],
        Field(description="one of auto, pairs, dialogues, safe_rlhf, scores"),
    ] = "auto"
    preference: Annotated[Literal["better", "safer"], Field(description="one of better, safer")] | None = None
    attribute: Text | None = None
    min_difference: NonNegative = 0.0
    limit: Count | None = None
    max_bad_share: Share = 0.0

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, source: Any) -> Any:
        return {"path": source} if isinstance(source, str) else source

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.path is None) == (self.hub is None):
            raise ValueError("give exactly one of 'path' (a file) and 'hub' (a data set, org/name)")
        return self

    @model_validator(mode="after")
    def _options_fit(self) -> Self:
        fitting = {
            **dict.fromkeys(
                ("config", "data_dir", "split", "revision"), (self.hub is not None, "a data set of the hub")
            ),
            "preference": (self.format in ("auto", "safe_rlhf"), "format safe_rlhf"),
            "attribute": (self.format in ("auto", "scores") and not self.preference, "format scores"),
            "min_difference": (self.attribute is not None, "an attribute"),
        }
        for option in sorted(self.model_fields_set & fitting.keys()):
            fits, owner = fitting[option]
            if not fits:
                raise ValueError(f"{option} belongs to {owner}")
        return self

    @property
    def name(self) -> str:
        """The file or the data set, as messages call it."""
        part = (self.config, self.data_dir, self.split)
        return self.path or f"{self.hub} ({', '.join(filter(None, part))})"


class Value(Section):
    """One human value: its reward, and its preference pairs, the margin to make them with, or a finished adapter.

    An `adapter` counts as trained before all others: it is blended as it is, and they are penalised against it.
    `bounds` are the search interval of its coefficient; the lower one may be negative, the upper above 1.
    """

    name: Annotated[Name, AfterValidator(check_value_name)]
    reward: Annotated[Reward, Field(description="package.module:function or a mapping with function or model")]
    pairs: Annotated[PairSource, Field(description=f"{A_DATA_FILE} or a mapping with path or hub")] | None = None
    adapter: LoraDirectory | None = None
    margin: NonNegative = 0.0
    bounds: Interval | None = None

    @model_validator(mode="after")
    def _train_or_bring(self) -> Self:
        given = [key for key in ("pairs", "margin") if key in self.model_fields_set]
        if self.adapter is not None and given:
            raise ValueError(f"{' and '.join(given)} would train an adapter, and 'adapter' brings one: keep one")
        return self


class RunConfig(Section):
    """Everything a run depends on. Paths in it are absolute after `load_config`."""

    name: Name
    base_model: Model
    seed: Index = 0
    prompts: PromptSplits
    generation: Generation = Generation()
    engine: Engine = Engine()
    sampling: Sampling = Sampling()
    values: Annotated[
        list[Value],
        Field(min_length=2, description="a list of at least 2 values, each with name and reward"),
    ]
    training: Training = Training()
    search: Search = Search()
    compare: Compare = Compare()
    constraints: Annotated[dict[str, Constraint], Field(description="a mapping of names to min and max")] = Field(
        default_factory=dict
    )
    warm_start: Annotated[list[RunDirectory], Field(description="a list of run directories")] = Field(
        default_factory=list
    )

    @model_validator(mode="after")
    def _directions(self) -> Self:
        search, n_values = self.search, len(self.values)
        if search.method in DIRECTED and search.generation_size < n_values:
            raise ValueError(
                f"search.method {search.method} needs a population of at least the number of values ({n_values}),"
                f" got {search.generation_size}"
            )
        return self

    @property
    def value_names(self) -> list[str]:
        return [value.name for value in self.values]

    @property
    def extra_rewards(self) -> dict[str, Reward]:
        """The rewards that are only constraints, by name."""
        return {name: limit.reward for name, limit in self.constraints.items() if limit.reward}

    @property
    def rewards(self) -> dict[str, Reward]:
        """Every reward of the run by name: those of the values in their order, then those that are only constraints."""
        return {value.name: value.reward for value in self.values} | self.extra_rewards

    @property
    def training_order(self) -> list[Value]:
        """Values that bring an adapter, then the others, each in the order of the config."""
        return sorted(self.values, key=lambda value: value.adapter is None)

    @property
    def training_workers(self) -> int:
        """How many train at the same time."""
        if self.training.schedule == "sequential":
            return self.training.num_workers
        return sum(value.adapter is None for value in self.values)

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
    """Reads a config whose data files need not exist (`mva_ray.data.check.load_checked_config` wants them too).

    Raises:
        ConfigError: with every problem of the file.
    """
    return read_config(path).finish()


def check_writable(run_dir: Path) -> None:
    """Makes the run directory where it is missing, and writes to it.

    Raises:
        ConfigError: it cannot be made or written.
    """
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=run_dir):
            pass
    except OSError as error:
        existing = next(parent for parent in (run_dir, *run_dir.absolute().parents) if parent.exists())
        problem = f"the run directory cannot be written: {error.strerror} (what exists of it: {existing})"
        raise ConfigError(str(run_dir), [problem]) from error

"""The configuration: one YAML file, checked whole before anything is computed."""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    model_validator,
)

from mva_ray.config_checks import (
    A_DATA_SET,
    A_MODEL,
    absolute_path,
    check_bounds,
    check_data_set,
    check_function,
    check_model,
    check_value_name,
    directory_of,
    join,
)
from mva_ray.config_messages import explain
from mva_ray.config_yaml import Document, Problem, read_yaml
from mva_ray.errors import ConfigError

A_NAME = "a name of at most 32 lower-case letters, digits and _ that begins with a letter"

A_DATA_FILE = "the path of a JSONL, JSON, CSV or Parquet file"

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$", description=A_NAME)]
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
LoraDirectory = Annotated[str, Field(min_length=1, description="a PEFT LoRA directory"), AfterValidator(absolute_path)]
Model = Annotated[str, Field(min_length=1, description=A_MODEL), AfterValidator(check_model)]
Function = Annotated[str, Field(description="package.module:function"), AfterValidator(check_function)]


class Section(BaseModel):
    """A part of the config: unknown keys are errors, nothing changes after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


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
    """How candidates answer: greedy, so an evaluation depends on the candidate and the prompt alone."""

    max_new_tokens: Count = 40
    system_prompt: Text | None = None
    batch_size: Count = 64


class Sampling(Section):
    """How preference pairs are sampled from the base model: among the `top_k` likeliest tokens, 0 for all."""

    completions_per_prompt: Several = 4
    temperature: Positive = 1.0
    top_k: Index = 50


class Resources(Section):
    """What one Ray actor reserves."""

    num_cpus: NonNegative = 0.1
    num_gpus: NonNegative = 0.0


class Reward(Section):
    """`function: package.module:function` (TRL's signature) or `model:` (sequence classifier, hub id or directory).

    Higher is better. `label` is the logit used where the classifier has several. A text in place of the mapping
    is the function.
    """

    function: Function | None = None
    model: Model | None = None
    label: Index = 0
    batch_size: Count = 16
    max_length: Count = 512
    resources: Resources = Resources()
    _directory: Path | None = PrivateAttr(default=None)

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, reward: Any) -> Any:
        return {"function": reward} if isinstance(reward, str) else reward

    @model_validator(mode="after")
    def _keep_directory(self, info: ValidationInfo) -> Self:
        self._directory = directory_of(info)
        return self

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.function is None) == (self.model is None):
            raise ValueError("give exactly one of 'function' (package.module:function) and 'model' (id or directory)")
        return self

    @property
    def source(self) -> str:
        return self.function or self.model or ""

    @property
    def directory(self) -> Path | None:
        """Where the config file is; its reward functions may live next to it."""
        return self._directory


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


class Lora(Section):
    r: Count = 16
    alpha: Count = 32
    dropout: Share = 0.0
    target_modules: Annotated[list[Text], Field(min_length=1, description="a list of module names")] = [
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
    ]


PENALTY_WEIGHTS = {"hsic": 0.003, "paper": 10.0, "orthogonal": 0.5, "none": 0.0}
A_PENALTY = "hsic, paper, orthogonal, none or a mapping with kind and weight"


class Penalty(Section):
    """What keeps an adapter apart from those trained before it; `weight` is the paper's alpha.

    `hsic`: the unbiased estimator with a `linear` or `rbf` kernel (`sigma`: a bandwidth or `median`, the median
    distance of the rows), on the rows of `lora_a` or on `rows` rows of the whole `delta` (with a linear kernel, all of
    them); `normalised`, it is CKA. `paper`: MVA's (arXiv 2511.17579) as its authors compute it. `orthogonal`:
    O-LoRA's (arXiv 2310.14152). The weight rises from 0 over `ramp_steps`. A text in place of the mapping is the kind.
    """

    kind: Annotated[
        Literal["hsic", "paper", "orthogonal", "none"], Field(description="hsic, paper, orthogonal or none")
    ] = "hsic"
    weight: NonNegative = PENALTY_WEIGHTS["hsic"]
    ramp_steps: Index = 0
    kernel: Annotated[Literal["linear", "rbf"], Field(description="linear or rbf")] = "linear"
    sigma: Annotated[Positive | Literal["median"], Field(description="a number > 0 or median")] = "median"
    normalised: Annotated[bool, Field(description="true or false")] = True
    on: Annotated[Literal["lora_a", "delta"], Field(description="lora_a or delta")] = "delta"
    rows: Annotated[int, Field(ge=4, description="a whole number >= 4")] = 256

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, penalty: Any) -> Any:
        if isinstance(penalty, str):
            penalty = {"kind": penalty}
        if not isinstance(penalty, dict) or "weight" in penalty:
            return penalty
        if penalty.get("normalised") is False:
            raise ValueError("weight is missing: HSIC that is not normalised depends on the model's scale")
        weight = PENALTY_WEIGHTS.get(str(penalty.get("kind", "hsic")))
        return penalty if weight is None else penalty | {"weight": weight}

    @model_validator(mode="after")
    def _no_idle_settings(self) -> Self:
        used = {"kind", "weight", "ramp_steps"}
        if self.kind == "hsic":
            used |= {"kernel", "normalised", "on"} | ({"sigma"} if self.kernel == "rbf" else set())
            used |= {"rows"} if (self.kernel, self.on) == ("rbf", "delta") else set()
        fields = type(self).model_fields
        idle = [name for name in fields if name not in used and getattr(self, name) != fields[name].default]
        if idle:
            what = f"hsic with kernel {self.kernel} on {self.on}" if self.kind == "hsic" else self.kind
            raise ValueError(f"{' and '.join(idle)} would have no effect on {what}: leave it out")
        return self


class Training(Section):
    """DPO (Rafailov et al. 2023) with the decorrelation penalty of MVA (arXiv 2511.17579).

    The length is a number of optimiser steps, the same for every value, or of `epochs` over each value's pairs.
    `schedule`: `sequential` trains one value after the other, each on `num_workers`, against those before it;
    `concurrent` trains all at once, one worker each, every one against all others as they were at most `max_staleness`
    steps ago. Every `checkpoint_steps` steps, what a killed training needs to go on is stored.
    """

    steps: Count = 24
    epochs: Positive | None = None
    pairs_per_step: Count = 4
    learning_rate: Positive = 5e-4
    beta: Positive = 0.1
    penalty: Annotated[Penalty, Field(description=A_PENALTY)] = Penalty()
    max_length: Count = 512
    lora: Lora = Lora()
    num_workers: Count = 1
    checkpoint_steps: Count = 10
    schedule: Annotated[Literal["sequential", "concurrent"], Field(description="sequential or concurrent")] = (
        "sequential"
    )
    max_staleness: Index = 0

    @model_validator(mode="after")
    def _all_alike_where_concurrent(self) -> Self:
        if self.schedule == "concurrent" and self.num_workers > 1:
            raise ValueError(
                f"num_workers is {self.num_workers}, but schedule: concurrent gives every value one worker;"
                " leave num_workers out"
            )
        if self.schedule == "concurrent" and self.epochs is not None:
            raise ValueError(
                "schedule: concurrent trains all values for the same number of steps; give steps in place of epochs"
            )
        return self

    @model_validator(mode="after")
    def _enough_rows(self) -> Self:
        if (self.penalty.kind, self.penalty.on) == ("hsic", "lora_a") and self.lora.r < 4:
            raise ValueError(f"lora.r ({self.lora.r}) must be at least 4 for HSIC on lora_a: its rows are the samples")
        return self

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if self.epochs is not None and "steps" in self.model_fields_set:
            raise ValueError("give 'steps' (optimiser steps) or 'epochs' (passes over a value's pairs), not both")
        return self

    def for_pairs(self, count: int) -> "Training":
        """The training of a value that has so many pairs: `epochs` as steps."""
        if self.epochs is None:
            return self
        steps = max(1, round(self.epochs * count / self.pairs_per_step))
        return self.model_copy(update={"steps": steps, "epochs": None})


class Search(Section):
    """NSGA-II (Deb et al. 2002) over the coefficients."""

    candidates: Count = 24
    population: Several = 8
    bounds: Interval = (0.0, 1.5)
    convex_partitions: Count = 4
    evaluators: Count = 1
    resources: Resources = Resources(num_cpus=1.0)

    @model_validator(mode="after")
    def _whole_generation(self) -> Self:
        if self.candidates < self.population:
            raise ValueError(f"candidates ({self.candidates}) must be at least population ({self.population})")
        return self


class JudgeSettings(Section):
    """Where the judge is. The key itself is never in the config: `api_key_env` names what holds it."""

    base_url: Annotated[str, Field(pattern=r"^https?://\S+$", description="such as https://host/v1")]
    model: Text
    api_key_env: Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$", description="an environment variable")] | None = None
    concurrency: Count = 4
    timeout: Positive = 60.0
    attempts: Count = 5
    request: dict[str, Any] = Field(default_factory=lambda: {"temperature": 0})
    """More fields of the request's body, such as max_tokens."""


MethodName = Literal[
    "mva",
    "mva_paper",
    "mva_orthogonal",
    "mva_no_hsic",
    "mva_no_extrapolation",
    "soup",
    "vc_soup",
    "dpo_lw",
    "dpo_seqt",
    "modpo",
]


class Compare(Section):
    """What `mva-ray compare` runs: methods x seeds.

    `candidates` is every blending method's budget on the search prompts; DPO-LW and MODPO train one model for each
    point of a simplex lattice of `weight_partitions`. VC-Soup keeps pairs of at least `consistency`. `alphas` are
    more weights of the penalty to train with.
    """

    seeds: Annotated[list[Index], Field(min_length=1, description="a list of whole numbers >= 0")] = [0, 1, 2]
    methods: Annotated[
        list[Annotated[MethodName, Field(description=", ".join(get_args(MethodName)))]],
        Field(min_length=1, description="a list of methods"),
    ] = list(get_args(MethodName))
    candidates: Several = 12
    weight_partitions: Several = 4
    consistency: Annotated[float, Field(ge=-1, le=1, description="a number from -1 to 1")] = 0.0
    alphas: list[NonNegative] = []
    judge: JudgeSettings | None = None


class RunConfig(Section):
    """Everything a run depends on. Paths in it are absolute after `load_config`."""

    name: Name
    base_model: Model
    seed: Index = 0
    prompts: PromptSplits
    generation: Generation = Generation()
    sampling: Sampling = Sampling()
    values: Annotated[
        list[Value],
        Field(min_length=2, description="a list of at least 2 values, each with name and reward"),
    ]
    training: Training = Training()
    search: Search = Search()
    compare: Compare = Compare()

    @property
    def value_names(self) -> list[str]:
        return [value.name for value in self.values]

    @property
    def training_order(self) -> list[Value]:
        """Values that bring an adapter, then the others, each in the order of the config."""
        return sorted(self.values, key=lambda value: value.adapter is None)

    def frozen_before(self, value: Value) -> list[Value]:
        """The values whose finished adapters are there when this one is trained: it is penalised against them."""
        before = self.training_order[: self.training_order.index(value)]
        return before if self.training.schedule == "sequential" else [other for other in before if other.adapter]

    @property
    def bounds(self) -> list[tuple[float, float]]:
        """Search interval of each value's coefficient, in the order of the values."""
        return [value.bounds or self.search.bounds for value in self.values]


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
    problems = [*document.repeated, *_repeated_names(document)]
    try:
        config = RunConfig.model_validate(document.data, context={"directory": path.absolute().parent})
    except ValidationError as error:
        return Draft(path, document, None, problems + explain(error, RunConfig, document))
    return Draft(path, document, None if problems else config, problems)


def _repeated_names(document: Document) -> Iterator[Problem]:
    first: dict[str, int] = {}
    values = document.get("values")
    for index in range(len(values) if isinstance(values, list) else 0):
        name = document.get("values", index, "name")
        if isinstance(name, str) and first.setdefault(name, index) != index:
            message = f"values[{first[name]}] is called {name!r} too; give each value its own name"
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

"""The records that travel between the stages: immutable and plain."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from typing import Any

JUDGING = ("search", "held_out")
"""The splits that candidates are evaluated on, and whose prompts no adapter may have been trained on."""
SPLITS = ("train", *JUDGING)
DECIMALS = 4

ENGINE_METRICS = ("base_nll",)
"""What only our own engine measures of a completion, where a constraint asks for it (`evaluation/local.py`)."""

METRICS = ("tokens", "truncated", "repetition", "distinct", *ENGINE_METRICS)
"""What is recorded of every candidate besides its rewards; `evaluation/metrics.py` defines them."""


@dataclass(frozen=True)
class Spent:
    """What something has cost: answers that were generated for it, their tokens, and seconds of GPUs and of CPUs.

    Of a phase of a run, GPUs and CPUs are those reserved, as long as they were. Of a candidate, they are its share of
    the evaluators' work: each pass of an engine counts for all of its rows alike.
    """

    answers: float = 0
    tokens: float = 0
    gpu_seconds: float = 0.0
    cpu_seconds: float = 0.0

    def __add__(self, other: "Spent") -> "Spent":
        return Spent(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))

    def times(self, factor: float) -> "Spent":
        return Spent(*(factor * getattr(self, each.name) for each in fields(self)))


NOTHING_SPENT = Spent()

SPENT_COLUMNS = tuple(f"spent_{each.name}" for each in fields(Spent))
"""Of `ParetoTable.frame`."""

RESERVED_COLUMNS = frozenset(
    {
        *METRICS,
        "candidate",
        "split",
        "kind",
        "on_front",
        "knee",
        "feasible",
        "status",
        "n_prompts",
        "seconds",
        *SPENT_COLUMNS,
        "failure",
        "error",
        "violation",
        "base_model",
        "seed",
        "created_at",
        "score",
        "preset",
        "run",
        "joint_front",
    }
)
"""Columns of `ParetoTable.frame` and of the CLI that are not a value's: no value may have one of these names."""

Turn = tuple[str, str]
"""Who speaks ("system", "user" or "assistant") and what is said."""

Prompt = str | tuple[Turn, ...]
"""One message of a user, or the turns of a dialogue up to the answer."""

Coefficients = tuple[float, ...]
"""One number a value, or one a value and block of layers, in the order of the config."""

CoefficientNames = Mapping[str, tuple[str, ...]]
"""Value -> the names of its coefficients: its own, or one for each block of layers."""


def coefficient_names(values: Sequence[str], blocks: int = 1) -> dict[str, tuple[str, ...]]:
    """`brief` where there is one block, else `brief_block1`, `brief_block2`, ..., from the first layers to the last."""
    return {
        value: tuple(f"{value}_block{index + 1}" for index in range(blocks)) if blocks > 1 else (value,)
        for value in values
    }


def in_order(numbers: Mapping[str, float], names: Iterable[str]) -> tuple[float, ...]:
    """The number of each name, in the order of the names: a mapping's own order is whatever its writer had."""
    return tuple(numbers[name] for name in names)


def rounded(coefficients: Iterable[float]) -> Coefficients:
    """Coefficients as candidates carry them everywhere: four decimals, no negative zero."""
    return tuple(round(float(number), DECIMALS) + 0.0 for number in coefficients)


@dataclass(frozen=True)
class Outcome:
    """What a search is told of a candidate: mean rewards (higher is better), their standard errors, and constraints.

    `rewards` and `errors` have one number a value; `rewards` is None where the candidate failed. `constraints` are
    numbers g that are satisfied where g <= 0. `answers` are the rewards of each prompt that it answered, by the
    prompt's place in the split, one number a value; empty where only the means are known.
    """

    coefficients: Coefficients
    rewards: tuple[float, ...] | None
    errors: tuple[float, ...] = ()
    constraints: tuple[float, ...] = ()
    answers: Mapping[int, tuple[float, ...]] = field(default_factory=dict)

    @property
    def is_feasible(self) -> bool:
        """Whether it has rewards and keeps all constraints."""
        return self.rewards is not None and all(number <= 0 for number in self.constraints)


@dataclass(frozen=True)
class Proposal:
    """A candidate to evaluate, on the prompts at these places of the split; None stands for all of them."""

    coefficients: Coefficients
    prompts: tuple[int, ...] | None = None


@dataclass(frozen=True)
class PreferencePair:
    """Two completions of one prompt, `chosen` preferred.

    `*_finished` is False where the completion was cut off by the token limit, so that training does not
    teach the model to stop there. `*_ids` are those of the `Generation` it was; None for pairs that came with the data.
    So are rewards, unless the data was scored. `weight` scales the pair's loss (DPO-LW), `margin` is how far ahead
    `chosen` must be beyond a tie, in nats (MODPO).
    """

    prompt: Prompt
    chosen: str
    rejected: str
    chosen_finished: bool = True
    rejected_finished: bool = True
    chosen_reward: float | None = None
    rejected_reward: float | None = None
    weight: float = 1.0
    margin: float = 0.0
    chosen_ids: tuple[int, ...] | None = None
    rejected_ids: tuple[int, ...] | None = None

    def content(self) -> dict[str, Any]:
        """What it consists of, as JSON has it; ids that are not known are left out, so that no hash changes by them."""
        fields = asdict(self)
        return {name: field for name, field in fields.items() if field is not None or not name.endswith("_ids")}


@dataclass(frozen=True)
class AdapterRef:
    """A trained value adapter: the path or URL of a PEFT directory, and the SHA-256 of what it adds to the base model.

    Where `block` is (index, number of blocks), only its modules in that block of layers: `value` is then the name of
    their coefficient, and the hash is theirs.
    """

    value: str
    path: str
    sha256: str
    block: tuple[int, int] | None = None


@dataclass(frozen=True)
class Generation:
    """One completion of one prompt by one candidate.

    `ids` are the tokens that the model said, its end token included unless the limit cut it off (`truncated`): they are
    what is scored and trained. None where they are not known, as in tables and samples of earlier versions.
    `completion` is their text for readers and rewards, without special tokens and outer whitespace. `tokens` counts
    them without the end token. `seconds` is its share of the work of the engine that has just generated it; it is not
    kept with it.
    """

    prompt: str
    completion: str
    tokens: int
    truncated: bool
    ids: tuple[int, ...] | None = None
    seconds: float = field(default=0.0, compare=False)

    def content(self) -> dict[str, Any]:
        """What is kept of it."""
        return {name: part for name, part in asdict(self).items() if name != "seconds"}


@dataclass(frozen=True)
class ScoredGeneration:
    """A generation with one reward a value (higher is better).

    `metrics` holds what its text alone does not tell: `base_nll`, and rewards that are only constraints.
    """

    generation: Generation
    rewards: dict[str, float]
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Evaluation:
    """One row of the Pareto table: a candidate on a prompt split. Schema: docs/table.md.

    `status` is "ok", "failed", or "partial" where the search asked for some of the split's prompts alone: means and
    errors are then over these `n_prompts`. `reward_mean`, `reward_se` and `metrics` (means over the prompts) are empty
    where it failed; `error` says why. `context` hashes all that makes rewards comparable (base
    model, adapters, rewards, generation settings), `generator` what makes answers so (base model and generation
    settings; "" in tables of earlier versions), `prompts_hash` the prompts of the split. `rewards` names the version
    of every reward: those of the values, and those that are only constraints. `spent` is what this row has cost,
    without answers that were known: nothing where an earlier version wrote it.
    """

    candidate: str
    context: str
    split: str
    prompts_hash: str
    coefficients: dict[str, float]
    status: str
    reward_mean: dict[str, float]
    reward_se: dict[str, float]
    n_prompts: int
    metrics: dict[str, float]
    base_model: str
    generator: str
    adapters: dict[str, str]
    rewards: dict[str, str]
    seed: int
    seconds: float
    created_at: datetime
    failure: str | None = None
    error: str | None = None
    spent: Spent = NOTHING_SPENT
    generations: tuple[ScoredGeneration, ...] = ()

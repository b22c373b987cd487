"""The records that travel between the stages: immutable and plain."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

SPLITS = ("train", "search", "held_out")
DECIMALS = 4

RESERVED_COLUMNS = frozenset(
    {
        "candidate",
        "split",
        "kind",
        "on_front",
        "status",
        "n_prompts",
        "mean_tokens",
        "truncated_share",
        "seconds",
        "failure",
        "error",
        "base_model",
        "seed",
        "created_at",
        "score",
    }
)
"""Columns of `ParetoTable.frame` and of the CLI that are not a value's: no value may have one of these names."""

Turn = tuple[str, str]
"""Who speaks ("system", "user" or "assistant") and what is said."""

Prompt = str | tuple[Turn, ...]
"""One message of a user, or the turns of a dialogue up to the answer."""

Coefficients = tuple[float, ...]
"""One number a value, in the order of the config."""


def rounded(coefficients: Iterable[float]) -> Coefficients:
    """Coefficients as candidates carry them everywhere: four decimals, no negative zero."""
    return tuple(round(float(number), DECIMALS) + 0.0 for number in coefficients)


@dataclass(frozen=True)
class Outcome:
    """What a search is told of a candidate: mean rewards (higher is better), their standard errors, and constraints.

    `rewards` and `errors` have one number a value; `rewards` is None where the candidate failed. `constraints` are
    numbers g that are satisfied where g <= 0.
    """

    coefficients: Coefficients
    rewards: tuple[float, ...] | None
    errors: tuple[float, ...] = ()
    constraints: tuple[float, ...] = ()


@dataclass(frozen=True)
class PreferencePair:
    """Two completions of one prompt, `chosen` preferred.

    `*_finished` is False where the completion was cut off by the token limit, so that training does not
    teach the model to stop there. Rewards are None for pairs that came with the data, unless it was scored. `weight`
    scales the pair's loss (DPO-LW), `margin` is how far ahead `chosen` must be beyond a tie, in nats (MODPO).
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


@dataclass(frozen=True)
class AdapterRef:
    """A trained value adapter: a plain PEFT directory and the SHA-256 of its weights."""

    value: str
    path: str
    sha256: str


@dataclass(frozen=True)
class Generation:
    """One completion of one prompt by one candidate; `tokens` counts the completion without its end token."""

    prompt: str
    completion: str
    tokens: int
    truncated: bool


@dataclass(frozen=True)
class ScoredGeneration:
    """A generation with one reward a value (higher is better)."""

    generation: Generation
    rewards: dict[str, float]


@dataclass(frozen=True)
class Evaluation:
    """One row of the Pareto table: a candidate on a prompt split. Schema: docs/table.md.

    `reward_mean` and `reward_se` are empty where `status` is "failed"; `failure` and `error` are None where
    it is "ok". `context` hashes all that makes rewards comparable (base model, adapters, rewards, generation
    settings); `prompts_hash` the prompts of the split.
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
    mean_tokens: float | None
    truncated_share: float | None
    base_model: str
    adapters: dict[str, str]
    rewards: dict[str, str]
    seed: int
    seconds: float
    created_at: datetime
    failure: str | None = None
    error: str | None = None
    generations: tuple[ScoredGeneration, ...] = ()

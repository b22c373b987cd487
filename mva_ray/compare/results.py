"""What a comparison found, as plain records: everything that its report shows, and nothing else."""

import gzip
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, model_validator

from mva_ray.errors import ConfigError
from mva_ray.run_dir.store import File

Rewards = dict[str, list[FiniteFloat]]
"""One number a held-out prompt for every value, in the order of the prompts; higher is better."""

NO_PENALTY = "none"
"""The penalty form of plain DPO."""


class Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Candidate(Record):
    """One model of a method, by its coefficients (blended) or preference weights (trained for them).

    `search_means` are its mean rewards on the search split, by which a user would choose it; `completions` are
    its answers to the held-out prompts, which a judge needs, and `cut_off` is the share of them that the token limit
    ended; None where a comparison did not keep it.
    """

    label: str
    coefficients: dict[str, FiniteFloat] = {}
    preference: dict[str, FiniteFloat] = {}
    rewards: Rewards
    search_means: dict[str, FiniteFloat] = {}
    completions: list[str] = []
    cut_off: FiniteFloat | None = None


class MethodResult(Record):
    """One method with one seed. `title` and `description` are for people and the same for all its seeds.

    `searched` has the mean rewards on the search prompts of all that was evaluated there; results of earlier versions
    have it not. A `yardstick` trains nothing and makes no model.
    """

    name: str
    title: str
    description: str
    seed: int
    candidates: list[Candidate]
    failures: list[str] = []
    training_seconds: float = 0.0
    evaluations: int = 0
    searched: list[dict[str, FiniteFloat]] = []
    yardstick: bool = False


class SingleResult(Record):
    """One value's adapter alone (coefficient 1), trained with one form of the penalty."""

    penalty: str
    value: str
    seed: int
    rewards: Rewards


class ModuleInterference(Record):
    """What two adapters' deltas of one module share; `type` such as q_proj."""

    module: str
    layer: int
    type: str
    cosine: FiniteFloat
    cka: FiniteFloat


class AdapterInterference(Record):
    """Two values' adapters, trained with one form of the penalty and one seed."""

    penalty: str
    seed: int
    first: str
    second: str
    modules: list[ModuleInterference]


class AlphaResult(Record):
    """Training with one weight of the penalty: mean interference over modules and pairs, and what it did to rewards.

    `own` holds, for each value, the rewards of its own adapter on that value. `candidates` are for the
    hypervolume and may be empty.
    """

    penalty: str
    alpha: FiniteFloat
    seed: int
    cosine: FiniteFloat
    cka: FiniteFloat
    own: Rewards
    candidates: list[Candidate] = []


class JudgedPair(Record):
    """How often each of two methods' answers won. Contradictions are among the ties, missing answers nowhere else."""

    first: str
    second: str
    seed: int
    first_wins: int
    second_wins: int
    ties: int
    contradictions: int
    missing: int


class JudgeResult(Record):
    model: str
    preference: dict[str, FiniteFloat]
    pairs: list[JudgedPair]


class ComparisonResult(Record):
    """A whole comparison.

    Attributes:
        command: the exact command that made it.
        values: in the order of the config, two or more.
        prompts: the held-out prompts; every list of rewards is in their order.
        subject: the name of the method whose case is argued.
        baselines: the names of the methods that every other one is compared with, pair by pair.
        preferences: the preference weights that win rates are shown for; none: all values alike.
        box: reference point and ideal of each value, where the config fixes them.
        base: the base model's rewards.
    """

    name: str
    base_model: str
    command: str
    values: list[str] = Field(min_length=2)
    seeds: list[int] = Field(min_length=1)
    prompts: list[str] = Field(min_length=1)
    prompts_hash: str
    subject: str = "mva"
    baselines: list[str] = ["soup"]
    preferences: list[dict[str, FiniteFloat]] = []
    box: dict[str, tuple[FiniteFloat, FiniteFloat]] | None = None
    base: Rewards
    methods: list[MethodResult]
    singles: list[SingleResult] = []
    interference: list[AdapterInterference] = []
    alphas: list[AlphaResult] = []
    judge: JudgeResult | None = None

    @model_validator(mode="after")
    def _rewards_fit(self) -> Self:
        problems = [
            f"{where}: rewards need exactly the values {', '.join(self.values)} with {len(self.prompts)} numbers each"
            for where, rewards in self._all_rewards()
            if set(rewards) != set(self.values) or any(len(row) != len(self.prompts) for row in rewards.values())
        ]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _all_rewards(self) -> Iterator[tuple[str, Mapping[str, list[float]]]]:
        yield "base", self.base
        for run in self.methods:
            yield from ((f"{run.name}, seed {run.seed}, {each.label}", each.rewards) for each in run.candidates)
        for single in self.singles:
            yield f"{single.value} alone ({single.penalty}), seed {single.seed}", single.rewards
        for alpha in self.alphas:
            where = f"{alpha.penalty}, alpha {alpha.alpha:g}, seed {alpha.seed}"
            yield from chain([(where, alpha.own)], ((f"{where}, {c.label}", c.rewards) for c in alpha.candidates))

    @property
    def candidates(self) -> list[Candidate]:
        """Of all methods and seeds."""
        return [candidate for run in self.methods for candidate in run.candidates]

    @property
    def titles(self) -> dict[str, str]:
        """The methods' names and titles, in the order they came."""
        return {run.name: run.title for run in self.methods}

    def run(self, method: str, seed: int) -> MethodResult | None:
        """A method with a seed, None where it is missing or has no candidates."""
        found = (run for run in self.methods if (run.name, run.seed) == (method, seed) and run.candidates)
        return next(found, None)


def write_result(result: ComparisonResult, file: File) -> None:
    """Replace a JSON file, gzip-compressed where its name ends in .gz (the same bytes for the same result)."""
    text = result.model_dump_json().encode()
    file.write(gzip.compress(text, mtime=0) if file.name.endswith(".gz") else text)


def read_result(path: Path) -> ComparisonResult:
    """Read what `write_result` wrote.

    Raises:
        ConfigError: where there is no such file or it holds something else.
    """
    try:
        content = path.read_bytes()
        return ComparisonResult.model_validate_json(gzip.decompress(content) if path.suffix == ".gz" else content)
    except (OSError, EOFError) as error:
        raise ConfigError(str(path), [f"no comparison result can be read: {error}"]) from None
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, one['loc'])) or 'result'}: {one['msg']}" for one in error.errors()]
        raise ConfigError(str(path), problems) from None

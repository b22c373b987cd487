"""From generations and rewards to one `Evaluation`: the plain arithmetic, and what a failure becomes."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import sqrt
from statistics import fmean, stdev
from typing import Any

from mva_ray.constraints import Limits
from mva_ray.errors import CandidateFailure
from mva_ray.evaluation.metrics import text_metrics
from mva_ray.records import (
    ENGINE_METRICS,
    NOTHING_SPENT,
    Evaluation,
    Generation,
    ScoredGeneration,
    Spent,
    in_order,
    rounded,
)


@dataclass(frozen=True)
class EvaluationSetting:
    """What all candidates of one split share; coefficients are in the order of `adapters`, one each.

    `generator` names base model and generation settings; answers of the same one may be used again ("" names none).
    """

    context: str
    split: str
    prompts: tuple[str, ...]
    values: tuple[str, ...]
    base_model: str
    adapters: Mapping[str, str]
    rewards: Mapping[str, str]
    seed: int
    generator: str = ""
    constraints: Limits = field(default_factory=dict)

    @property
    def extra_rewards(self) -> dict[str, str]:
        """Name and version of the rewards that are only constraints."""
        return {name: limit.reward for name, limit in self.constraints.items() if limit.reward is not None}

    @property
    def engine_metrics(self) -> list[str]:
        """The metrics that the engine has to measure, since a constraint is on them."""
        return [name for name in ENGINE_METRICS if name in self.constraints]

    @property
    def prompts_hash(self) -> str:
        return hash_prompts(self.prompts)


def hash_prompts(prompts: Sequence[str]) -> str:
    """Names the prompts of a split in the table: other prompts, other evaluations."""
    return hashlib.sha256(json.dumps(prompts).encode()).hexdigest()[:16]


def candidate_id(adapters: Sequence[str], coefficients: Sequence[float]) -> str:
    """A short name for one w: the same coefficients have the same id in every run of the same values."""
    text = json.dumps([list(adapters), list(rounded(coefficients))])
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def succeeded(
    setting: EvaluationSetting,
    coefficients: Sequence[float],
    generations: Sequence[Generation],
    rewards: Mapping[str, Sequence[float]],
    seconds: float,
    metrics: Mapping[str, Sequence[float]] | None = None,
    spent: Spent = NOTHING_SPENT,
) -> Evaluation:
    """The mean reward of each value over the prompts, its standard error s / sqrt(n) (0 for one prompt), mean metrics.

    Args:
        generations: of all prompts of the split, or of some where the evaluation is partial.
        rewards: value -> one number a generation.
        metrics: what the texts alone do not tell, such as base_nll -> one number a generation.
    """
    measured = metrics or {}
    scored = tuple(
        ScoredGeneration(
            generation,
            {value: rewards[value][index] for value in setting.values},
            {name: numbers[index] for name, numbers in measured.items()},
        )
        for index, generation in enumerate(generations)
    )
    every = [text_metrics(row.generation) | row.metrics for row in scored]
    return Evaluation(
        **_shared(setting, coefficients, seconds, spent),
        status="ok" if len(generations) == len(setting.prompts) else "partial",
        reward_mean={value: fmean(rewards[value]) for value in setting.values},
        reward_se={value: _standard_error(rewards[value]) for value in setting.values},
        n_prompts=len(generations),
        metrics={name: fmean(row[name] for row in every) for name in every[0]},
        generations=scored,
    )


def on_prompts(setting: EvaluationSetting, evaluation: Evaluation, prompts: Sequence[str]) -> Evaluation | None:
    """What a row says of these prompts alone, as if no others had been asked; None where it did not answer them all."""
    answered = {row.generation.prompt: row for row in evaluation.generations}
    if any(prompt not in answered for prompt in prompts):
        return None
    rows = [answered[prompt] for prompt in prompts]
    return succeeded(
        setting,
        in_order(evaluation.coefficients, setting.adapters),
        [row.generation for row in rows],
        {value: [row.rewards[value] for row in rows] for value in setting.values},
        evaluation.seconds,
        {name: [row.metrics[name] for row in rows] for name in rows[0].metrics},
    )


def failed(
    setting: EvaluationSetting,
    coefficients: Sequence[float],
    failure: CandidateFailure,
    seconds: float,
    spent: Spent = NOTHING_SPENT,
) -> Evaluation:
    """A typed failure of one candidate: a row of its own, without rewards."""
    return Evaluation(
        **_shared(setting, coefficients, seconds, spent),
        status="failed",
        reward_mean={},
        reward_se={},
        n_prompts=len(setting.prompts),
        metrics={},
        failure=failure.kind,
        error=failure.message,
    )


def _shared(setting: EvaluationSetting, coefficients: Sequence[float], seconds: float, spent: Spent) -> dict[str, Any]:
    return {
        "candidate": candidate_id(tuple(setting.adapters), coefficients),
        "context": setting.context,
        "split": setting.split,
        "prompts_hash": setting.prompts_hash,
        "coefficients": dict(zip(setting.adapters, rounded(coefficients), strict=True)),
        "base_model": setting.base_model,
        "generator": setting.generator,
        "adapters": dict(setting.adapters),
        "rewards": {**setting.rewards, **setting.extra_rewards},
        "seed": setting.seed,
        "seconds": seconds,
        "spent": spent,
        "created_at": datetime.now(UTC),
    }


def _standard_error(rewards: Sequence[float]) -> float:
    return stdev(rewards) / sqrt(len(rewards)) if len(rewards) > 1 else 0.0

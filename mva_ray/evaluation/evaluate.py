"""From generations and rewards to one `Evaluation`: the plain arithmetic, and what a failure becomes."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import sqrt
from statistics import fmean, stdev
from typing import Any

from mva_ray.errors import CandidateFailure
from mva_ray.records import Evaluation, Generation, ScoredGeneration, rounded


@dataclass(frozen=True)
class EvaluationSetting:
    """What all candidates of one split share; coefficients are in the order of `adapters`, one each."""

    context: str
    split: str
    prompts: tuple[str, ...]
    values: tuple[str, ...]
    base_model: str
    adapters: Mapping[str, str]
    rewards: Mapping[str, str]
    seed: int

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
) -> Evaluation:
    """The mean reward of each value over the prompts, and its standard error s / sqrt(n) (0 for one prompt)."""
    scored = tuple(
        ScoredGeneration(generation, {value: rewards[value][index] for value in setting.values})
        for index, generation in enumerate(generations)
    )
    return Evaluation(
        **_shared(setting, coefficients, seconds),
        status="ok",
        reward_mean={value: fmean(rewards[value]) for value in setting.values},
        reward_se={value: _standard_error(rewards[value]) for value in setting.values},
        mean_tokens=fmean(generation.tokens for generation in generations),
        truncated_share=fmean(generation.truncated for generation in generations),
        generations=scored,
    )


def failed(
    setting: EvaluationSetting, coefficients: Sequence[float], failure: CandidateFailure, seconds: float
) -> Evaluation:
    """A typed failure of one candidate: a row of its own, without rewards."""
    return Evaluation(
        **_shared(setting, coefficients, seconds),
        status="failed",
        reward_mean={},
        reward_se={},
        mean_tokens=None,
        truncated_share=None,
        failure=failure.kind,
        error=failure.message,
    )


def _shared(setting: EvaluationSetting, coefficients: Sequence[float], seconds: float) -> dict[str, Any]:
    return {
        "candidate": candidate_id(tuple(setting.adapters), coefficients),
        "context": setting.context,
        "split": setting.split,
        "prompts_hash": setting.prompts_hash,
        "coefficients": dict(zip(setting.adapters, rounded(coefficients), strict=True)),
        "n_prompts": len(setting.prompts),
        "base_model": setting.base_model,
        "adapters": dict(setting.adapters),
        "rewards": dict(setting.rewards),
        "seed": setting.seed,
        "seconds": seconds,
        "created_at": datetime.now(UTC),
    }


def _standard_error(rewards: Sequence[float]) -> float:
    return stdev(rewards) / sqrt(len(rewards)) if len(rewards) > 1 else 0.0

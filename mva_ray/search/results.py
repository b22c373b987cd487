"""What came of a candidate, as the search loop takes it, and how it is read from an evaluation: by names."""

from dataclasses import dataclass, field
from typing import Self

from mva_ray.constraints import Limits, constraint_values
from mva_ray.records import Coefficients, Evaluation, Outcome, in_order
from mva_ray.search.racing import Rewards


@dataclass(frozen=True)
class Result:
    """What came of a candidate.

    `rewards` are those of each prompt, which only a race needs: of all prompts, or where it was stopped (not
    `complete`) of the first. `error` is why it failed.
    """

    outcome: Outcome
    rewards: Rewards = ()
    complete: bool = True
    error: str | None = None

    @classmethod
    def failed(cls, coefficients: Coefficients, error: str) -> Self:
        return cls(Outcome(coefficients, None), error=error)


@dataclass(frozen=True)
class Reader:
    """Reads evaluations.

    Args:
        values: whose rewards are looked up, in this order.
        limits: what a candidate has to keep.
    """

    values: tuple[str, ...]
    limits: Limits = field(default_factory=dict)

    def result(self, coefficients: Coefficients, evaluation: Evaluation, rewards: Rewards | None = None) -> Result:
        """
        Args:
            coefficients: the candidate as it was proposed.
            rewards: of each prompt, where the evaluation comes without its generations.
        """
        if evaluation.status == "failed":
            return Result.failed(coefficients, evaluation.error or "unknown")
        means, errors = (in_order(part, self.values) for part in (evaluation.reward_mean, evaluation.reward_se))
        outcome = Outcome(coefficients, means, errors, constraint_values(evaluation, self.limits))
        if rewards is None:
            rewards = [in_order(scored.rewards, self.values) for scored in evaluation.generations]
        return Result(outcome, rewards, evaluation.status == "ok")

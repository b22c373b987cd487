"""What came of a candidate, as the search loop takes it, and how it is read from an evaluation: by names."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

from mva_ray.constraints import Limits, constraint_values
from mva_ray.records import NOTHING_SPENT, Coefficients, Evaluation, Outcome, Proposal, Spent, in_order


@dataclass(frozen=True)
class Result:
    """What came of a candidate. `error` is why it failed, `spent` what it has just cost: nothing where it was known."""

    outcome: Outcome
    error: str | None = None
    spent: Spent = NOTHING_SPENT

    @classmethod
    def failed(cls, coefficients: Coefficients, error: str, spent: Spent = NOTHING_SPENT) -> Self:
        return cls(Outcome(coefficients, None), error, spent)


@dataclass(frozen=True)
class Reader:
    """Reads evaluations.

    Args:
        values: whose rewards are looked up, in this order.
        limits: what a candidate has to keep.
    """

    values: tuple[str, ...]
    limits: Limits = field(default_factory=dict)

    def result(
        self, proposal: Proposal, evaluation: Evaluation, rewards: Sequence[Sequence[float]] | None = None
    ) -> Result:
        """
        Args:
            proposal: what was evaluated, on just its prompts.
            rewards: [n][k] of each prompt, in its order, where the evaluation comes without its generations.
        """
        if evaluation.status == "failed":
            return Result.failed(proposal.coefficients, evaluation.error or "unknown", evaluation.spent)
        means, errors = (in_order(part, self.values) for part in (evaluation.reward_mean, evaluation.reward_se))
        if rewards is None:
            rewards = [in_order(scored.rewards, self.values) for scored in evaluation.generations]
        places = range(len(rewards)) if proposal.prompts is None else proposal.prompts
        answers = dict(zip(places, map(tuple, rewards), strict=True)) if rewards else {}
        constraints = constraint_values(evaluation, self.limits)
        return Result(Outcome(proposal.coefficients, means, errors, constraints, answers), spent=evaluation.spent)

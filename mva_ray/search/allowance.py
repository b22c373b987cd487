"""Whether the run's budget has room for one more candidate, and for the held-out front after it."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

import numpy as np

from mva_ray.maths.pareto import front_mask
from mva_ray.records import NOTHING_SPENT, Coefficients, Proposal, Spent
from mva_ray.run_dir.spending import EVALUATIONS, Prices, Spending, amount, used
from mva_ray.search.results import Result


@dataclass(frozen=True)
class HeldOut:
    """What is answered on the held-out prompts after the search: its front, and these.

    Args:
        prompts: how many there are.
        always: candidates that are scored whatever the front is.
        scored: candidates that are already.
    """

    prompts: int
    always: Collection[Coefficients] = ()
    scored: Collection[Coefficients] = ()


@dataclass
class Allowance:
    """Decides before a candidate is handed out, so that what is handed out can always end.

    Seconds of candidates that are at work or to come are reckoned from those of the answers so far: a GPU works for
    all rows at once, so that nobody knows what one will cost before it has. Until there are answers, only as many are
    at work as fill the evaluators.

    Args:
        limits: of `answers`, `gpu_hours` and `cost`, those there are.
        spent: what the run had spent and reserves by now, without the results told here.
        n_prompts: of the search split.
        held_out: what comes after the search.
        most: candidates at work at a time.
    """

    limits: dict[str, float]
    spent: Callable[[], Spending]
    n_prompts: int
    held_out: HeldOut
    most: int
    _new: Spent = NOTHING_SPENT
    _answered: dict[Coefficients, int] = field(default_factory=dict)
    _feasible: dict[Coefficients, tuple[float, ...]] = field(default_factory=dict)

    def tell(self, result: Result) -> None:
        """Of a candidate of the search, new or known."""
        outcome = result.outcome
        self._new += result.spent
        self._answered[outcome.coefficients] = len(outcome.answers) if outcome.rewards else 0
        if outcome.rewards is not None and outcome.is_feasible:
            self._feasible[outcome.coefficients] = outcome.rewards

    def refuses(self, proposal: Proposal, at_work: Sequence[Proposal]) -> str | None:
        """Why a candidate must not be handed out beside those at work; None where there is room for all of them."""
        spending, candidates = self.spent(), [*at_work, proposal]
        now = spending.total + self._new
        answers = sum(map(self._answers, candidates))
        rate = self._rate(spending)
        if not self._exceeded(now, rate, answers + self._most_held_out(candidates), spending.prices):
            return None
        front = self._front_answers(candidates)
        name = self._exceeded(now, rate, answers + front, spending.prices)
        if name is None:
            return None
        spent, limit = (amount(name, each) for each in (used(name, now, spending.prices), self.limits[name]))
        return (
            f"the search ends: budget.{name} is used up, {spent} of {limit} spent, no room for another candidate and "
            f"then up to {front:,} answers to held-out prompts; with a larger budget the same command goes on from here"
        )

    def _answers(self, proposal: Proposal) -> int:
        asked = self.n_prompts if proposal.prompts is None else len(proposal.prompts)
        return max(0, asked - self._answered.get(proposal.coefficients, 0))

    def _most_held_out(self, candidates: Sequence[Proposal]) -> int:
        rows = {*self._feasible, *self.held_out.always, *(each.coefficients for each in candidates)}
        return self.held_out.prompts * len(rows.difference(self.held_out.scored))

    def _front_answers(self, candidates: Sequence[Proposal]) -> int:
        """The front as it is, and the candidates: each may come onto it where it answers all prompts."""
        rows = list(self._feasible)
        on_front = front_mask(np.array(list(self._feasible.values()))).tolist() if rows else []
        members = {row for row, is_member in zip(rows, on_front, strict=True) if is_member}
        members |= {each.coefficients for each in candidates if each.prompts is None}
        return self.held_out.prompts * len((members | set(self.held_out.always)).difference(self.held_out.scored))

    def _rate(self, spending: Spending) -> Spent:
        """What an answer of the evaluations costs, on average."""
        phase = spending.phases.get(EVALUATIONS, NOTHING_SPENT)
        answers = phase.answers + self._new.answers
        if not answers:
            return Spent(1)
        tokens = (phase.tokens + self._new.tokens) / answers
        return Spent(1, tokens, phase.gpu_seconds / answers, phase.cpu_seconds / answers)

    def _exceeded(self, now: Spent, rate: Spent, answers: int, prices: Prices | None) -> str | None:
        whole = now + rate.times(answers)
        over = (name for name, limit in self.limits.items() if used(name, whole, prices) > limit)
        return next(over, None)

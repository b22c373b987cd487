"""What a search was told and what is left of its budget: the same for every method."""

from collections.abc import Iterable, Sequence

import numpy as np

from mva_ray.maths.pareto import front_mask
from mva_ray.records import Coefficients, Outcome, Proposal, rounded
from mva_ray.search.draws import Draws


class Ledger:
    """Keeps what was asked for and what was told.

    Args:
        references: the candidates that a search begins with.
        budget: how many distinct candidates to ask for in all. What is told without having been asked for is free.
        draws: the prompts that new candidates answer; None where they answer all.
        answers: how many answers to ask for in all, where there are draws.
    """

    def __init__(
        self, references: Sequence[Coefficients], budget: int, draws: Draws | None = None, answers: int = 0
    ) -> None:
        self.told: dict[Coefficients, Outcome] = {}
        self.left = budget
        self._references = references
        self._pending: dict[Coefficients, None] = {}
        self._draws, self._answers = draws, answers

    @property
    def n_prompts(self) -> int:
        """Of the whole split; 0 where all candidates answer all, whose number is then not known here."""
        return self._draws.n_prompts if self._draws else 0

    @property
    def pending(self) -> list[Coefficients]:
        """Asked for and not told yet, in the order of asking."""
        return list(self._pending)

    @property
    def references_pending(self) -> bool:
        return any(row in self._references for row in self._pending)

    @property
    def succeeded(self) -> list[Outcome]:
        """Those with rewards, in an order that does not depend on that of telling."""
        return [self.told[row] for row in sorted(self.told) if self.told[row].rewards is not None]

    @property
    def front(self) -> list[Coefficients]:
        """Those that are feasible and that no other feasible one dominates."""
        feasible = {told.coefficients: told.rewards for told in self.succeeded if told.rewards and told.is_feasible}
        mask = front_mask(list(feasible.values())) if feasible else np.zeros(0, bool)
        return [row for row, on_front in zip(feasible, mask, strict=True) if on_front]

    def references(self) -> list[Coefficients]:
        """Those that are new."""
        return self.new(self._references)

    def new(self, rows: Iterable[Sequence[float]]) -> list[Coefficients]:
        """Candidates neither told nor asked for, each once."""
        distinct = dict.fromkeys(rounded(row) for row in rows)
        return [row for row in distinct if row not in self.told and row not in self._pending]

    def ask(self, rows: Sequence[Coefficients]) -> list[Proposal]:
        """Takes new candidates into the budget, as many as are left of it, and draws their prompts."""
        taken = rows[: self.left]
        self.left -= len(taken)
        self._pending |= dict.fromkeys(taken)
        if not self._draws:
            return [Proposal(row) for row in taken]
        self._answers -= len(taken) * self._draws.size
        return [Proposal(row, self._draws.next()) for row in taken]

    @property
    def partial(self) -> list[Coefficients]:
        """Those with rewards that lack some of the prompts."""
        return [outcome.coefficients for outcome in self.succeeded if self._missing(outcome.coefficients)]

    @property
    def completable(self) -> int:
        """How many of the partial ones there are answers left for."""
        dearest = max(map(self._missing, self.partial), default=0)
        return self._answers // dearest if dearest else 0

    def complete(self, rows: Sequence[Coefficients]) -> list[Proposal]:
        """Has partial candidates answer all prompts; no more than are completable."""
        self._answers -= sum(map(self._missing, rows))
        self._pending |= dict.fromkeys(rows)
        return [Proposal(row) for row in rows]

    def _missing(self, row: Coefficients) -> int:
        return max(0, self.n_prompts - len(self.told[row].answers))

    def tell(self, outcomes: Iterable[Outcome]) -> None:
        for outcome in outcomes:
            self.told[outcome.coefficients] = outcome
            self._pending.pop(outcome.coefficients, None)

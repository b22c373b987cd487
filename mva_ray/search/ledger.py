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
        self._pending: dict[Coefficients, Proposal] = {}
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
        if not self._draws:
            return self._asked([Proposal(row) for row in taken])
        self._answers -= len(taken) * self._draws.size
        return self._asked([Proposal(row, self._draws.next()) for row in taken])

    def _asked(self, proposals: list[Proposal]) -> list[Proposal]:
        self._pending |= {proposal.coefficients: proposal for proposal in proposals}
        return proposals

    @property
    def draws_pending(self) -> bool:
        """Whether candidates that answer some of the prompts are at work."""
        return any(proposal.prompts is not None for proposal in self._pending.values())

    @property
    def partial(self) -> list[Coefficients]:
        """Those with rewards that lack some of the prompts and are not asked for them."""
        rows = [outcome.coefficients for outcome in self.succeeded]
        return [row for row in rows if self._missing(row) and row not in self._pending]

    def affordable(self, rows: Iterable[Coefficients]) -> list[Coefficients]:
        """Those of which each alone could answer all prompts that it lacks; none where all answer all anyway."""
        return [row for row in rows if self._draws and self._missing(row) <= self._answers]

    def complete(self, rows: Sequence[Coefficients]) -> list[Proposal]:
        """Has partial or new candidates answer all prompts, the first ones first, as far as there are answers left."""
        taken = []
        for row in rows:
            if self._missing(row) <= self._answers:
                self._answers -= self._missing(row)
                taken.append(Proposal(row))
        return self._asked(taken)

    def _missing(self, row: Coefficients) -> int:
        return max(0, self.n_prompts - len(self.told[row].answers if row in self.told else ()))

    def tell(self, outcomes: Iterable[Outcome]) -> None:
        for outcome in outcomes:
            self.told[outcome.coefficients] = outcome
            self._pending.pop(outcome.coefficients, None)

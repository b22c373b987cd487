"""What a search was told and what is left of its budget: the same for every method."""

from collections.abc import Iterable, Sequence

import numpy as np

from mva_ray.maths.pareto import front_mask
from mva_ray.records import Coefficients, Outcome, rounded


class Ledger:
    """Keeps what was asked for and what was told.

    Args:
        references: the candidates that a search begins with.
        budget: how many distinct candidates to ask for in all. What is told without having been asked for is free.
    """

    def __init__(self, references: Sequence[Coefficients], budget: int) -> None:
        self.told: dict[Coefficients, Outcome] = {}
        self._references = references
        self._asked: dict[Coefficients, None] = {}
        self._budget = budget

    @property
    def left(self) -> int:
        return self._budget - len(self._asked)

    @property
    def pending(self) -> list[Coefficients]:
        """Asked for and not told yet, in the order of asking."""
        return [row for row in self._asked if row not in self.told]

    @property
    def references_pending(self) -> bool:
        return any(row in self._references for row in self.pending)

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
        return [row for row in distinct if row not in self.told and row not in self._asked]

    def ask(self, rows: Sequence[Coefficients]) -> list[Coefficients]:
        """Takes new candidates into the budget, as many as are left of it."""
        taken = list(rows[: self.left])
        self._asked |= dict.fromkeys(taken)
        return taken

    def tell(self, outcomes: Iterable[Outcome]) -> None:
        self.told |= {outcome.coefficients: outcome for outcome in outcomes}

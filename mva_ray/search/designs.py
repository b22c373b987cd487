"""Fixed designs: candidates that depend on no reward."""

from collections.abc import Callable, Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from mva_ray.records import Coefficients, Outcome, rounded
from mva_ray.search.ledger import Ledger

Bounds = Sequence[tuple[float, float]]
Design = Callable[[Bounds, int, int, int], NDArray[np.float64]]
"""From bounds, a count, how many to skip and a seed to at most so many candidates [n, d] inside the bounds.

Sequences go on after those skipped, which a warm start has; a grid has no order to go on in.
"""


class DesignProposer:
    """The references, then a fixed design, until the budget is spent. Nothing is learned.

    Args:
        design: draws what the references leave of the budget.
        ledger: references and budget.
        bounds: (lower, upper) of each coefficient.
        seed: of the design.
        batch: how many to propose at once, the next ones before these are told; None for all, references among them.
    """

    def __init__(self, design: Design, ledger: Ledger, bounds: Bounds, seed: int, batch: int | None) -> None:
        self._design, self._ledger, self._bounds, self._seed, self._batch = design, ledger, bounds, seed, batch
        self._drawn: list[Coefficients] | None = None

    @property
    def ready(self) -> bool:
        """See `Proposer.ready`."""
        return len(self._ledger.pending) <= (self._batch or 0)

    def ask(self) -> list[Coefficients]:
        """See `Proposer.ask`."""
        if self._drawn is None:
            self._drawn = self._draw()
        return self._ledger.ask(self._ledger.new(self._drawn)[: self._batch])

    def _draw(self) -> list[Coefficients]:
        references = self._ledger.references()
        count = max(0, self._ledger.left - len(references))
        return [*references, *map(rounded, self._design(self._bounds, count, len(self._ledger.told), self._seed))]

    def tell(self, outcomes: Sequence[Outcome]) -> None:
        """Told candidates are not proposed again; nothing else is learned."""
        self._ledger.tell(outcomes)


def grid(bounds: Bounds, count: int, skip: int, seed: int) -> NDArray[np.float64]:
    """The finest full grid of at most `count` points, both bounds included, as the paper's {0.1, ..., 1.0}^k."""
    levels = 1
    while (levels + 1) ** len(bounds) <= count:
        levels += 1
    axes = [np.linspace(lower, upper, levels) for lower, upper in bounds]
    return np.array(list(product(*axes)) if levels > 1 else []).reshape(-1, len(bounds))


def random(bounds: Bounds, count: int, skip: int, seed: int) -> NDArray[np.float64]:
    lower, upper = np.array(bounds, dtype=float).T
    return np.random.default_rng(seed).uniform(lower, upper, (skip + count, len(bounds)))[skip:]


def sobol(bounds: Bounds, count: int, skip: int, seed: int) -> NDArray[np.float64]:
    """A scrambled Sobol sequence (Sobol 1967; Owen 1998)."""
    from scipy.stats import qmc

    lower, upper = np.array(bounds, dtype=float).T
    exponent = max(0, int(np.ceil(np.log2(max(skip + count, 1)))))
    drawn = qmc.Sobol(len(bounds), seed=seed).random_base2(exponent)[skip : skip + count]
    return np.asarray(drawn * (upper - lower) + lower)

"""Fixed designs: candidates that depend on no reward."""

from collections.abc import Callable, Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from mva_ray.records import Outcome, Proposal
from mva_ray.search.ledger import Ledger

Bounds = Sequence[tuple[float, float]]
Design = Callable[[Bounds, int, int, int], NDArray[np.float64]]
"""From bounds, a count, how many to skip and a seed to at most so many candidates [n, d] inside the bounds.

Sequences go on after those skipped, which a warm start has; a grid has no order to go on in.
"""


class DesignProposer:
    """The references and a fixed design, as much of it as the budget has room for, at once. Nothing is learned.

    Args:
        design: draws what the references leave of the budget.
        ledger: references and budget.
        bounds: (lower, upper) of each coefficient.
        seed: of the design.
    """

    def __init__(self, design: Design, ledger: Ledger, bounds: Bounds, seed: int) -> None:
        self._design, self._ledger, self._bounds, self._seed = design, ledger, bounds, seed
        self._asked = False

    @property
    def ready(self) -> bool:
        """See `Proposer.ready`."""
        return not self._ledger.pending

    def ask(self) -> list[Proposal]:
        """See `Proposer.ask`."""
        if self._asked:
            return []
        self._asked = True
        references, told = self._ledger.references(), len(self._ledger.told)
        drawn = self._design(self._bounds, max(0, self._ledger.left - len(references)), told, self._seed)
        return self._ledger.ask(self._ledger.new([*references, *drawn]))

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

"""Candidates that depend on no reward: those every search begins with, and fixed designs."""

from collections.abc import Callable, Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray
from pymoo.util.ref_dirs import get_reference_directions
from scipy.stats import qmc

from mva_ray.records import Coefficients, Outcome, rounded
from mva_ray.search.ledger import Ledger

Bounds = Sequence[tuple[float, float]]
Design = Callable[[Bounds, int, int, int], NDArray[np.float64]]
"""From bounds, a count, how many to skip and a seed to at most so many candidates [n, d] inside the bounds.

Sequences go on after those skipped, which a warm start has; a grid has no order to go on in.
"""


def reference_candidates(n_values: int, convex_partitions: int) -> list[Coefficients]:
    """The base model (w = 0), each adapter alone (e_i), all ones, and convex combinations, in this order.

    Args:
        n_values: number of value adapters.
        convex_partitions: see `convex_candidates`.

    Returns:
        distinct vectors of length n_values.
    """
    base = [(0.0,) * n_values]
    singles = [tuple(row) for row in np.eye(n_values).tolist()]
    ones = [(1.0,) * n_values]
    convex = convex_candidates(n_values, convex_partitions)
    return list(dict.fromkeys(rounded(row) for row in [*base, *singles, *ones, *convex]))


def convex_candidates(n_values: int, partitions: int) -> list[Coefficients]:
    """The simplex lattice of Das and Dennis (1998): multiples of 1 / partitions, at least 0, that sum to 1."""
    lattice = get_reference_directions("das-dennis", n_values, n_partitions=partitions)
    return [rounded(row) for row in np.asarray(lattice).tolist()]


def in_blocks(per_value: Coefficients, blocks: int) -> Coefficients:
    """The candidate with a coefficient for each value and block that is the one given: all blocks of a value alike."""
    return tuple(number for number in per_value for _ in range(blocks))


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
    lower, upper = np.array(bounds, dtype=float).T
    exponent = max(0, int(np.ceil(np.log2(max(skip + count, 1)))))
    drawn = qmc.Sobol(len(bounds), seed=seed).random_base2(exponent)[skip : skip + count]
    return np.asarray(drawn * (upper - lower) + lower)

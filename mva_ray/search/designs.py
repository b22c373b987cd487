"""Candidates that depend on no reward: those every search begins with, and fixed designs."""

from collections.abc import Callable, Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray
from pymoo.util.ref_dirs import get_reference_directions
from scipy.stats import qmc

from mva_ray.records import Coefficients, rounded

Bounds = Sequence[tuple[float, float]]
Design = Callable[[Bounds, int, int], NDArray[np.float64]]
"""From bounds, a count and a seed to at most so many candidates [n, d] inside the bounds."""


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


class DesignProposer:
    """The references, then a fixed design, until the budget is spent: one batch, and nothing is learned.

    Args:
        design: draws what the references leave of the budget.
        bounds: (lower, upper) of each coefficient.
        budget: how many distinct candidates to propose in all.
        convex_partitions: see `reference_candidates`.
        seed: of the design.
    """

    def __init__(self, design: Design, bounds: Bounds, budget: int, convex_partitions: int, seed: int) -> None:
        references = reference_candidates(len(bounds), convex_partitions)
        drawn = design(bounds, max(0, budget - len(references)), seed)
        self._left = list(dict.fromkeys([*references, *(rounded(row) for row in drawn)]))[:budget]

    def ask(self) -> list[Coefficients]:
        asked, self._left = self._left, []
        return asked

    def tell(self, candidates: object, rewards: object, errors: object = None) -> None:
        """A design learns nothing."""


def grid(bounds: Bounds, count: int, seed: int) -> NDArray[np.float64]:
    """The finest full grid of at most `count` points, both bounds included, as the paper's {0.1, ..., 1.0}^k."""
    levels = 1
    while (levels + 1) ** len(bounds) <= count:
        levels += 1
    axes = [np.linspace(lower, upper, levels) for lower, upper in bounds]
    return np.array(list(product(*axes)) if levels > 1 else []).reshape(-1, len(bounds))


def random(bounds: Bounds, count: int, seed: int) -> NDArray[np.float64]:
    lower, upper = np.array(bounds, dtype=float).T
    return np.random.default_rng(seed).uniform(lower, upper, (count, len(bounds)))


def sobol(bounds: Bounds, count: int, seed: int) -> NDArray[np.float64]:
    """The first points of a scrambled Sobol sequence (Sobol 1967; Owen 1998)."""
    lower, upper = np.array(bounds, dtype=float).T
    exponent = max(0, int(np.ceil(np.log2(max(count, 1)))))
    drawn = qmc.Sobol(len(bounds), seed=seed).random_base2(exponent)[:count]
    return np.asarray(drawn * (upper - lower) + lower)

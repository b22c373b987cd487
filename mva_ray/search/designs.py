"""The candidates every search begins with, since users compare with them."""

import numpy as np
from pymoo.util.ref_dirs import get_reference_directions

from mva_ray.records import Coefficients, rounded


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

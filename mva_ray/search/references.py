"""The candidates that a search begins with: what its users compare with, within half of its budget."""

from collections.abc import Iterator
from itertools import chain, islice
from math import comb

import numpy as np

from mva_ray.records import Coefficients, rounded


def reference_candidates(n_values: int, convex_partitions: int, most: int | None = None) -> list[Coefficients]:
    """The base model (w = 0), each adapter alone (e_i), all ones, and convex mixes, in this order.

    Args:
        n_values: number of value adapters.
        convex_partitions: of the finest lattice of mixes, see `lattice`; 1 for no mixes.
        most: how many there may be, the base model and the adapters alone in any case; the whole lattice if None.

    Returns:
        distinct vectors of length n_values.
    """
    singles = [tuple(row) for row in np.eye(n_values).tolist()]
    first = [(0.0,) * n_values, *singles, (1.0,) * n_values]
    if most is None:
        mixed = lattice(n_values, convex_partitions)
    else:
        first = first[: max(most, n_values + 1)]
        mixed = mixes(n_values, convex_partitions, most - len(first))
    return list(dict.fromkeys(rounded(row) for row in [*first, *mixed]))


def most_references(candidates: int) -> int:
    """How many of a budget: at most half, so that the search has as much to leave them."""
    return candidates // 2


def least_candidates(n_values: int) -> int:
    """The smallest budget that has room for the base model, each adapter alone and a search."""
    return 2 * (n_values + 1)


def mixes(n_values: int, partitions: int, most: int) -> list[Coefficients]:
    """Convex mixes that favour no value: the finest whole lattice that fits, or the even mix and whole rounds of pairs.

    Args:
        partitions: no finer a lattice; 1 for no mixes at all.
        most: how many there may be; adapters alone, which a lattice has too, do not count.
    """
    finest = finest_partitions(n_values, partitions, most + n_values)
    if finest > 1 or partitions == 1 or most < 1:
        return [row for row in lattice(n_values, finest) if 1.0 not in row]
    rounds = (most - 1) // (n_values // 2)
    return [even_mix(n_values), *chain(*islice(pairs_in_rounds(n_values), rounds))]


def even_mix(n_values: int) -> Coefficients:
    return rounded([1 / n_values] * n_values)


def finest_partitions(n_values: int, partitions: int, most: int) -> int:
    """Of the finest lattice with no more partitions and points; 1 where only that of single adapters is left."""
    finest = 1
    while finest < partitions and lattice_size(n_values, finest + 1) <= most:
        finest += 1
    return finest


def lattice_size(n_values: int, partitions: int) -> int:
    return comb(partitions + n_values - 1, n_values - 1)


def lattice(n_values: int, partitions: int) -> list[Coefficients]:
    """The simplex lattice of Das and Dennis (1998): multiples of 1 / partitions, at least 0, that sum to 1."""
    return [rounded(part / partitions for part in parts) for parts in _compositions(n_values, partitions)]


def _compositions(n: int, total: int) -> Iterator[tuple[int, ...]]:
    """All n whole numbers of at least 0 that sum to the total, in lexicographic order."""
    parts = [0] * (n - 1) + [total]
    while True:
        yield tuple(parts)
        last = max((i for i in range(n) if parts[i]), default=0)
        if last == 0:
            return
        rest = parts[last] - 1
        parts[last] = 0
        parts[last - 1] += 1
        parts[-1] = rest


def pairs_in_rounds(n_values: int) -> Iterator[list[Coefficients]]:
    """Half of one value and half of another, every pair once. No round has a value twice, or misses more than one.

    The circle method of round-robin tournaments (Kirkman 1847): the first stays, the others go round it.
    """
    circle: list[int] = list(range(n_values + n_values % 2))
    for _ in range(len(circle) - 1):
        half = len(circle) // 2
        met = zip(circle[:half], reversed(circle[half:]), strict=True)
        yield [_pair(n_values, one, other) for one, other in met if max(one, other) < n_values]
        circle = [circle[0], circle[-1], *circle[1:-1]]


def _pair(n_values: int, one: int, other: int) -> Coefficients:
    return tuple(0.5 if index in (one, other) else 0.0 for index in range(n_values))


def in_blocks(per_value: Coefficients, blocks: int) -> Coefficients:
    """The candidate with a coefficient for each value and block that is the one given: all blocks of a value alike."""
    return tuple(number for number in per_value for _ in range(blocks))

"""Where a blending method may put its coefficients, and how a search walks there.

Every search method walks in a box. On the simplex that box has a dimension less: it breaks a stick, so that uniform
points of the box are uniform on the simplex.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Literal

from scipy.special import betainc, betaincinv

from mva_ray.records import DECIMALS, Coefficients, rounded
from mva_ray.search.references import (
    even_mix,
    finest_partitions,
    lattice,
    most_references,
    pairs_in_rounds,
    reference_candidates,
)

DomainName = Literal["box", "unit", "simplex", "lattice", "scaled lattice"]
"""`search.bounds`; [0, 1] for each value, the paper's C = 1; the convex mixes, searched; a lattice of them, not
searched; half of the budget on that lattice and half on it times the upper bound."""


@dataclass(frozen=True)
class Domain:
    """A box to search, what the search begins with there, and the coefficients that a point of it stands for."""

    bounds: Sequence[tuple[float, float]]
    references: Sequence[Coefficients]
    coefficients: Callable[[Coefficients], Coefficients]


def searched(name: DomainName, bounds: Sequence[tuple[float, float]], partitions: int, budget: int) -> Domain | None:
    """None where the candidates are `fixed`.

    Args:
        bounds: (lower, upper) of each value's coefficient, from the config.
        partitions: of the finest lattice among the references.
        budget: candidates, of which half at most are references, alike for all domains.
    """
    n_values, most = len(bounds), most_references(budget)
    if name == "simplex":
        mixes = convex_lattice(n_values, max(most, n_values))
        return Domain([(0.0, 1.0)] * (n_values - 1), [stick(mix) for mix in mixes], broken)
    if name in ("box", "unit"):
        references = reference_candidates(n_values, partitions, most)
        return Domain(bounds if name == "box" else [(0.0, 1.0)] * n_values, references, lambda row: row)
    return None


def fixed(name: DomainName, bounds: Sequence[tuple[float, float]], budget: int) -> list[Coefficients]:
    """The candidates of a domain that is not searched."""
    if name == "lattice":
        return convex_lattice(len(bounds), budget)
    mixes = convex_lattice(len(bounds), budget // 2)
    scaled = [rounded(upper * part for part, (_, upper) in zip(mix, bounds, strict=True)) for mix in mixes]
    return list(dict.fromkeys([*mixes, *scaled]))


def convex_lattice(n_values: int, most: int) -> list[Coefficients]:
    """The finest simplex lattice of at most so many points, and never coarser than the single adapters.

    Where it is only these, the even mix and pairs follow, as many as there is room for: else no mix would be compared.
    """
    finest = finest_partitions(n_values, most, most)
    points = lattice(n_values, finest)
    if finest > 1:
        return points
    more = chain([even_mix(n_values)], chain.from_iterable(pairs_in_rounds(n_values)))
    return [*points, *islice(more, max(0, most - len(points)))]


def broken(point: Sequence[float]) -> Coefficients:
    """The convex mix of k values for a point of [0, 1]^(k - 1), uniform on the simplex where the point is uniform.

    The stick is broken in the middle of the values, then each half of it in the middle of its own values, and so on: of
    a uniform mix, the share of m values against n others is Beta(m, n) (Devroye, "Non-Uniform Random Variate
    Generation", 1986, chapter XI). A point has four decimals, which near a corner are few: a part of less than 0.01 is
    not told from none with up to four values, one of less than 0.05 with up to eight. (Breaking off one value after
    another would be coarser: 0.04 with four, 0.25 with eight.)
    """
    n_values = len(point) + 1
    if n_values == 1:
        return (1.0,)
    left = n_values // 2
    share = float(betaincinv(left, n_values - left, round(point[0], DECIMALS)))
    one, other = broken(point[1:left]), broken(point[left:])
    return rounded([*(share * part for part in one), *((1 - share) * part for part in other)])


def stick(mix: Sequence[float]) -> Coefficients:
    """The point that `broken` makes a convex mix of; that of the even mix where nothing is left to break."""
    n_values = len(mix)
    if n_values == 1:
        return ()
    left = n_values // 2
    whole, share = sum(mix), sum(mix[:left])
    here = float(betainc(left, n_values - left, min(share / whole, 1.0))) if whole > 1e-9 else 0.5
    return rounded([here, *stick(mix[:left]), *stick(mix[left:])])

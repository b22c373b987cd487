"""Where a blending method may put its coefficients, and how a search walks there.

Every search method walks in a box. On the simplex that box has a dimension less: it breaks a stick, so that uniform
points of the box are uniform on the simplex.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Literal

from mva_ray.records import Coefficients, rounded
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


def broken(stick: Sequence[float]) -> Coefficients:
    """The convex mix of k values for a point of [0, 1]^(k - 1): uniform where the point is (Devroye, "Non-Uniform
    Random Variate Generation", 1986, chapter XI: the share of the first part is Beta(1, k - 1), and so on)."""
    parts, rest = [], 1.0
    for place, number in enumerate(stick):
        parts.append(rest * (1 - (1 - number) ** (1 / (len(stick) - place))))
        rest -= parts[-1]
    return rounded([*parts, rest])


def stick(mix: Sequence[float]) -> Coefficients:
    """The point that `broken` makes a convex mix of; 0 where nothing is left to break."""
    point, rest = [], 1.0
    for place, part in enumerate(mix[:-1]):
        share = min(part / rest, 1.0) if rest > 1e-9 else 0.0
        point.append(1 - (1 - share) ** (len(mix) - 1 - place))
        rest -= part
    return rounded(point)

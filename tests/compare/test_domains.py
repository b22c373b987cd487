"""Where methods put their coefficients: lattices as fine as the budget, and a simplex that is walked in a box."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mva_ray.compare.domains import broken, convex_lattice, fixed, searched, stick

BOUNDS = [(0.0, 1.5), (0.0, 1.5)]


@pytest.mark.parametrize(
    ("n_values", "most", "points"),
    [(2, 12, 12), (2, 2, 2), (3, 12, 10), (3, 15, 15), (5, 4, 5), (5, 15, 15), (5, 12, 12), (8, 24, 24)],
)
def test_the_lattice_is_as_fine_as_the_budget_allows(n_values: int, most: int, points: int) -> None:
    rows = convex_lattice(n_values, most)
    assert len(set(rows)) == len(rows) == points
    assert all(sum(row) == pytest.approx(1, abs=1e-3) for row in rows)


def test_where_no_lattice_fits_methods_are_still_compared_by_mixes() -> None:
    """Twelve candidates of eight values: the adapters alone, the even mix, and pairs."""
    rows = convex_lattice(8, 12)
    assert [max(row) for row in rows] == [1.0] * 8 + [0.125] + [0.5] * 3


@example(parts=[1, 0, 0, 0.03125])
@given(parts=st.lists(st.floats(0, 1), min_size=2, max_size=8).filter(lambda parts: sum(parts) > 0.1))
def test_every_mix_is_a_point_of_the_box_and_back(parts: list[float]) -> None:
    mix = [part / sum(parts) for part in parts]
    point = stick(mix)
    assert len(point) == len(mix) - 1
    assert all(0 <= number <= 1 for number in point)
    assert broken(point) == pytest.approx(mix, abs=0.01 if len(mix) <= 4 else 0.06)


@given(point=st.lists(st.floats(0, 1), min_size=1, max_size=7))
def test_every_point_of_the_box_is_a_mix(point: list[float]) -> None:
    mix = broken(point)
    assert all(0 <= part <= 1 for part in mix)
    assert sum(mix) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("n_values", [2, 3, 4, 5, 8])
def test_uniform_points_of_the_box_are_uniform_on_the_simplex(n_values: int) -> None:
    """Each part of a uniform point of the simplex of k has the mean and the variance of Beta(1, k - 1)."""
    points = np.random.default_rng(0).uniform(size=(4000, n_values - 1))
    mixes = np.array([broken(point) for point in points.tolist()])
    assert mixes.mean(axis=0) == pytest.approx(np.full(n_values, 1 / n_values), abs=0.01)
    variance = (n_values - 1) / (n_values**2 * (n_values + 1))
    assert mixes.var(axis=0) == pytest.approx(np.full(n_values, variance), abs=0.003)


@pytest.mark.parametrize("name", ["box", "unit", "simplex"])
@pytest.mark.parametrize("n_values", [2, 3, 5])
def test_at_most_half_of_a_budget_are_references(name: str, n_values: int) -> None:
    domain = searched(name, [(0.0, 1.5)] * n_values, 4, 16)  # type: ignore[arg-type]
    assert domain is not None
    assert 0 < len(domain.references) <= 8
    assert len(domain.bounds) == n_values - (name == "simplex")
    singles = {tuple(row) for row in np.eye(n_values).tolist()}
    assert singles <= {domain.coefficients(reference) for reference in domain.references}


def test_what_is_not_searched_is_fixed() -> None:
    assert searched("lattice", BOUNDS, 4, 9) is None
    assert fixed("lattice", BOUNDS, 9) == convex_lattice(2, 9)
    assert fixed("scaled lattice", BOUNDS, 6) == [
        *((0.0, 1.0), (0.5, 0.5), (1.0, 0.0)),
        *((0.0, 1.5), (0.75, 0.75), (1.5, 0.0)),
    ]

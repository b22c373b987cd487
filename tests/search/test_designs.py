"""The candidates every search begins with."""

from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mva_ray.records import rounded
from mva_ray.search.designs import reference_candidates


def test_two_values_by_hand() -> None:
    assert reference_candidates(2, 4) == [
        (0.0, 0.0),
        (1.0, 0.0),
        (0.0, 1.0),
        (1.0, 1.0),
        (0.25, 0.75),
        (0.5, 0.5),
        (0.75, 0.25),
    ]


def test_three_values_by_hand() -> None:
    """Coefficients that are no round number are kept to four decimals, as candidates carry them."""
    third = 0.3333
    assert reference_candidates(3, 1) == [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 1)]
    assert (third, third, third) in reference_candidates(3, 3)


@given(st.integers(2, 5), st.integers(1, 5))
def test_base_singles_ones_then_the_whole_convex_lattice_each_once(n_values: int, partitions: int) -> None:
    candidates = reference_candidates(n_values, partitions)
    assert candidates[0] == (0.0,) * n_values
    assert candidates[1 : n_values + 1] == [tuple(row) for row in np.eye(n_values).tolist()]
    assert candidates[n_values + 1] == (1.0,) * n_values
    assert len(set(candidates)) == len(candidates)
    convex = candidates[n_values + 2 :]
    assert len(convex) == comb(partitions + n_values - 1, n_values - 1) - n_values
    for row in convex:
        assert sum(row) == pytest.approx(1, abs=n_values * 1e-4)
        assert all(min(abs(number * partitions - whole) for whole in range(partitions + 1)) < 1e-3 for number in row)


@given(st.integers(2, 5), st.integers(1, 7))
def test_references_are_candidates_as_the_table_has_them(n_values: int, partitions: int) -> None:
    """Else a resumed run would not find them again."""
    candidates = reference_candidates(n_values, partitions)
    assert [rounded(row) for row in candidates] == candidates

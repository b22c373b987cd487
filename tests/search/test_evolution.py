"""Evolutionary search beyond the contract of every method: bounds, failures, and the front."""

from collections.abc import Sequence
from statistics import median

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymoo.indicators.hv import HV

from mva_ray.records import Coefficients
from mva_ray.search.references import reference_candidates
from tests.support.surfaces import Bounds, failing, flat, make, run, trade_off

BOUNDS: list[Bounds] = [
    [(0, 1.5), (0, 1.5)],
    [(-0.5, 1), (0, 3)],
    [(-1, -0.25), (0.2, 0.7)],
    [(1.5, 4), (-2, 0)],
    [(-0.5, 2), (0.1, 0.9), (2, 3)],
    [(0, 0.01), (0, 0.01)],
]


@pytest.mark.parametrize("bounds", BOUNDS)
def test_proposals_keep_to_the_bounds_except_the_references(bounds: Bounds) -> None:
    """References outside are proposed all the same, once; they take no part in the operators."""
    rows = flat(run(make("nsga2", bounds, 60)))
    references = reference_candidates(len(bounds), 4)
    assert rows[: len(references)] == references
    own = rows[len(references) :]
    assert len(own) == 60 - len(references)
    assert len(set(rows)) == 60
    for row in own:
        assert np.isfinite(row).all()
        assert all(lower <= number <= upper for number, (lower, upper) in zip(row, bounds, strict=True)), row


def test_the_whole_interval_is_used() -> None:
    """Negative coefficients and those above 1 are what extrapolation is about."""
    rows = np.array(flat(run(make("nsga2", [(-0.5, 2), (-0.5, 2)], 60)))[7:])
    assert (rows < -0.1).any(axis=0).all()
    assert (rows > 1.5).any(axis=0).all()


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(-30000, 30000), st.integers(1, 30000)).map(lambda t: (t[0] / 1e4, (t[0] + t[1]) / 1e4)),
        min_size=2,
        max_size=4,
    ),
    st.integers(0, 100),
)
def test_any_bounds_and_seed_give_finite_candidates_inside_them(bounds: Bounds, seed: int) -> None:
    rows = flat(run(make("nsga2", bounds, 30, population=6, convex_partitions=2, seed=seed)))
    references = reference_candidates(len(bounds), 2)
    assert len(set(rows)) == len(rows) <= 30
    for row in rows[len(references) :]:
        assert all(lower <= number <= upper for number, (lower, upper) in zip(row, bounds, strict=True))


def test_a_space_with_too_few_candidates_ends_before_the_budget() -> None:
    """Four decimals of an interval this narrow are 3 x 3 candidates: the search must end, not turn for ever."""
    rows = flat(run(make("nsga2", [(0.1, 0.1002), (0.1, 0.1002)], 100, population=4)))
    assert len(rows) <= 7 + 9
    assert len(set(rows)) == len(rows)


def test_failed_regions_are_avoided() -> None:
    """A failed candidate counts as worse than all others: its neighbourhood is searched less, not more."""
    later = flat(run(make("nsga2", [(0, 1.5)] * 2, 100), failing))[50:]
    undisturbed = flat(run(make("nsga2", [(0, 1.5)] * 2, 100)))[50:]
    assert sum(row[0] > 0.8 for row in later) < sum(row[0] > 0.8 for row in undisturbed)


def hypervolume(rows: Sequence[Coefficients]) -> float:
    return float(HV(ref_point=np.array([3.0, 3.0]))(-np.array([trade_off(row) for row in rows])))


def test_it_finds_more_of_the_front_than_random_search() -> None:
    """Median of seeds at 60 candidates, both with the references, on a surface whose front is known."""
    references, found, drawn = reference_candidates(2, 4), [], []
    for seed in range(7):
        found.append(hypervolume(flat(run(make("nsga2", [(0, 3.0)] * 2, 60, seed=seed)))))
        random = np.random.default_rng(seed).uniform(0, 3.0, (60 - len(references), 2))
        drawn.append(hypervolume([*references, *(tuple(row) for row in random.tolist())]))
    assert median(found) > median(drawn)
    assert hypervolume(references) < median(found)

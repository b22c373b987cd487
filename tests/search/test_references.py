"""The candidates every search begins with: few enough, and no value is favoured."""

import time
from itertools import chain
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymoo.util.ref_dirs import get_reference_directions

from mva_ray.config.search import Search
from mva_ray.maths.pareto import hypervolume
from mva_ray.records import rounded
from mva_ray.search.proposer import make_proposer
from mva_ray.search.references import (
    lattice,
    lattice_size,
    least_candidates,
    most_references,
    pairs_in_rounds,
    reference_candidates,
)
from tests.support.surfaces import flat, run, trade_off


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


@pytest.mark.parametrize("n_values", [2, 3, 5])
@pytest.mark.parametrize("partitions", [1, 2, 3, 4, 7])
def test_the_lattice_is_that_of_das_and_dennis_in_their_order(n_values: int, partitions: int) -> None:
    expected = get_reference_directions("das-dennis", n_values, n_partitions=partitions)
    assert lattice(n_values, partitions) == [rounded(row) for row in np.asarray(expected).tolist()]
    assert len(expected) == lattice_size(n_values, partitions)


def test_the_default_budget_leaves_two_values_what_they_had() -> None:
    settings = Search()
    most = most_references(settings.candidates)
    assert reference_candidates(2, settings.convex_partitions, most) == reference_candidates(2, 4)


@given(st.integers(2, 40), st.integers(1, 6), st.integers(0, 300))
def test_references_take_half_of_the_budget_at_most_and_favour_no_value(n: int, partitions: int, more: int) -> None:
    """The base model and single adapters are always there; coefficients of any two values sum to nearly the same."""
    candidates = least_candidates(n) + more
    rows = reference_candidates(n, partitions, most_references(candidates))
    whole = reference_candidates(n, partitions) if lattice_size(n, partitions) < 2000 else None
    assert rows[: n + 1] == reference_candidates(n, 1)[: n + 1]
    assert len(set(rows)) == len(rows) <= candidates / 2
    load = np.array(rows).sum(axis=0)
    assert np.ptp(load) <= 0.5 + 1e-3 * len(rows)
    if whole and len(whole) <= candidates / 2:
        assert rows == whole
    for row in rows[n + 2 :]:
        assert sum(row) == pytest.approx(1, abs=n * 1e-4)
        assert min(row) >= 0


def test_references_of_a_default_search_by_hand() -> None:
    """Three values: thirds; four: all pairs; five: the even mix and two rounds of pairs; eight: the even mix."""

    def mixed(n: int) -> list[tuple[float, ...]]:
        return reference_candidates(n, 4, 12)[n + 2 :]

    assert mixed(3) == [row for row in lattice(3, 3) if 1.0 not in row]
    assert mixed(4) == [row for row in lattice(4, 2) if 1.0 not in row]
    assert mixed(5)[0] == (0.2,) * 5
    assert [{i for i in range(5) if row[i]} for row in mixed(5)[1:]] == [{1, 4}, {2, 3}, {0, 4}, {1, 2}]
    assert mixed(8) == [(0.125,) * 8]
    assert reference_candidates(8, 1, 12)[10:] == [], "no mixes were asked for"


@pytest.mark.parametrize("n_values", [2, 3, 4, 5, 8, 11, 32])
def test_rounds_have_every_pair_once_and_no_value_twice(n_values: int) -> None:
    rounds = list(pairs_in_rounds(n_values))
    assert len(set(chain(*rounds))) == sum(map(len, rounds)) == comb(n_values, 2)
    for pairs in rounds:
        assert len(pairs) == n_values // 2
        assert np.array(pairs).sum(axis=0).max() == 0.5


@pytest.mark.parametrize("n_values", [32, 200])
def test_many_values_cost_nothing(n_values: int) -> None:
    """The lattice of 30 values in quarters was 12.5 GiB."""
    started = time.process_time()
    for candidates in (least_candidates(n_values), 2000):
        assert len(reference_candidates(n_values, 4, most_references(candidates))) <= candidates // 2
    assert time.process_time() - started < 2


@pytest.mark.parametrize("n_values", [2, 3, 4, 5, 8])
def test_a_default_search_leaves_its_references_and_finds_more(n_values: int) -> None:
    """From four values on it never did: the references were the budget. By the cheapest method that learns, here; all
    numbers, of the surrogate and of whole runs, are in benchmarks/default_references.py."""
    settings, bounds = Search(method="nsga2"), [(0.0, 1.5)] * n_values
    references = reference_candidates(n_values, settings.convex_partitions, most_references(settings.candidates))
    rows = flat(run(make_proposer(settings, bounds, n_values, references, 0)))
    assert rows[: len(references)] == references
    assert len(rows) == settings.candidates
    later = np.array(rows[len(references) :])
    assert len(later) >= settings.candidates / 2
    nearest = np.linalg.norm(later[:, None] - np.array(references), axis=2).min(axis=1)
    assert np.median(nearest) > 0.05
    worst = np.min([trade_off(row) for row in references], axis=0)
    volumes = [hypervolume([trade_off(row) for row in some], worst) for some in (references, rows)]
    assert volumes[1] > volumes[0]

"""Evolutionary search by ask and tell: budget, bounds, distinct candidates, determinism, failures, and the front."""

from collections.abc import Callable, Sequence
from statistics import median

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymoo.indicators.hv import HV

from mva_ray.records import Coefficients
from mva_ray.search.designs import reference_candidates
from mva_ray.search.evolution import EvolutionaryProposer

Surface = Callable[[Coefficients], list[float] | None]
Bounds = Sequence[tuple[float, float]]


def trade_off(row: Coefficients) -> list[float]:
    """Value i wants its own coefficient at 1.2 and the others at 0: no single best, and a known best of 0 for each."""
    return [
        -((row[i] - 1.2) ** 2) - 0.5 * sum(other**2 for j, other in enumerate(row) if j != i) for i in range(len(row))
    ]


def proposer(
    bounds: Bounds,
    budget: int = 30,
    population: int = 8,
    convex_partitions: int = 4,
    seed: int = 0,
    method: str = "nsga2",
) -> EvolutionaryProposer:
    return EvolutionaryProposer(method, bounds, budget, population, convex_partitions, seed)


def run(search: EvolutionaryProposer, surface: Surface = trade_off) -> list[list[Coefficients]]:
    """All generations until the search is over."""
    generations = []
    while generation := search.ask():
        search.tell(generation, [surface(row) for row in generation])
        generations.append(generation)
    return generations


def flat(generations: list[list[Coefficients]]) -> list[Coefficients]:
    return [row for generation in generations for row in generation]


@pytest.mark.parametrize("n_values", [2, 3, 5])
@pytest.mark.parametrize("budget", [8, 24, 61])
def test_the_budget_is_spent_exactly_on_distinct_candidates(n_values: int, budget: int) -> None:
    search = proposer([(0, 1.5)] * n_values, budget)
    rows = flat(run(search))
    assert len(rows) == len(set(rows)) == search.told == budget
    assert search.ask() == []


@pytest.mark.parametrize("n_values", [2, 3, 5])
def test_references_come_first(n_values: int) -> None:
    """Whatever the budget: users compare with them, and the first are the most important."""
    references = reference_candidates(n_values, 4)
    for budget in (8, len(references), len(references) + 20):
        assert flat(run(proposer([(0, 1.5)] * n_values, budget)))[: len(references)] == references[:budget]


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
    rows = flat(run(proposer(bounds, 60)))
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
    rows = np.array(flat(run(proposer([(-0.5, 2), (-0.5, 2)], 60)))[7:])
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
    rows = flat(run(proposer(bounds, 30, population=6, convex_partitions=2, seed=seed)))
    references = reference_candidates(len(bounds), 2)
    assert len(set(rows)) == len(rows) <= 30
    for row in rows[len(references) :]:
        assert all(lower <= number <= upper for number, (lower, upper) in zip(row, bounds, strict=True))


def test_a_space_with_too_few_candidates_ends_before_the_budget() -> None:
    """Four decimals of an interval this narrow are 3 x 3 candidates: the search must end, not turn for ever."""
    rows = flat(run(proposer([(0.1, 0.1002), (0.1, 0.1002)], 100, population=4)))
    assert len(rows) <= 7 + 9
    assert len(set(rows)) == len(rows)


def test_the_seed_decides_the_candidates() -> None:
    bounds = [(0, 1.5)] * 3
    first = run(proposer(bounds, 60, seed=4))
    np.random.seed(1)
    assert run(proposer(bounds, 60, seed=4)) == first
    assert run(proposer(bounds, 60, seed=5)) != first


def test_two_searches_at_once_do_not_disturb_each_other() -> None:
    bounds = [(0, 1.5)] * 2
    expected = run(proposer(bounds, 40, seed=4))
    one, other = proposer(bounds, 40, seed=4), proposer(bounds, 40, seed=9)
    generations = []
    while generation := one.ask():
        other.tell(theirs := other.ask(), [trade_off(row) for row in theirs])
        one.tell(generation, [trade_off(row) for row in generation])
        generations.append(generation)
    assert generations == expected


def test_the_order_of_telling_does_not_matter() -> None:
    """Trials finish in any order; a resumed run tells them in another."""
    bounds = [(0, 1.5)] * 2
    expected = run(proposer(bounds, 60))
    search, generations = proposer(bounds, 60), []
    while generation := search.ask():
        shuffled = generation[::-1]
        search.tell(shuffled, [trade_off(row) for row in shuffled])
        generations.append(generation)
    assert generations == expected


def failing(row: Coefficients) -> list[float] | None:
    return None if row[0] > 0.8 else trade_off(row)


@pytest.mark.parametrize(
    "surface",
    [failing, lambda row: None, lambda row: [1.0] * len(row), lambda row: [float(row[0] > 0.5), float(row[1] > 0.5)]],
    ids=["half fail", "all fail", "all equal", "many ties"],
)
def test_failures_and_ties_are_lived_with(surface: Surface) -> None:
    search = proposer([(0, 1.5)] * 2, 50)
    rows = flat(run(search, surface))
    assert len(set(rows)) == len(rows) == 50
    assert np.isfinite(rows).all()
    assert search.failures == sum(surface(row) is None for row in rows)
    assert search.told == 50


def test_failed_regions_are_avoided() -> None:
    """A failed candidate counts as worse than all others: its neighbourhood is searched less, not more."""
    later = flat(run(proposer([(0, 1.5)] * 2, 100), failing))[50:]
    undisturbed = flat(run(proposer([(0, 1.5)] * 2, 100)))[50:]
    assert sum(row[0] > 0.8 for row in later) < sum(row[0] > 0.8 for row in undisturbed)


def test_asking_again_before_telling_is_refused() -> None:
    search = proposer([(0, 1.5)] * 2)
    search.ask()
    with pytest.raises(RuntimeError, match="tell the rewards of the last candidates before asking for more"):
        search.ask()


def test_a_reward_for_each_candidate_is_required() -> None:
    search = proposer([(0, 1.5)] * 2)
    with pytest.raises(ValueError, match="zip"):
        search.tell(search.ask(), [[1.0, 1.0]])


def hypervolume(rows: Sequence[Coefficients]) -> float:
    return float(HV(ref_point=np.array([3.0, 3.0]))(-np.array([trade_off(row) for row in rows])))


def test_it_finds_more_of_the_front_than_random_search() -> None:
    """Median of seeds at 60 candidates, both with the references, on a surface whose front is known."""
    references, found, drawn = reference_candidates(2, 4), [], []
    for seed in range(7):
        found.append(hypervolume(flat(run(proposer([(0, 3.0)] * 2, 60, seed=seed)))))
        random = np.random.default_rng(seed).uniform(0, 3.0, (60 - len(references), 2))
        drawn.append(hypervolume([*references, *(tuple(row) for row in random.tolist())]))
    assert median(found) > median(drawn)
    assert hypervolume(references) < median(found)


@pytest.mark.parametrize("method", ["nsga3", "unsga3", "sms_emoa", "rvea", "ctaea"])
@pytest.mark.parametrize("n_values", [2, 3, 5])
def test_every_algorithm_keeps_the_same_contract(method: str, n_values: int) -> None:
    bounds = [(-0.5, 1.5)] * n_values
    rows = flat(run(proposer(bounds, 61, convex_partitions=2, method=method), failing))
    references = reference_candidates(n_values, 2)
    assert rows[: len(references)] == references
    assert len(set(rows)) == len(rows) == 61
    assert all(-0.5 <= number <= 1.5 for row in rows for number in row)
    assert flat(run(proposer(bounds, 61, convex_partitions=2, method=method), failing)) == rows

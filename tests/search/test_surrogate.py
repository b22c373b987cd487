"""The surrogate: posterior, choice of a batch, and the same contract of ask and tell as the other methods."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from mva_ray.config import Search
from mva_ray.records import Coefficients
from mva_ray.search.designs import reference_candidates
from mva_ray.search.proposer import Proposer, make_proposer
from mva_ray.search.surrogate import Posterior, SurrogateProposer, pick_batch

Surface = Callable[[Coefficients], list[float] | None]
BOUNDS = [(0.0, 1.5)] * 2


def trade_off(row: Coefficients) -> list[float]:
    return [-((row[i] - 1.2) ** 2) - 0.5 * sum(w**2 for j, w in enumerate(row) if j != i) for i in range(len(row))]


def run(search: Proposer, noise: float = 0.0) -> list[list[Coefficients]]:
    rng, batches = np.random.default_rng(0), []
    while batch := search.ask():
        rewards = [(np.array(trade_off(row)) + noise * rng.normal(size=len(row))).tolist() for row in batch]
        search.tell(batch, rewards, [[noise] * len(row) for row in batch])
        batches.append(batch)
    return batches


def flat(batches: Sequence[list[Coefficients]]) -> list[Coefficients]:
    return [row for batch in batches for row in batch]


@pytest.mark.parametrize("n_values", [2, 3, 5])
def test_references_come_first_then_batches_of_new_candidates_inside_the_bounds(n_values: int) -> None:
    references = reference_candidates(n_values, 2)
    budget = len(references) + 10
    batches = run(SurrogateProposer([(-0.5, 1.5)] * n_values, budget, 4, 2, seed=0))
    assert batches[0] == references
    assert [len(batch) for batch in batches[1:]] == [4, 4, 2]
    rows = flat(batches)
    assert len(set(rows)) == budget
    assert all(-0.5 <= number <= 1.5 for row in rows for number in row)


def test_the_seed_and_what_was_told_decide_everything() -> None:
    """A killed run tells the same again, in other pieces, and must be asked for the same candidates."""
    expected = run(SurrogateProposer(BOUNDS, 23, 4, 4, seed=3))
    np.random.seed(1)
    again = SurrogateProposer(BOUNDS, 23, 4, 4, seed=3)
    for batch in expected[:-1]:
        assert again.ask() == batch
        shuffled = batch[::-1]
        again.tell(shuffled, [trade_off(row) for row in shuffled], [[0.0, 0.0]] * len(shuffled))
    assert again.ask() == expected[-1]


@pytest.mark.parametrize(
    "surface",
    [lambda row: None, lambda row: [1.0, 1.0], lambda row: trade_off(row) if row[0] < 0.5 else None],
    ids=["all fail", "all equal", "most fail"],
)
def test_failures_and_ties_are_lived_with(surface: Surface) -> None:
    search = SurrogateProposer(BOUNDS, 19, 4, 4, seed=0)
    rows: list[Coefficients] = []
    while batch := search.ask():
        search.tell(batch, [surface(row) for row in batch])
        rows += batch
    assert len(set(rows)) == len(rows) == 19


def test_it_finds_more_of_a_noisy_front_than_sobol_points() -> None:
    def hypervolume(rows: Sequence[Coefficients]) -> float:
        points = np.random.default_rng(1).uniform(-2, 0, (4096, 2))
        return float(np.mean((np.array([trade_off(row) for row in rows])[:, None] >= points).all(2).any(0)))

    found = flat(run(SurrogateProposer(BOUNDS, 23, 4, 4, seed=0), noise=0.02))
    drawn = flat(run(make_proposer(Search(method="sobol", candidates=23), BOUNDS, 0)))
    assert hypervolume(found) > hypervolume(drawn)


def test_posterior_is_sure_where_it_was_told_exactly_and_shrinks_what_is_noise() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 1, (20, 2))
    smooth = np.stack([np.sin(x[:, 0]), x[:, 1] - x[:, 0]], 1)
    means, deviations = Posterior(x, smooth, np.zeros((20, 2))).predict(x)
    assert means == pytest.approx(smooth, abs=0.01)
    assert deviations.max() < 0.01
    noise = rng.normal(size=(20, 2)) * 0.3
    means, _ = Posterior(x, smooth + noise, np.full((20, 2), 0.3)).predict(x)
    assert np.abs(means - smooth).mean() < np.abs(noise).mean()


def test_pick_batch_by_hand() -> None:
    """One known point (1, 1) and no doubt: (3, 3) covers all; once it is picked no other improves anything."""
    known = np.tile([[1.0, 1.0], [0.0, 0.0]], (4, 1, 1))
    pool = np.tile([[0.5, 0.5], [2.0, 2.0], [3.0, 3.0]], (4, 1, 1))
    assert pick_batch(known, pool, 3, np.random.default_rng(0)) == [2]


def test_pick_batch_keeps_its_members_apart() -> None:
    """(3, 1) and its near copy promise most, but the second of a batch adds more at the other end."""
    known = np.tile([[0.0, 0.0], [0.5, 0.5]], (4, 1, 1))
    pool = np.tile([[3.0, 1.0], [2.99, 1.0], [0.8, 2.0]], (4, 1, 1))
    assert pick_batch(known, pool, 2, np.random.default_rng(0)) == [0, 2]


def test_pick_batch_of_three_values_takes_the_share_of_draws_into_account() -> None:
    """A candidate that is twice as good in one draw of four promises less than one that is sure."""
    known = np.zeros((4, 1, 3))
    sure, rare = np.full((4, 3), 1.0), np.zeros((4, 3))
    rare[0] = 1.2
    assert pick_batch(known, np.stack([rare, sure], 1), 1, np.random.default_rng(0)) == [1]

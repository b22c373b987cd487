"""The surrogate: posterior, choice of a batch, and what it finds."""

from collections.abc import Sequence

import numpy as np
import pytest

from mva_ray.records import Coefficients
from mva_ray.search.surrogate import Posterior, pick_batch
from tests.surfaces import flat, make, noisy, run, trade_off

BOUNDS = [(0.0, 1.5)] * 2


def test_it_finds_more_of_a_noisy_front_than_sobol_points() -> None:
    def hypervolume(rows: Sequence[Coefficients]) -> float:
        points = np.random.default_rng(1).uniform(-2, 0, (4096, 2))
        return float(np.mean((np.array([trade_off(row) for row in rows])[:, None] >= points).all(2).any(0)))

    found = flat(run(make("surrogate", BOUNDS, 23, 4), noisy(trade_off, 0.02)))
    drawn = flat(run(make("sobol", BOUNDS, 23)))
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

"""The bootstrap against closed forms: a normal mean, an upward bias, pairing."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import linprog

from mva_ray.maths.bootstrap import Resamples, interval
from mva_ray.maths.pareto import hypervolume

RANDOM = np.random.default_rng(0)


def test_the_first_draw_is_the_data() -> None:
    rewards = RANDOM.normal(size=(5, 30, 2))
    draws = Resamples.draw(prompts=30, seeds=3, resamples=10)
    expected = hypervolume(rewards.mean(axis=1), [-1, -1]) / 9
    assert draws.hypervolumes(rewards, [-1, -1], [2, 2])[0] == pytest.approx(expected)
    assert draws.over_seeds(np.tile([[1.0], [2.0], [6.0]], 11))[0] == pytest.approx(3)


def test_a_unit_box_is_full_for_the_ideal_point() -> None:
    draws = Resamples.draw(prompts=4, seeds=1, resamples=5)
    rewards = np.tile([30.0, -2.0], (1, 4, 1))
    assert draws.hypervolumes(rewards, [10, -4], [30, -2]) == pytest.approx(np.ones(6))


def test_draws_depend_on_the_seed_alone() -> None:
    first, again, other = (Resamples.draw(8, 3, 20, seed) for seed in (1, 1, 2))
    assert (first.prompts == again.prompts).all()
    assert (first.seeds == again.seeds).all()
    assert not (first.prompts == other.prompts).all()


def test_a_draw_is_the_mean_over_the_prompts_it_holds() -> None:
    """One candidate, two values, the second constant: the hypervolume is the mean of the first."""
    rewards = np.stack([RANDOM.uniform(size=12), np.ones(12)], axis=1)[None]
    draws = Resamples.draw(prompts=12, seeds=1, resamples=50)
    assert draws.hypervolumes(rewards, [0, 0], [1, 1]) == pytest.approx(draws.prompts @ rewards[0, :, 0])


def test_three_values() -> None:
    draws = Resamples.draw(prompts=6, seeds=1, resamples=3)
    rewards = np.broadcast_to([[[0.5, 1.0, 1.0]], [[1.0, 0.5, 1.0]]], (2, 6, 3))
    assert draws.hypervolumes(rewards, [0] * 3, [1] * 3) == pytest.approx(np.full(4, 0.75))


def test_the_most_of_one_value_at_so_much_of_the_other_by_hand() -> None:
    """At 5 of the first value: 8 by (6, 8) alone, 8.33 by drawing it five times of six and (0, 10) else."""
    draws = Resamples.draw(prompts=3, seeds=1, resamples=2)
    rewards = np.broadcast_to(np.array([[[0.0, 10.0]], [[10.0, 0.0]], [[6.0, 8.0]]]), (3, 3, 2))
    assert draws.attained(rewards, 5) == pytest.approx(np.full(3, 10 - 5 / 6 * 2))
    assert draws.attained(rewards, 6) == pytest.approx(np.full(3, 8))
    assert draws.attained(rewards, -1) == pytest.approx(np.full(3, 10))
    assert np.isnan(draws.attained(rewards, 11)).all()


@given(seed=st.integers(0, 10_000), n=st.integers(1, 8), level=st.floats(-2, 2))
def test_no_mixture_of_any_number_of_candidates_gives_more(seed: int, n: int, level: float) -> None:
    """Against the linear programme over all mixtures."""
    means = np.random.default_rng(seed).normal(size=(n, 2))
    draws = Resamples.draw(prompts=1, seeds=1, resamples=1)
    found = draws.attained(means[:, None], level)[0]
    best = linprog(-means[:, 1], A_ub=[-means[:, 0]], b_ub=[-level], A_eq=[np.ones(n)], b_eq=[1])
    assert np.isnan(found) if best.status == 2 else found == pytest.approx(-best.fun, abs=1e-6)


def test_a_seed_without_a_result_is_left_out() -> None:
    draws = Resamples.draw(prompts=4, seeds=2, resamples=200)
    means = draws.over_seeds(np.stack([np.full(201, 5.0), np.full(201, np.nan)]))
    assert set(means[~np.isnan(means)]) == {5.0}
    assert np.isnan(means).mean() == pytest.approx(0.25, abs=0.1)  # both draws hit the seed without one
    assert interval(means, 1).estimate == 5


def test_the_interval_of_a_normal_mean_is_that_of_the_textbook() -> None:
    numbers = RANDOM.normal(size=400)
    draws = Resamples.draw(prompts=400, seeds=1, resamples=4000)
    found = interval(draws.prompts @ numbers, 1)
    half = 1.96 * numbers.std() / 20
    assert found.estimate == pytest.approx(numbers.mean())
    assert (found.low, found.high) == pytest.approx((numbers.mean() - half, numbers.mean() + half), abs=0.01)


def test_few_seeds_widen_the_interval() -> None:
    draws = RANDOM.normal(size=2001)
    draws[0] = 0
    one, three = interval(draws, 1), interval(draws, 3)
    assert three.high - three.low == pytest.approx((one.high - one.low) * 1.5**0.5)


def test_an_upward_bias_of_the_draws_is_taken_off() -> None:
    found = interval(np.concatenate([[1.0], RANDOM.normal(1.2, 0.1, size=4000)]), 1)
    assert (found.low + found.high) / 2 == pytest.approx(0.8, abs=0.01)


def test_an_interval_that_touches_zero_holds_it() -> None:
    assert interval(np.zeros(11), 3).holds_zero
    assert not interval(np.full(11, 0.5), 3).holds_zero
    assert not interval(np.full(11, -0.5), 3).holds_zero


def test_nothing_known_gives_no_interval() -> None:
    assert np.isnan(interval(np.full(5, np.nan), 0).low)
    assert interval(np.full(5, np.nan), 0).holds_zero


def test_a_large_comparison_takes_seconds() -> None:
    start = time.perf_counter()
    draws = Resamples.draw(prompts=40, seeds=3, resamples=1000)
    for _ in range(30):
        draws.hypervolumes(RANDOM.normal(size=(10, 40, 2)), [-1, -1], [1, 1])
    assert time.perf_counter() - start < 10


FRONT = 0.9 * np.stack([np.sin(np.linspace(0, np.pi / 2, 10)), np.cos(np.linspace(0, np.pi / 2, 10))], axis=1)
LOW, HIGH = np.full(2, -0.1), np.ones(2)


def simulated_means(random: np.random.Generator, better: float, seeds: int) -> NDArray[np.float64]:
    """[seeds, candidates, values]: the front of a method whose training differs by seed."""
    shared, own = random.normal(scale=0.04, size=(seeds, 1, 2)), random.normal(scale=0.02, size=(seeds, 10, 2))
    return FRONT * (1 + better) + shared + own


@pytest.mark.parametrize("seeds", [3, 5])
def test_the_interval_of_a_difference_holds_the_truth_about_as_often_as_it_says(seeds: int) -> None:
    """Two methods of known quality, 10 candidates, 40 prompts; the truth is over all seeds, on exact means."""
    random = np.random.default_rng(seeds)
    shares = [hypervolume((simulated_means(random, better, 20000) + 0.1) / 1.1, [0, 0]) for better in (0, 0.03)]
    truth, held, rounds = shares[1].mean() - shares[0].mean(), 0, 300
    for index in range(rounds):
        draws = Resamples.draw(prompts=40, seeds=seeds, resamples=300, seed=index)
        prompts = random.normal(scale=0.3, size=(1, 40, 2))
        measured = []
        for better in (0, 0.03):
            means = simulated_means(random, better, seeds)[:, :, None]
            rewards = means + prompts + random.normal(scale=0.25, size=(seeds, 10, 40, 2))
            measured.append(np.stack([draws.hypervolumes(run, LOW, HIGH) for run in rewards]))
        found = interval(draws.over_seeds(measured[1] - measured[0]), seeds)
        held += found.low <= truth <= found.high
    print(f"{seeds} seeds: {held / rounds:.3f}")
    assert 0.88 <= held / rounds <= 0.99

"""Paired tests and bootstraps against closed forms, slow references and simulations."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from mva_ray.maths.bootstrap import Resamples
from mva_ray.maths.paired import apart, differences, front_probability, rate
from mva_ray.maths.pareto import front_mask


def test_a_difference_by_hand() -> None:
    """Differences 1, 2, 3: mean 2, standard error 1 / sqrt(3), t(2) at 0.975 is 4.3027."""
    found = differences([[2.0], [4.0], [6.0]], [[1.0], [2.0], [3.0]])
    assert found.mean.tolist() == [2]
    assert (found.low[0], found.high[0]) == pytest.approx((2 - 4.3027 / 3**0.5, 2 + 4.3027 / 3**0.5), abs=1e-3)


@given(arrays(np.float64, (2, 7, 3), elements=st.integers(-4, 4).map(float)))
@settings(max_examples=60, deadline=None)
def test_differences_are_scipys_paired_t_test(rewards: np.ndarray) -> None:
    found = differences(rewards[0], rewards[1])
    for column in range(3):
        a, b = rewards[0, :, column], rewards[1, :, column]
        if np.ptp(a - b) > 0:
            theirs = stats.ttest_rel(a, b)
            assert found.p[column] == pytest.approx(theirs.pvalue)
            interval = theirs.confidence_interval(0.95)
            assert (found.low[column], found.high[column]) == pytest.approx((interval.low, interval.high))
        else:
            assert found.p[column] == (a[0] == b[0])
            assert found.low[column] == found.high[column] == found.mean[column]


def test_of_one_prompt_nothing_is_known() -> None:
    found = differences([[3.0, 3.0]], [[1.0, 5.0]])
    assert (found.p.tolist(), found.low.tolist(), found.high.tolist()) == ([1, 1], [-np.inf] * 2, [np.inf] * 2)
    assert not apart(np.arange(4.0).reshape(2, 1, 2)).any()


def test_apart_is_a_bonferroni_of_paired_tests() -> None:
    random = np.random.default_rng(0)
    rewards = random.normal(size=(6, 30, 3)) + random.normal(size=(1, 30, 1)) + 0.4 * random.normal(size=(6, 1, 3))
    found = apart(rewards)
    for a in range(6):
        for b in range(6):
            surely = a != b and bool((differences(rewards[a], rewards[b]).p < 0.05 / 3).any())
            assert found[a, b] == surely


@pytest.mark.parametrize("k", [2, 5])
def test_of_equals_few_are_told_apart(k: int) -> None:
    random, rounds = np.random.default_rng(k), 2000
    told = np.mean([apart(random.normal(size=(2, 20, k)))[0, 1] for _ in range(rounds)])
    assert 0.03 <= told <= 0.065


@pytest.mark.parametrize(("n", "k"), [(1, 2), (12, 2), (9, 3), (15, 8)])
def test_the_probability_of_the_front_is_counted(n: int, k: int) -> None:
    random = np.random.default_rng(n)
    rewards = random.integers(-2, 3, size=(n, 8, k)).astype(float)
    draws = Resamples.draw(8, 1, 200).prompts[1:]
    slow = np.mean([front_mask(np.einsum("p,npk->nk", draw, rewards).round(9)) for draw in draws], axis=0)
    assert front_probability(rewards, draws) == pytest.approx(slow, abs=0.03)
    assert front_probability(rewards, draws) == pytest.approx(slow)


def test_copies_share_their_place_on_the_front() -> None:
    rewards = np.stack([np.ones((5, 2))] * 2 + [np.zeros((5, 2))])
    assert front_probability(rewards, Resamples.draw(5, 1, 20).prompts[1:]).tolist() == [1, 1, 0]


def test_the_probability_of_two_equals_is_a_half_each_in_one_value() -> None:
    random = np.random.default_rng(1)
    noise = random.normal(size=(1, 400, 1))
    rewards = np.concatenate(
        [np.concatenate([noise, -noise]) - np.concatenate([noise, -noise]).mean(1, keepdims=True)] * 2, 2
    )
    found = front_probability(rewards, Resamples.draw(400, 1, 4000).prompts[1:])
    assert found == pytest.approx([0.5, 0.5], abs=0.03)


def fieller(gain: np.ndarray, loss: np.ndarray) -> tuple[float, float]:
    """The interval of mean(loss) / mean(gain), in closed form."""
    n = len(gain)
    a, b = loss.mean(), gain.mean()
    cov = np.cov(loss, gain) / n
    t2 = stats.t.ppf(0.975, n - 1) ** 2
    square, middle, rest = b**2 - t2 * cov[1, 1], a * b - t2 * cov[0, 1], a**2 - t2 * cov[0, 0]
    root = np.sqrt(middle**2 - square * rest)
    return (middle - root) / square, (middle + root) / square


@pytest.mark.parametrize("seed", range(4))
def test_a_rate_has_fiellers_interval(seed: int) -> None:
    random = np.random.default_rng(seed)
    shared = random.normal(size=200)
    gain, loss = 1 + shared + random.normal(size=200), 2.3 + 1.5 * shared + random.normal(size=200)
    found, (low, high) = rate(gain, loss, Resamples.draw(200, 1, 4000).prompts), fieller(gain, loss)
    assert found.estimate == pytest.approx(loss.mean() / gain.mean())
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.12 * (high - low))


def test_a_rate_without_a_sure_gain_may_be_anything() -> None:
    gain = np.array([1.0, -1.0, 0.5, -0.4])
    draws = Resamples.draw(4, 1, 500).prompts
    found = rate(gain, np.ones(4), draws)
    assert (found.low, found.high) == (-np.inf, np.inf)
    assert found.estimate == pytest.approx(1 / 0.025)
    assert np.isnan(rate(-np.ones(4), np.ones(4), draws).estimate)


def test_a_constant_rate_is_exact() -> None:
    found = rate(np.full(6, 2.0), np.full(6, 5.0), Resamples.draw(6, 1, 100).prompts)
    assert (found.estimate, found.low, found.high) == pytest.approx((2.5, 2.5, 2.5))


def test_a_rates_interval_holds_the_truth_as_often_as_it_says() -> None:
    random, held, rounds = np.random.default_rng(5), 0, 400
    for index in range(rounds):
        shared = random.normal(size=40)
        gain, loss = 1 + 0.8 * shared + random.normal(size=40), 2 + shared + random.normal(size=40)
        found = rate(gain, loss, Resamples.draw(40, 1, 400, index).prompts)
        held += found.low <= 2 <= found.high
    print(f"{held / rounds:.3f}")
    assert 0.90 <= held / rounds <= 0.98

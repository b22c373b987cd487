"""The bounds of racing: by hand, and that they hold as often as they say where it is hardest."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from mva_ray.maths.racing import dominating, nearest, upper_bounds, variogram_slope


def test_a_bound_by_hand() -> None:
    """Differences 1, 3: mean 2, variance 2; half of 4 prompts; Student's t with 1 degree of freedom at 0.75 is 1."""
    bound = upper_bounds([[11.0], [13.0]], [[10.0], [10.0], [20.0], [24.0]], [0.0], error_rate=0.25)
    assert bound == pytest.approx([16 + 2 + 1 * (2 * (1 - 2 / 4) / 2) ** 0.5])


def test_identical_completions_leave_the_doubt_that_is_usual() -> None:
    """Two prompts with the same answers do not show that the others have the same, too."""
    known = [[0.0], [1.0], [2.0], [5.0]]
    assert upper_bounds(known[:2], known, [0.0], 0.25) == pytest.approx([2.0])
    assert upper_bounds(known[:2], known, [8.0], 0.25) == pytest.approx([2 + (8 * 0.5 / 2) ** 0.5])


def test_hard_prompts_first_do_not_make_a_candidate_look_bad() -> None:
    """The known candidate was as bad there; without the pairing the bound would be near -10."""
    known = [[-10.0, 0.0], [-10.2, 0.1], [9.9, 0.0], [10.3, 0.1]]
    observed = [[-9.5, 0.0], [-9.6, 0.2]]
    assert upper_bounds(observed, known, [0.0, 0.0], 0.05)[0] > 0.5


def test_all_prompts_leave_no_doubt() -> None:
    rewards = np.random.default_rng(0).normal(size=(6, 3))
    assert upper_bounds(rewards, np.zeros((6, 3)), [9.0] * 3, 0.01) == pytest.approx(rewards.mean(axis=0))


def test_dominating_takes_the_first_that_is_higher_somewhere_and_lower_nowhere() -> None:
    means = [[1.0, 1.0, 0.0], [1.0, 1.0, 1.0], [1.0, 1.5, 1.0], [2.0, 2.0, 2.0]]
    assert dominating([1.0, 1.0, 1.0], means) == 2
    assert dominating([1.0, 1.0, 1.0], means[:2]) is None, "as good is not better"
    assert dominating([0.0, 0.0, 3.0], means) is None


@given(arrays(float, (5, 3), elements=st.integers(-3, 3)), arrays(float, 3, elements=st.integers(-3, 3)))
def test_whatever_has_lower_bounds_is_dominated_too(means: NDArray[np.float64], bounds: NDArray[np.float64]) -> None:
    if dominating(bounds, means) is not None:
        assert dominating(bounds - 1, means) is not None
        worst = means[dominating(bounds, means)]
        assert (worst >= bounds).all()


def test_nearest_is_the_first_of_several() -> None:
    assert nearest([0.0, 0.0], [[3.0, 4.0], [0.0, -1.0], [1.0, 0.0]]) == (1, 1.0)


def test_the_slope_of_the_variogram_by_hand() -> None:
    """0 and 1 are each other's nearest, variance 2; 1 is the nearest of 4, variance 18: (2 + 2 + 18) / (1 + 1 + 3)."""
    rewards = [[[0.0], [0.0]], [[0.0], [2.0]], [[-6.0], [2.0]]]
    assert variogram_slope([[0.0], [1.0], [4.0]], rewards) == pytest.approx([22 / 5])


DRAWS: dict[str, tuple[Callable[[np.random.Generator], NDArray[np.float64]], float]] = {
    "gaussian": (lambda rng: rng.normal(size=(32, 2)), 1.0),
    "skewed": (lambda rng: rng.lognormal(size=(32, 2)), 4.67),
    "tied": (lambda rng: 3.0 * (rng.random((32, 2)) < 0.1), 0.81),
}
"""Rewards of 32 prompts and two values, and their variance."""


def rate_of_wrong_stops(noise: str, expected: float) -> float:
    """Two opponents far ahead on one value each, level with the candidate on the other; looks at 8, 16 and 24."""
    draw, _ = DRAWS[noise]
    rng = np.random.default_rng(1)
    wrong = 0
    for _ in range(1000):
        known, candidate = draw(rng), draw(rng)
        opponents = candidate.mean(axis=0) + np.array([[0.0, 99.0], [99.0, 0.0]]) - 1e-9
        looks = (upper_bounds(candidate[:n], known, [expected, expected], 0.2 / (2 * 3)) for n in (8, 16, 24))
        wrong += any(dominating(bounds, opponents) is not None for bounds in looks)
    return wrong / 1000


@pytest.mark.parametrize("noise", DRAWS)
def test_a_wrong_stop_is_as_rare_as_it_should_be(noise: str) -> None:
    """Where it is likeliest: at an inner corner of the front of the opponents. 0.2 was asked for."""
    _, variance = DRAWS[noise]
    assert 0.02 < rate_of_wrong_stops(noise, 2 * variance) < 0.2


def test_the_variance_of_few_prompts_alone_would_stop_too_many() -> None:
    """That is why the expected variance is the least that a bound assumes."""
    assert rate_of_wrong_stops("tied", 0.0) > 0.2

"""VC-Soup's filter against arithmetic by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mva_ray.maths.consistency import consistency, reward_gaps


def test_gaps_by_hand() -> None:
    # First value: 3, 1 against 1, -1, mean 1, variance (4 + 0 + 0 + 4) / 4 = 2. Second: the same times 10, shifted.
    chosen, rejected = [[3, 35], [1, 15]], [[1, 15], [-1, -5]]
    assert reward_gaps(chosen, rejected) == pytest.approx(np.full((2, 2), 2 / math.sqrt(2)))


def test_a_value_that_is_the_same_everywhere_has_no_gap() -> None:
    assert reward_gaps([[1, 0.1], [2, 0.1]], [[0, 0.1], [0, 0.1]])[:, 1].tolist() == [0, 0]


def test_no_pairs() -> None:
    assert reward_gaps(np.zeros((0, 3)), np.zeros((0, 3))).shape == (0, 3)
    assert consistency(np.zeros((0, 3))).shape == (0,)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_rewards_that_are_not_finite_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        reward_gaps([[0, bad]], [[0, 0]])


def test_shapes_must_match() -> None:
    with pytest.raises(ValueError, match="shape"):
        reward_gaps([[0, 1]], [[0, 1, 2]])


def test_consistency_by_hand() -> None:
    gaps = [[2, 2, 2], [-1, -1, -1], [1, -1, 0], [3, 0, 0], [1, 1, -1], [0, 0, 0]]
    expected = [1, -1, 0, 1 / math.sqrt(3), 1 / 3, 0]
    assert consistency(gaps).tolist() == pytest.approx(expected)


def test_equal_gaps_are_exactly_consistent() -> None:
    """So that a threshold of 1 keeps them."""
    assert consistency([[0.1] * 5, [1e-300] * 5, [1e300] * 5]).tolist() == pytest.approx([1, 1, 1])


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=5), st.floats(0.01, 100))
def test_consistency_is_bounded_odd_and_blind_to_scale(gaps: list[float], scale: float) -> None:
    table = np.array([gaps])
    (cosine,) = consistency(table)
    assert -1 <= cosine <= 1
    assert consistency(-table)[0] == pytest.approx(-cosine)
    assert consistency(table * scale)[0] == pytest.approx(cosine, abs=1e-9)

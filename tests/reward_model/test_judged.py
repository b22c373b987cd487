"""The judgement of a reward model: by hand, and its calibration in closed form."""

from math import exp, log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mva_ray.reward_model.judged import STEEPEST, calibrating_scale, cross_calibrated, judge


def test_by_hand() -> None:
    found = judge(np.array([1.0, -1.0, 0.0, 2.0]), np.array([[3, 2], [2, 3], [1, 1], [5, 1]]))
    assert found.accuracy == pytest.approx(2.5 / 4)
    assert found.longer == pytest.approx(2.5 / 4)
    losses = [log(1 + exp(-1)), log(1 + exp(1)), log(2), log(1 + exp(-2))]
    assert found.log_loss == pytest.approx(sum(losses) / 4)
    assert 0 < found.interval[0] < found.accuracy < found.interval[1] < 1


def test_a_coin_has_the_log_loss_of_a_coin() -> None:
    assert judge(np.zeros(50), np.zeros((50, 2), int)).log_loss == pytest.approx(log(2))


@given(right=st.integers(6, 95), margin=st.floats(0.1, 5))
def test_margins_of_one_size_are_scaled_to_the_odds_of_being_right(right: int, margin: float) -> None:
    """With a share p right, sigmoid(scale * margin) = p where p > 1/2, and the least scale where a coin is better.

    Of 100 pairs each counts as right by 101 / 102.
    """
    margins = margin * np.array([1.0] * right + [-1.0] * (100 - right))
    share = right / 100 * 101 / 102 + (1 - right / 100) / 102
    expected = log(share / (1 - share)) / margin
    lowest, highest = 1 / STEEPEST, STEEPEST
    assert calibrating_scale(margins) == pytest.approx(min(max(expected, lowest), highest), rel=1e-2, abs=1e-3)


def test_thirty_pairs_that_are_right_do_not_make_it_certain() -> None:
    assert calibrating_scale(np.full(30, 0.5)) == pytest.approx(log(31) / 0.5, rel=1e-3)


@given(st.lists(st.integers(-500, 500).map(lambda cents: cents / 100), min_size=2, max_size=20))
def test_no_margin_has_a_part_in_its_own_scale(margins: list[float]) -> None:
    """A changed margin changes the scale of the other half; its own half is changed at itself alone."""
    before = cross_calibrated(np.array(margins))
    after = cross_calibrated(np.array([margins[0] + 1, *margins[1:]]))
    assert after[2::2] == pytest.approx(before[2::2])
    assert np.sign(before) == pytest.approx(np.sign(margins))
    assert before[1::2] == pytest.approx(calibrating_scale(np.array(margins[::2])) * np.array(margins[1::2]))

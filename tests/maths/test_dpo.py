"""The preference losses against arithmetic by hand."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, tensor

from mva_ray.maths.dpo import dpo_loss, modpo_margin, modpo_scale

CHOSEN, REF_CHOSEN = tensor([-10.0, -20.0]), tensor([-12.0, -20.0])
REJECTED, REF_REJECTED = tensor([-15.0, -18.0]), tensor([-14.0, -20.0])
"""Ahead by h = (-10 + 12) - (-15 + 14) = 3 and (-20 + 20) - (-18 + 20) = -2 nats."""


def by_hand(x: float) -> float:
    """-log sigmoid(x)."""
    return math.log(1 + math.exp(-x))


def loss(beta: float = 0.1, weight: Tensor | float = 1.0, margin: Tensor | float = 0.0) -> float:
    return dpo_loss(CHOSEN, REJECTED, REF_CHOSEN, REF_REJECTED, beta, weight, margin).item()


def test_dpo_by_hand() -> None:
    # -log sigmoid(0.3) = log(1.740818) = 0.554355; -log sigmoid(-0.2) = log(2.221403) = 0.798139.
    assert loss() == pytest.approx((0.554355 + 0.798139) / 2, abs=1e-6)


def test_before_the_first_step_the_loss_is_log_2() -> None:
    assert dpo_loss(CHOSEN, REJECTED, CHOSEN, REJECTED, 0.1).item() == pytest.approx(math.log(2))


def test_weights_by_hand_divide_by_the_number_of_pairs() -> None:
    assert loss(weight=tensor([0.25, 0.75])) == pytest.approx((0.25 * 0.554355 + 0.75 * 0.798139) / 2, abs=1e-6)


def test_weighted_pairs_of_two_values_are_the_weighted_sum_of_their_losses() -> None:
    first, second = (
        dpo_loss(CHOSEN[i : i + 1], REJECTED[i : i + 1], REF_CHOSEN[i : i + 1], REF_REJECTED[i : i + 1], 0.1)
        for i in range(2)
    )
    assert 2 * loss(weight=tensor([0.3, 0.7])) == pytest.approx((0.3 * first + 0.7 * second).item())


def test_a_margin_is_what_the_chosen_must_be_ahead_by() -> None:
    assert loss(margin=tensor([0.3, -0.2])) == pytest.approx(math.log(2))
    assert loss(margin=0.5) > loss() > loss(margin=-0.5)


def test_gradient_by_hand() -> None:
    """d loss / d chosen = -weight * beta * sigmoid(margin - beta h) / n."""
    chosen = CHOSEN.clone().requires_grad_()
    weight, margin = tensor([1.0, 0.5]), tensor([0.0, 1.0])
    dpo_loss(chosen, REJECTED, REF_CHOSEN, REF_REJECTED, 0.1, weight, margin).backward()  # type: ignore[no-untyped-call]
    expected = [-0.1 / (1 + math.exp(0.3)) / 2, -0.5 * 0.1 / (1 + math.exp(-1.2)) / 2]
    assert chosen.grad is not None
    assert chosen.grad.tolist() == pytest.approx(expected)


def test_far_off_pairs_stay_finite() -> None:
    far = dpo_loss(tensor([-1e6]), tensor([1e6]), tensor([0.0]), tensor([0.0]), 1.0)
    assert far.item() == pytest.approx(2e6)


def test_modpo_by_hand() -> None:
    # w = (0.25, 0.5, 0.25), k = 0: 4 * (0.5 * 2 + 0.25 * -1) = 3 and 4 * (0.5 * -1 + 0) = -2.
    assert modpo_margin([0.25, 0.5, 0.25], [[9, 2, -1], [9, -1, 0]], 0).tolist() == [3, -2]
    assert modpo_scale([0.25, 0.5, 0.25], 0) == 4


def test_modpo_loss_is_the_formula_of_the_paper() -> None:
    weights, k, beta = [0.4, 0.6], 1, 0.1
    others = [1.5, -0.5]
    margin = tensor(modpo_margin(weights, [[gap, math.nan] for gap in others], k))
    scaled = loss(beta * modpo_scale(weights, k), margin=margin)
    written_out = [by_hand(beta / 0.6 * h - 0.4 / 0.6 * gap) for h, gap in zip([3, -2], others, strict=True)]
    assert scaled == pytest.approx(sum(written_out) / 2)


def test_modpo_without_weight_on_the_others_is_dpo() -> None:
    assert modpo_margin([1, 0, 0], [[1, 2, 3]], 0).tolist() == [0]
    assert modpo_scale([1, 0, 0], 0) == 1


def test_the_optimum_shares_the_reward_as_the_weights_say() -> None:
    """At equal loss sigma(z), the implicit reward is w^T r: w_k r_k + the others' part of the margin."""
    weights, own_gap, other_gap = [0.25, 0.75], 1.2, 0.8
    target = weights[0] * own_gap + weights[1] * other_gap
    ahead = target * modpo_scale(weights, 0) - modpo_margin(weights, [[0, other_gap]], 0)[0]
    assert ahead == pytest.approx(own_gap)


def test_a_floor_bounds_what_a_small_weight_does() -> None:
    assert modpo_scale([0.01, 0.99], 0, floor=0.1) == 10
    assert modpo_margin([0.01, 0.99], [[0, 1]], 0, floor=0.1).tolist() == pytest.approx([9.9])
    assert modpo_scale([0.5, 0.5], 0, floor=0.1) == 2


@pytest.mark.parametrize("weights", [[0.0, 1.0], [-0.5, 1.5], [0.5, -0.5], [math.nan, 1.0]])
def test_modpo_refuses_weights_that_make_no_scale(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="MODPO needs weights"):
        modpo_margin(weights, [[1, 1]], 0)


def test_modpo_wants_a_column_a_value() -> None:
    with pytest.raises(ValueError, match="one column a value"):
        modpo_margin([0.5, 0.5], [[1, 2, 3]], 0)


@given(st.lists(st.floats(-50, 50), min_size=1, max_size=6), st.floats(0.01, 2), st.floats(-5, 5))
def test_loss_falls_as_the_chosen_gets_ahead(ahead: list[float], beta: float, margin: float) -> None:
    zeros = torch.zeros(len(ahead), dtype=torch.float64)
    before, after = (dpo_loss(tensor(ahead) + more, zeros, zeros, zeros, beta, 1.0, margin) for more in (0, 1))
    assert before >= after

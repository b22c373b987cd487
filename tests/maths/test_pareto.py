"""Pareto fronts and the augmented Chebyshev scores against hand-worked cases and a slow reference."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from mva_ray.maths.pareto import (
    augmented_chebyshev,
    coverage,
    front_mask,
    hypervolume,
    mean_inner_product,
    spacing,
)

Rewards = NDArray[np.float64]


def slow_front(points: Rewards) -> list[bool]:
    def dominates(a: Rewards, b: Rewards) -> bool:
        return all(x >= y for x, y in zip(a, b, strict=True)) and any(x > y for x, y in zip(a, b, strict=True))

    return [not any(dominates(other, point) for other in points) for point in points]


@st.composite
def reward_tables(draw: st.DrawFn) -> Rewards:
    """Tables of 2, 3 or 5 values; the coarse grid makes ties and duplicates common."""
    shape = (draw(st.integers(0, 25)), draw(st.sampled_from([2, 3, 5])))
    grid = st.integers(-3, 3).map(float)
    fine = st.floats(-1e6, 1e6)
    return draw(arrays(np.float64, shape, elements=draw(st.sampled_from([grid, fine]))))


def test_front_by_hand() -> None:
    rewards = [[3, 0], [2, 2], [0, 3], [1, 1], [2, 1], [3, -1]]
    assert front_mask(rewards).tolist() == [True, True, True, False, False, False]


def test_copies_of_a_front_point_are_all_on_the_front() -> None:
    assert front_mask([[1, 2], [1, 2], [0, 2], [1, 1]]).tolist() == [True, True, False, False]


def test_front_without_rows() -> None:
    assert front_mask(np.zeros((0, 2))).tolist() == []


@given(reward_tables())
@settings(max_examples=150, deadline=None)
def test_front_equals_the_slow_reference(rewards: Rewards) -> None:
    assert front_mask(rewards).tolist() == slow_front(rewards)


@given(reward_tables(), st.randoms(use_true_random=False))
@settings(max_examples=50, deadline=None)
def test_front_does_not_depend_on_the_order_of_rows(rewards: Rewards, random: Any) -> None:
    order = list(range(len(rewards)))
    random.shuffle(order)
    assert front_mask(rewards[order]).tolist() == front_mask(rewards)[order].tolist()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        front_mask([[0, bad]])
    with pytest.raises(ValueError, match="finite"):
        augmented_chebyshev([[0, bad]], [1, 1])


def test_front_wants_a_matrix() -> None:
    with pytest.raises(ValueError, match="shape"):
        front_mask([1.0, 2.0])


def test_chebyshev_by_hand() -> None:
    # Scaled columns: (1, 0), (0, 1), (0.5, 0.75). Weights 3:1 become 0.75, 0.25.
    # Regrets: (0, 0.25), (0.75, 0), (0.375, 0.0625); score = -(max + 0.05 * sum).
    scores = augmented_chebyshev([[10, -1], [0, 3], [5, 2]], [3, 1])
    assert scores.tolist() == pytest.approx([-0.2625, -0.7875, -0.396875])


def test_chebyshev_reaches_a_concave_point() -> None:
    """(0.4, 0.4) lies below the line between the extremes, where no weighted sum finds it."""
    scores = augmented_chebyshev([[1.0, 0.0], [0.0, 1.0], [0.4, 0.4]], [1, 1])
    assert scores.argmax() == 2


def test_chebyshev_ignores_a_constant_column() -> None:
    scores = augmented_chebyshev([[1, 7], [0, 7]], [1, 1])
    assert scores.tolist() == pytest.approx([0, -0.525])


def test_chebyshev_augmentation_breaks_ties() -> None:
    """Both are worst in the first column; the sum prefers the one that is better in the second."""
    scores = augmented_chebyshev([[1.0, 0.0], [0.0, 0.5], [0.0, 1.0]], [1, 1])
    assert scores[2] > scores[1]


def test_chebyshev_of_one_row_and_of_none() -> None:
    assert augmented_chebyshev([[4, -2]], [1, 1]).tolist() == [0]
    assert augmented_chebyshev(np.zeros((0, 3)), [1, 1, 1]).tolist() == []


@given(reward_tables(), st.data())
@settings(max_examples=80, deadline=None)
def test_chebyshev_ranking_survives_positive_affine_changes_of_each_column(
    rewards: Rewards, data: st.DataObject
) -> None:
    k = rewards.shape[1]
    weights = data.draw(st.lists(st.floats(0.01, 1), min_size=k, max_size=k))
    scale = np.array(data.draw(st.lists(st.sampled_from([0.25, 0.5, 2.0, 16.0]), min_size=k, max_size=k)))
    shift = np.array(data.draw(st.lists(st.integers(-8, 8), min_size=k, max_size=k)))
    rounded = np.round(rewards)
    before = augmented_chebyshev(rounded, weights)
    after = augmented_chebyshev(rounded * scale + shift, weights)
    assert np.allclose(before, after, atol=1e-9)


@given(reward_tables(), st.data())
@settings(max_examples=80, deadline=None)
def test_chebyshev_prefers_a_front_row(rewards: Rewards, data: st.DataObject) -> None:
    if not len(rewards):
        return
    weights = data.draw(st.lists(st.floats(0.01, 1), min_size=rewards.shape[1], max_size=rewards.shape[1]))
    rewards = np.round(rewards)
    scores = augmented_chebyshev(rewards, weights)
    assert scores.max() <= 0
    assert scores[front_mask(rewards)].max() == pytest.approx(scores.max())


@pytest.mark.parametrize("weights", [[1], [1, 1, 1], [0, 0], [-1, 2], [np.nan, 1], [np.inf, 1]])
def test_chebyshev_refuses_wrong_weights(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="weights"):
        augmented_chebyshev([[0, 1], [1, 0]], weights)


def test_coverage_by_hand_is_not_symmetric() -> None:
    front, other = [[3, 0], [2, 2]], [[2, 2], [2, 1], [0, 3]]
    assert coverage(front, other) == pytest.approx(2 / 3)
    assert coverage(other, front) == 0.5


def test_coverage_of_and_by_nothing() -> None:
    assert coverage(np.zeros((0, 2)), [[0, 0]]) == 0
    assert np.isnan(coverage([[0, 0]], np.zeros((0, 2))))


def test_hypervolume_by_hand() -> None:
    # Above (1, 1) a staircase of rows 3, 2 and 1 wide, each 1 high; (2, 2) lies inside.
    assert hypervolume([[4, 2], [3, 3], [2, 4], [2, 2]], [1, 1]) == 3 * 1 + 2 * 1 + 1 * 1
    # Two boxes of 2 x 1 x 1 and 1 x 2 x 1 that share 1 x 1 x 1.
    assert hypervolume([[2, 1, 1], [1, 2, 1]], [0, 0, 0]) == pytest.approx(3)


def test_points_below_the_reference_add_nothing() -> None:
    assert hypervolume([[2, 2], [9, -1], [-1, 9], [-1, -1]], [0, 0]) == 4
    assert hypervolume([[2, 2, 2], [9, 9, -1]], [0, 0, 0]) == pytest.approx(8)
    assert hypervolume(np.zeros((0, 2)), [0, 0]) == 0


@given(reward_tables())
@settings(max_examples=60, deadline=None)
def test_hypervolume_is_the_share_of_a_grid_below_the_front(rewards: Rewards) -> None:
    """On whole numbers the volume is the count of unit cells whose upper corner some point dominates."""
    points = np.clip(np.round(rewards), -3, 3)
    k = points.shape[1]
    corners = np.stack(np.meshgrid(*[np.arange(-2, 4)] * k, indexing="ij"), axis=-1).reshape(-1, k)
    cells = (points[:, None] >= corners[None]).all(axis=-1).any(axis=0).sum() if len(points) else 0
    assert hypervolume(points, [-3] * k) == pytest.approx(cells)


@pytest.mark.parametrize("k", [2, 3])
def test_batches_are_independent(k: int) -> None:
    points = np.random.default_rng(0).normal(size=(2, 3, 7, k))
    expected = [[hypervolume(batch, [-1] * k).item() for batch in row] for row in points]
    assert hypervolume(points, [-1] * k) == pytest.approx(np.array(expected))


def test_hypervolume_refuses_what_it_cannot_measure() -> None:
    with pytest.raises(ValueError, match="finite"):
        hypervolume([[0, np.nan]], [0, 0])
    with pytest.raises(ValueError, match="shape"):
        hypervolume([[0, 1]], [0, 0, 0])


def test_spacing_by_hand() -> None:
    """Nearest neighbours are 2, 2 and 4 away."""
    assert spacing([[0, 4], [1, 3], [3, 1]]) == pytest.approx(np.std([2, 2, 4], ddof=1))
    assert spacing([[0, 2], [1, 1], [2, 0]]) == 0
    assert np.isnan(spacing([[0, 2]]))


def test_the_mean_inner_product_is_of_the_best_for_each_preference() -> None:
    assert mean_inner_product([[0.0, 4.0], [3.0, 1.0]], [[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]) == pytest.approx(
        (3 + 2 + 4) / 3
    )

"""Wishes, knees, weights and presets against hand arithmetic, pymoo and slow references."""

from itertools import combinations, pairwise
from math import inf, nan
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from pymoo.mcdm.high_tradeoff import HighTradeoffPoints
from pymoo.mcdm.pseudo_weights import PseudoWeights

from mva_ray.maths.choice import (
    achievement,
    alternatives,
    classified,
    knees,
    neighbours,
    preferences,
    presets,
    pseudo_weights,
    tradeoffs,
)
from mva_ray.maths.pareto import augmented_chebyshev, front_mask

Rewards = NDArray[np.float64]
BENT_IN = [[0.0, 10.0], [1.0, 4.0], [2.0, 2.0], [4.0, 0.0]]
"""Ranges 4 and 10: in units (0, 1), (0.25, 0.4), (0.5, 0.2), (1, 0), all below the line between the ends."""


@st.composite
def fronts(draw: st.DrawFn, least: int = 1) -> Rewards:
    """Fronts of 2, 3, 5 or 8 values on a coarse grid, so that ties, copies and constant columns are common."""
    shape = (draw(st.integers(least, 12)), draw(st.sampled_from([2, 3, 5, 8])))
    points = draw(arrays(np.float64, shape, elements=st.integers(-3, 3).map(float)))
    front: Rewards = points[front_mask(points)]
    assume(len(front) >= least)
    return front


def test_achievement_by_hand() -> None:
    # At (1, 3) beyond by (-0.25, 0.7), (0, 0.1), (0.25, -0.1), (0.75, -0.3); rho times the sum on top.
    assert achievement(BENT_IN, [1, 3], rho=0.1).tolist() == pytest.approx([-0.205, 0.01, -0.085, -0.255])


def test_a_level_that_is_left_out_stands_for_the_lowest() -> None:
    assert achievement(BENT_IN, [1, nan]).tolist() == achievement(BENT_IN, [1, 0]).tolist()


def test_a_wish_beyond_the_front_shares_the_shortfall() -> None:
    assert achievement(np.array([[0, 1], [0.5, 0.5], [1, 0]]), [9, 9]).argmax() == 1


@given(fronts())
@settings(max_examples=80, deadline=None)
def test_a_reference_point_reaches_every_member_of_the_front(front: Rewards) -> None:
    for row, point in enumerate(front):
        best = int(achievement(front, point).argmax())
        assert (front[best] == front[row]).all()


@given(fronts(), st.integers(0, 10**6))
@settings(max_examples=50, deadline=None)
def test_scales_and_shifts_of_a_value_change_nothing(front: Rewards, seed: int) -> None:
    random = np.random.default_rng(seed)
    k = front.shape[1]
    scale, shift, point = random.choice([0.25, 2.0, 64.0], k), random.integers(-8, 8, k), random.integers(-4, 4, k)
    moved = achievement(front * scale + shift, point * scale + shift)
    assert moved == pytest.approx(achievement(front, point), abs=1e-9)


def test_a_constant_value_leaves_nothing_to_choose() -> None:
    assert achievement([[0, 7, 3], [1, 7, 2]], [1, 99, 2]).argmax() == 1
    assert achievement([[5.0, 5.0]], [99, 99]).tolist() == [0]
    assert achievement(np.zeros((0, 2)), [1, 1]).tolist() == []


def test_alternatives_by_hand() -> None:
    """At (1, 4), which is the second row, a higher wish for a value gives the next row that has more of it."""
    assert alternatives(BENT_IN, [1, 4]) == [2, 0]
    assert alternatives(BENT_IN, [4, 0]) == [3, 2]
    assert alternatives([[1.0, 2.0]], [5, 5]) == [0, 0]


def test_a_row_with_just_as_much_is_no_alternative() -> None:
    """Of three values: raising the wish for the first may bring a row that is as high in it first, by its sum."""
    front = [[0.0, 1.0, 0.0], [0.0, 0.0, 3.0], [1.0, -1.0, -1.0]]
    for wish in np.ndindex(4, 4, 4):
        best = int(achievement(front, np.array(wish) - 1.0).argmax())
        row = alternatives(front, np.array(wish) - 1.0)[0]
        assert front[row][0] > front[best][0] or best == row == 2


@given(fronts(), st.integers(0, 10**6))
@settings(max_examples=50, deadline=None)
def test_an_alternative_has_more_of_what_is_wished(front: Rewards, seed: int) -> None:
    point = np.random.default_rng(seed).integers(-4, 5, front.shape[1]).astype(float)
    best = int(achievement(front, point).argmax())
    for column, row in enumerate(alternatives(front, point)):
        if front[best, column] == front[:, column].max():
            assert row == best
        else:
            assert front[row, column] > front[best, column]


def test_classes_by_hand() -> None:
    """From (1, 4): raise the first, the second may fall to 2. Allowed are rows 1 and 2; the best first value is 2."""
    found = classified(BENT_IN, [1, 4], {0: None}, {1: 2})
    assert found.tolist() == pytest.approx([-inf, -0.75, -0.5, -inf], abs=1e-5)
    assert classified(BENT_IN, [1, 4], {0: None}, {1: 4}).argmax() == 1
    # A level that would do: what is beyond it counts as well, and the sum parts rows.
    assert classified(BENT_IN, [0, 10], {0: 1.0}, {}).tolist() == pytest.approx([-0.25, 0, 0.25, 0.75], abs=1e-5)


@given(fronts(), st.integers(0, 10**6))
@settings(max_examples=50, deadline=None)
def test_classes_keep_what_they_promise(front: Rewards, seed: int) -> None:
    random = np.random.default_rng(seed)
    kinds, here = random.integers(0, 3, front.shape[1]), front[random.integers(len(front))]
    raised, kept = (np.flatnonzero(kinds == kind).tolist() for kind in (0, 1))
    assume(raised)
    found = classified(front, here, dict.fromkeys(raised), {column: here[column] for column in kept})
    allowed = (front[:, raised + kept] >= here[raised + kept]).all(axis=1)
    assert (np.isfinite(found) == allowed).all()
    assert allowed[found.argmax()]


def test_classes_want_something_to_improve() -> None:
    with pytest.raises(ValueError, match="something must be to improve"):
        classified(BENT_IN, [0, 0], {}, {})
    with pytest.raises(ValueError, match="2 finite numbers"):
        classified(BENT_IN, [0, nan], {0: None}, {})


def test_pseudo_weights_by_hand() -> None:
    assert pseudo_weights(BENT_IN) == pytest.approx(
        np.array([[0, 1], [0.25 / 0.65, 0.4 / 0.65], [0.5 / 0.7, 0.2 / 0.7], [1, 0]])
    )
    assert pseudo_weights([[3.0, 4.0, 5.0]]) == pytest.approx(np.full((1, 3), 1 / 3))


def curve(n: int, k: int, seed: int) -> Rewards:
    """A front of n random directions, bent out or in."""
    random = np.random.default_rng(seed)
    points = np.abs(random.normal(size=(n, k)))
    bend = random.choice([0.5, 1.0, 2.0])
    return np.asarray(points / (points**bend).sum(axis=1, keepdims=True) ** (1 / bend))


@pytest.mark.parametrize("k", [2, 3, 5, 8])
@pytest.mark.parametrize("seed", range(8))
def test_knees_and_pseudo_weights_are_those_of_pymoo(k: int, seed: int) -> None:
    front = curve(40, k, seed)
    units = (front - front.min(axis=0)) / np.ptp(front, axis=0)
    theirs = HighTradeoffPoints().do(-units)
    assert np.flatnonzero(knees(front)).tolist() == ([] if theirs is None else sorted(theirs))
    _, weights = PseudoWeights(np.full(k, 1 / k)).do(-front, return_pseudo_weights=True)
    assert pseudo_weights(front) == pytest.approx(weights)


def test_the_corner_of_a_front_is_its_knee() -> None:
    steep = [[x, 1 - 0.05 * x] for x in np.linspace(0, 0.9, 10)] + [
        [0.9 + 0.01 * i, 0.955 - 0.09 * i] for i in range(1, 10)
    ]
    assert np.flatnonzero(knees(steep)).tolist() == [9]


def test_fronts_without_a_knee() -> None:
    for few in ([], [[1, 2]], [[1, 2], [1, 2]], [[0, 1], [1, 0]], [[0, 1], [0.5, 0.5], [1, 0]]):
        assert not knees(np.array(few, dtype=float).reshape(-1, 2)).any()
    assert np.isnan(tradeoffs([[1.0, 2.0], [1.0, 2.0]])).all()


@pytest.mark.parametrize("k", [1, 2, 3, 5, 8])
def test_preferences_cover_the_simplex(k: int) -> None:
    found = preferences(k)
    assert found.sum(axis=1) == pytest.approx(np.ones(len(found)))
    assert len(np.unique(found, axis=0)) == len(found) <= 500
    assert np.isin(np.eye(k), found).all()
    assert {tuple(row) for row in np.eye(k)} <= {tuple(row) for row in found}


@given(fronts(), st.sampled_from([0.0, 0.05, 0.2, 1.5]))
@settings(max_examples=40, deadline=None)
def test_presets_serve_every_preference_and_no_smaller_set_does(front: Rewards, within: float) -> None:
    chosen = presets(front, within)
    scores = np.stack([augmented_chebyshev(front, list(weights)) for weights in preferences(front.shape[1])], axis=1)
    serves = scores.max(axis=0) - scores <= within + 1e-12

    def cover(rows: Any) -> bool:
        return bool(serves[list(rows)].any(axis=0).all())

    assert cover(chosen)
    assert not any(cover(rows) for rows in combinations(range(len(front)), len(chosen) - 1) if rows)


def test_presets_of_nothing_and_of_one() -> None:
    assert presets(np.zeros((0, 3)), 0.1) == []
    assert presets([[1.0, 2.0, 3.0]], 0.0) == [0]
    assert len(presets([[1.0, 2.0], [1.0, 2.0]], 0.0)) == 1


def test_neighbours_of_two_values_are_in_order() -> None:
    random = np.random.default_rng(3).permutation(9)
    front = np.stack([np.sqrt(np.arange(9.0)), -np.arange(9.0)], axis=1)[random]
    order = np.argsort(front[:, 0])
    assert neighbours(front) == sorted((min(pair), max(pair)) for pair in pairwise(order.tolist()))


@given(fronts())
@settings(max_examples=40, deadline=None)
def test_neighbours_are_the_shortest_tree(front: Rewards) -> None:
    from scipy.sparse.csgraph import minimum_spanning_tree

    span = np.where(np.ptp(front, axis=0) > 0, np.ptp(front, axis=0), 1)
    units = (front - front.min(axis=0)) / span
    # Zero is no edge to scipy, so copies are moved apart by as much for every pair.
    lengths = np.linalg.norm(units[:, None] - units[None], axis=2) + 1
    found = neighbours(front)
    assert len(found) == len(front) - 1
    assert sum(lengths[pair] for pair in found) == pytest.approx(minimum_spanning_tree(lengths).sum())


@pytest.mark.parametrize("bad", [nan, inf])
def test_numbers_that_are_not_finite_are_refused(bad: float) -> None:
    for refused in (achievement, alternatives):
        with pytest.raises(ValueError, match="finite"):
            refused([[0, bad]], [1, 1])
    with pytest.raises(ValueError, match="finite"):
        achievement([[0, 1]], [inf, 1])
    with pytest.raises(ValueError, match="one number a column"):
        achievement([[0, 1]], [1, 1, 1])

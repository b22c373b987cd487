"""Pareto fronts and scalarisation of rewards. Arrays only; every reward is maximised."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray


def front_mask(rewards: ArrayLike) -> NDArray[np.bool_]:
    """Which rows are non-dominated.

    Row a dominates row b when a is at least as high in every column and higher in one. Equal rows do not
    dominate each other: all copies of a non-dominated row are on the front.

    Args:
        rewards: shape (n, k), maximised; n may be 0.

    Returns:
        Shape (n,), True on the front.

    Raises:
        ValueError: NaN or infinite rewards, or not two dimensions.
    """
    points = _finite_matrix(rewards)
    mask = np.zeros(len(points), dtype=np.bool_)
    # A dominator sorts before what it dominates, so each row need only be compared with the front so far.
    for row in np.lexsort(points.T)[::-1]:
        front = points[mask]
        at_least = (front >= points[row]).all(axis=1)
        higher = (front > points[row]).any(axis=1)
        mask[row] = not (at_least & higher).any()
    return mask


def augmented_chebyshev(rewards: ArrayLike, weights: Sequence[float], rho: float = 0.05) -> NDArray[np.float64]:
    """Score rows by the augmented weighted Chebyshev distance to the best value of every column.

    With r the rewards scaled to [0, 1] over the rows given (a constant column becomes 1) and p the weights
    scaled to sum 1: ``score = -(max_i p_i (1 - r_i) + rho * sum_i p_i (1 - r_i))``. Unlike a weighted sum it
    reaches non-convex parts of the front; the sum term keeps weakly dominated rows from winning. Scaling a
    column by a positive factor or shifting it does not change the scores.

    Source: Steuer & Choo, "An interactive weighted Tchebycheff procedure for multiple objective programming",
    Mathematical Programming 26 (1983).

    Args:
        rewards: shape (n, k), maximised; n may be 0.
        weights: k preferences, each at least 0, not all 0.
        rho: weight of the sum term, above 0.

    Returns:
        Shape (n,), higher is better, 0 for a row that is best in every column with a weight.

    Raises:
        ValueError: NaN or infinite rewards or weights, negative or all-zero weights, shapes that do not match.
    """
    points = _finite_matrix(rewards)
    preference = np.asarray(weights, dtype=np.float64)
    if preference.shape != (points.shape[1],):
        raise ValueError(f"weights must have one number a column ({points.shape[1]}), got shape {preference.shape}")
    if not np.isfinite(preference).all() or (preference < 0).any() or not preference.any():
        raise ValueError("weights must be finite, at least 0 and not all 0")
    if not len(points):
        return np.zeros(0)
    regret = (preference / preference.sum()) * (1 - _unit_columns(points))
    scores: NDArray[np.float64] = 0.0 - regret.max(axis=1) - rho * regret.sum(axis=1)
    return scores


def _finite_matrix(rewards: ArrayLike) -> NDArray[np.float64]:
    points = np.asarray(rewards, dtype=np.float64)
    if points.ndim != 2:
        raise ValueError(f"rewards must have shape (n, k), got {points.shape}")
    if not np.isfinite(points).all():
        raise ValueError("rewards must be finite: leave failed candidates out")
    return points


def _unit_columns(points: NDArray[np.float64]) -> NDArray[np.float64]:
    low, high = points.min(axis=0), points.max(axis=0)
    constant = high == low
    scaled: NDArray[np.float64] = (points - low) / np.where(constant, 1.0, high - low)
    scaled[:, constant] = 1.0
    return scaled

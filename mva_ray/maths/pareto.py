"""Pareto fronts, their quality, and scalarisation of rewards. Arrays only; every reward is maximised."""

import math
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
    points, copies = np.unique(finite_matrix(rewards), axis=0, return_inverse=True)
    # A dominator has at least the sum, and comes later among rows of equal sums, which np.unique has sorted.
    left = np.argsort(points.sum(axis=1), kind="stable")[::-1]
    mask = np.zeros(len(points), dtype=np.bool_)
    while len(left):
        mask[left[0]] = True
        left = left[(points[left] > points[left[0]]).any(axis=1)]
    found: NDArray[np.bool_] = mask[copies.reshape(-1)]
    return found


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
    points = finite_matrix(rewards)
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


def coverage(first: ArrayLike, second: ArrayLike) -> float:
    """C(A, B): the share of the points of B that some point of A equals or dominates; not 1 - C(B, A).

    Source: Zitzler & Thiele, "Multiobjective Evolutionary Algorithms: A Comparative Case Study and the Strength
    Pareto Approach", IEEE Transactions on Evolutionary Computation 3 (1999), definition 4.

    Args:
        first: A, shape (n, k), maximised.
        second: B, shape (m, k).

    Returns:
        In [0, 1], higher is better for A; NaN where B is empty.

    Raises:
        ValueError: NaN or infinite rewards, or not two dimensions.
    """
    ours, theirs = finite_matrix(first), finite_matrix(second)
    if not len(theirs):
        return math.nan
    return float((ours[:, None] >= theirs[None]).all(axis=-1).any(axis=0).mean())


def hypervolume(rewards: ArrayLike, reference: ArrayLike) -> NDArray[np.float64]:
    """The volume that is dominated by the points and dominates the reference point, one number a batch.

    Two values: an exact sweep over all batches at once. More: pymoo's exact algorithm (Fonseca, Paquete &
    Lopez-Ibanez, CEC 2006), batch by batch. Source of the measure: Zitzler & Thiele (1999), see `coverage`.

    Args:
        rewards: shape (..., n, k), maximised; dominated points and those below the reference add nothing.
        reference: shape (k,), the same for everything that is compared.

    Returns:
        Shape (...), at least 0, in the product of the values' units; higher is better.

    Raises:
        ValueError: NaN or infinite rewards, or a last dimension that is not that of the reference.
    """
    points, corner = np.asarray(rewards, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    if points.ndim < 2 or corner.shape != points.shape[-1:]:
        raise ValueError(f"rewards must have shape (..., n, {corner.size}), got {points.shape}")
    if not (np.isfinite(points).all() and np.isfinite(corner).all()):
        raise ValueError("rewards must be finite: leave failed candidates out")
    above = np.clip(points - corner, 0, None)
    if not above.shape[-2]:
        return np.zeros(above.shape[:-2])
    return _area(above) if corner.size == 2 else _volume(above)


def _area(above: NDArray[np.float64]) -> NDArray[np.float64]:
    """Strips between neighbouring x, each as high as the highest point at or to the right of it."""
    order = np.argsort(-above[..., 0], axis=-1)
    x = np.take_along_axis(above[..., 0], order, axis=-1)
    y = np.maximum.accumulate(np.take_along_axis(above[..., 1], order, axis=-1), axis=-1)
    widths = -np.diff(x, axis=-1, append=0.0)
    area: NDArray[np.float64] = (widths * y).sum(axis=-1)
    return area


def _volume(above: NDArray[np.float64]) -> NDArray[np.float64]:
    from pymoo.indicators.hv import HV  # slow to import, and a query needs none

    measure = HV(ref_point=np.zeros(above.shape[-1]))
    batches = above.reshape(-1, *above.shape[-2:])
    return np.array([measure(-batch) for batch in batches]).reshape(above.shape[:-2])


def spacing(front: ArrayLike) -> float:
    """How unevenly a front is spread: the deviation of the distances (L1) to the nearest other point (Schott 1995).

    Args:
        front: [n, k], every value in the same unit.

    Returns:
        at least 0, lower is more even; NaN for fewer than two points.
    """
    points = finite_matrix(front)
    if len(points) < 2:
        return math.nan
    distances = np.abs(points[:, None] - points[None]).sum(axis=2)
    np.fill_diagonal(distances, np.inf)
    return float(distances.min(axis=1).std(ddof=1))


def mean_inner_product(front: ArrayLike, preferences: ArrayLike) -> float:
    """What users of these preferences get at best: the highest inner product on the front, mean over preferences.

    Args:
        front: [n, k], every value in the same unit.
        preferences: [m, k] weights that add up to 1.

    Returns:
        a weighted reward, higher is better.
    """
    return float((np.asarray(preferences, dtype=np.float64) @ finite_matrix(front).T).max(axis=1).mean())


def finite_matrix(rewards: ArrayLike) -> NDArray[np.float64]:
    """Rewards as an array of shape (n, k).

    Raises:
        ValueError: NaN or infinite rewards, or not two dimensions.
    """
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

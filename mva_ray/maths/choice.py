"""Choosing one member of a front: wishes, knees, weights, presets. Arrays only; every reward is maximised.

Every function takes the rewards of a front, [n, k], and scales each column by its range over the front: 0 at the lowest
(the nadir), 1 at the highest (the ideal). A column that is constant over the front leaves nothing to choose.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, pairwise
from math import comb

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mva_ray.maths.pareto import augmented_chebyshev, finite_matrix

Floats = NDArray[np.float64]
RHO = 1e-6
"""Weight of the sum: large enough to part rows that the minimum does not, too small to outweigh it."""
RADIUS = 0.125
"""Of a neighbourhood, in ranges of the front: pymoo's epsilon."""
NEAREST = 0.01
"""Ranges of the front: a wish moves at least so far."""
GROWTH, STEPS = 1.25, 120
PREFERENCES = 500
"""At most so many preferences stand for all."""


def achievement(rewards: ArrayLike, point: ArrayLike, rho: float = RHO) -> Floats:
    """Score a front by how far each row is beyond a reference point, in ranges of the front.

    ``min_i (r_i - z_i) / range_i + rho * sum_i (r_i - z_i) / range_i`` over the columns that are not constant. Unlike
    weights it reaches every row: each is best for the point that is itself. A level may be beyond what can be reached,
    and then the shortfall is shared.

    Source: Wierzbicki, "The use of reference objectives in multiobjective optimization", 1980; augmented and normalised
    as in Miettinen, Nonlinear Multiobjective Optimization, 1999, section 3.5.

    Args:
        rewards: shape (n, k); n may be 0.
        point: shape (k,), the level wished for in each column; NaN asks for nothing and stands for the lowest.
        rho: weight of the sum, above 0.

    Returns:
        Shape (n,), higher is better; at least 0 (but for rho) where every wish is met.

    Raises:
        ValueError: NaN or infinite rewards, an infinite level, or shapes that do not match.
    """
    points = finite_matrix(rewards)
    level = _row(point, points)
    if not len(points):
        return np.zeros(0)
    low, span, moves = _scale(points)
    beyond = (points - np.where(np.isnan(level), low, level)) / span
    worst = beyond[:, moves].min(axis=1) if moves.any() else np.zeros(len(points))
    scores: Floats = worst + rho * beyond[:, moves].sum(axis=1)
    return scores


def alternatives(rewards: ArrayLike, point: ArrayLike) -> list[int]:
    """What a somewhat higher wish would give instead: one row for each column.

    The point is moved up in one column at a time, as far as the best row is from it (in ranges of the front), and
    further until a row with more there is best: a front of few rows may have none so near.

    Source: Wierzbicki (1980), see `achievement`; Miettinen (1999), section 5.6.

    Args:
        rewards: shape (n, k), n >= 1.
        point: as of `achievement`.

    Returns:
        k rows, in the order of the columns; the best row itself where no other has more in that column.
    """
    points = finite_matrix(rewards)
    low, span, _ = _scale(points)
    level = _row(point, points)
    level = np.where(np.isnan(level), low, level)
    best = int(achievement(points, level).argmax())
    distance = max(float(np.linalg.norm((points[best] - level) / span)), NEAREST)
    return [_raised(points, level, best, column, span[column] * distance) for column in range(len(level))]


def _raised(points: Floats, level: Floats, best: int, column: int, step: float) -> int:
    if points[best, column] == points[:, column].max():
        return best
    for power in range(STEPS):
        wish = level + np.where(np.arange(len(level)) == column, step * GROWTH**power, 0.0)
        found = int(achievement(points, wish).argmax())
        if points[found, column] > points[best, column]:
            return found
    return best


def classified(
    rewards: ArrayLike, standing: ArrayLike, improve: Mapping[int, float | None], floors: Mapping[int, float]
) -> Floats:
    """Score a front for someone who stands somewhere and says of each column what may happen to it.

    A row is allowed if no column of `improve` falls below where one stands and none of `floors` below its floor; other
    columns are free. Allowed rows are scored by ``min_i (r_i - z_i) / range_i + rho * sum_j r_j / range_j``, i the
    columns of `improve` with z their level, or the best of the front, and j all.

    Source: Miettinen & Mäkelä, "Synchronous approach in interactive multiobjective optimization", European Journal of
    Operational Research 170 (2006), the subproblem of NIMBUS, on a finite set.

    Args:
        rewards: shape (n, k).
        standing: shape (k,), where one stands, on the front or not.
        improve: columns to raise, at least one -> the level that would do, or None for as high as possible.
        floors: columns to keep (the floor is where one stands) or to let fall -> the lowest that is acceptable.

    Returns:
        Shape (n,), higher is better; -inf where a row is not allowed.

    Raises:
        ValueError: NaN or infinite numbers, no column to improve, or shapes that do not match.
    """
    points, here = finite_matrix(rewards), np.asarray(standing, dtype=np.float64)
    if here.shape != (points.shape[1],) or not np.isfinite(here).all() or not improve:
        raise ValueError(f"standing must have {points.shape[1]} finite numbers, and something must be to improve")
    if not len(points):
        return np.zeros(0)
    _, span, moves = _scale(points)
    raised, ideal = list(improve), points.max(axis=0)
    level = np.array([ideal[i] if improve[i] is None else improve[i] for i in raised], dtype=np.float64)
    short = np.where(moves[raised], (points[:, raised] - level) / span[raised], 0.0)
    scores = short.min(axis=1) + RHO * (points / span)[:, moves].sum(axis=1)
    allowed = (points[:, raised] >= here[raised]).all(axis=1)
    for column, floor in floors.items():
        allowed &= points[:, column] >= floor
    found: Floats = np.where(allowed, scores, -np.inf)
    return found


def pseudo_weights(rewards: ArrayLike) -> Floats:
    """Where on the front each row is: its height above the lowest of every column, as shares of their sum.

    They are a position and no preference: `augmented_chebyshev` with them need not give that row.

    Source: Deb, Multi-Objective Optimization using Evolutionary Algorithms, 2001; as pymoo's `PseudoWeights`.

    Args:
        rewards: shape (n, k); n may be 0.

    Returns:
        Shape (n, k), rows sum to 1; equal shares where a row is lowest in every column.
    """
    points = finite_matrix(rewards)
    if not len(points):
        return np.zeros(points.shape)
    low, span, _ = _scale(points)
    heights = (points - low) / span
    total = heights.sum(axis=1, keepdims=True)
    shares: Floats = np.where(total > 0, heights / np.where(total > 0, total, 1.0), 1 / points.shape[1])
    return shares


def tradeoffs(rewards: ArrayLike) -> Floats:
    """How much every move to a neighbour costs at least: what is given up for a unit of what is gained.

    Neighbours are the rows within `RADIUS`, or else the 2 k nearest; gains and losses are sums over the columns, each
    scaled by its range.

    Source: Rachmawati & Srinivasan, "Multiobjective evolutionary algorithm with controllable focus on the knees of the
    Pareto front", IEEE Transactions on Evolutionary Computation 13 (2009); as pymoo's `HighTradeoffPoints`.

    Args:
        rewards: shape (n, k), non-dominated.

    Returns:
        Shape (n,), higher is more of a knee; NaN where a row has no neighbour but its copies.
    """
    points = finite_matrix(rewards)
    if len(points) < 2:
        return np.full(len(points), np.nan)
    low, span, _ = _scale(points)
    units = (points - low) / span
    fewest = min(2 * points.shape[1], len(points) - 1)
    return np.array([_cheapest_move(units, row, fewest) for row in range(len(units))])


def knees(rewards: ArrayLike) -> NDArray[np.bool_]:
    """Which rows are knees: their `tradeoffs` are two standard deviations above the mean, or the highest one is.

    The highest counts alone where it is one standard deviation above; else there is no knee. As pymoo's
    `HighTradeoffPoints`.

    Args:
        rewards: shape (n, k), non-dominated; n may be 0.

    Returns:
        Shape (n,).
    """
    cost = tradeoffs(rewards)
    known = np.isfinite(cost)
    found = np.zeros(len(cost), dtype=np.bool_)
    if not known.any() or not (spread := float(cost[known].std())):
        return found
    above = np.where(known, (np.where(known, cost, 0.0) - cost[known].mean()) / spread, -np.inf)
    found |= above >= 2
    if not found.any() and above.max() > 1:
        found[above.argmax()] = True
    return found


def neighbours(rewards: ArrayLike) -> list[tuple[int, int]]:
    """Pairs of rows that are next to each other: the shortest tree over the front, columns scaled by their ranges.

    Of two values these are the rows in order of the first one. Source: Prim, "Shortest connection networks and some
    generalizations", Bell System Technical Journal 36 (1957).

    Args:
        rewards: shape (n, k), non-dominated; n may be 0.

    Returns:
        n - 1 pairs, each with its lower row first, in order.
    """
    points = finite_matrix(rewards)
    if not len(points):
        return []
    low, span, _ = _scale(points)
    units = (points - low) / span
    nearest, distance = np.zeros(len(units), dtype=int), np.linalg.norm(units - units[0], axis=1)
    outside, pairs = set(range(1, len(units))), []
    while outside:
        row = min(outside, key=lambda each: (distance[each], each))
        outside.remove(row)
        pairs.append((min(row, int(nearest[row])), max(row, int(nearest[row]))))
        step = np.linalg.norm(units - units[row], axis=1)
        nearest, distance = np.where(step < distance, row, nearest), np.minimum(step, distance)
    return sorted(pairs)


def preferences(columns: int, most: int = PREFERENCES) -> Floats:
    """Preference weights evenly over the simplex, with all its corners: as many as a lattice of at most `most` has.

    Source: Das & Dennis, "Normal-boundary intersection", SIAM Journal on Optimization 8 (1998).

    Returns:
        Shape (m, columns), rows sum to 1.
    """
    parts = 1
    while columns > 1 and parts < 100 and comb(parts + columns, columns - 1) <= most:
        parts += 1
    return np.array(list(_shares(parts, columns)), dtype=np.float64) / parts


def presets(rewards: ArrayLike, within: float) -> list[int]:
    """The fewest rows of a front such that one of them serves every preference.

    A row serves a preference if its `augmented_chebyshev` score is at most `within` below the best: a share of the
    front's range in the value that matters. Of the smallest sets the one that falls short least on average is taken.

    Args:
        rewards: shape (n, k); n may be 0.
        within: at least 0.

    Returns:
        Rows, in their order; the preferences are those of `preferences`.
    """
    points = finite_matrix(rewards)
    if not len(points):
        return []
    scores = np.stack([augmented_chebyshev(points, list(weights)) for weights in preferences(points.shape[1])], axis=1)
    short = scores.max(axis=0) - scores
    return _smallest_cover(short <= within + 1e-12, short.mean(axis=1))


def _smallest_cover(serves: NDArray[np.bool_], short: Floats) -> list[int]:
    """The fewest rows [n, m] with a True in every column; an integer programme, solved exactly (HiGHS)."""
    from scipy.optimize import Bounds, LinearConstraint, milp  # slow to import, and most queries need none

    tie = short / (2 * len(short) * max(float(short.max()), 1.0))
    found = milp(
        1 + tie,
        constraints=LinearConstraint(np.unique(serves, axis=1).T.astype(float), lb=1),
        integrality=np.ones(len(short)),
        bounds=Bounds(0, 1),
        options={"mip_rel_gap": 0.0},
    )
    return [int(row) for row in np.flatnonzero(found.x > 0.5)]


def _cheapest_move(units: Floats, row: int, fewest: int) -> float:
    move = units - units[row]
    distance = np.sqrt((move**2).sum(axis=1))
    near = np.flatnonzero(distance <= RADIUS)
    if len(near) < fewest:
        near = np.argsort(distance, kind="stable")[: fewest + 1]
    gain, loss = np.maximum(0, move[near]).sum(axis=1), np.maximum(0, -move[near]).sum(axis=1)
    return float((loss[gain > 0] / gain[gain > 0]).min(initial=np.inf)) if (gain > 0).any() else np.nan


def _shares(parts: int, columns: int) -> Iterator[Sequence[int]]:
    """All ways to deal `parts` out to the columns: where the bars stand between stars."""
    for bars in combinations(range(parts + columns - 1), columns - 1):
        edges = (-1, *bars, parts + columns - 1)
        yield [right - left - 1 for left, right in pairwise(edges)]


def _scale(points: Floats) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """The lowest of each column, its range (1 where it is constant), and whether it is not constant."""
    low, high = points.min(axis=0), points.max(axis=0)
    moves = high > low
    return low, np.where(moves, high - low, 1.0), moves


def _row(point: ArrayLike, points: Floats) -> Floats:
    level = np.asarray(point, dtype=np.float64)
    if level.shape != (points.shape[1],):
        raise ValueError(f"a point must have one number a column ({points.shape[1]}), got shape {level.shape}")
    if np.isinf(level).any():
        raise ValueError("levels must be finite")
    return level

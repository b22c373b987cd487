"""Which candidates to evaluate next, by the hypervolume that posterior draws promise. Arrays only."""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import qmc

from mva_ray.maths.pareto import front_mask

Array = NDArray[np.float64]
_BOX_POINTS, _COUNTED = 8192, 512
"""How many random points the box has, and how many are counted of those that a candidate of the pool might gain."""

_MARGIN = 0.1


def nadir(rewards: Array) -> Array:
    """[k]: the worst of the front of rewards [n, k], and a tenth of the way to the best lower.

    The margin gives the ends of the front their due (Ishibuchi, Imada, Setoguchi & Nojima, "How to Specify a Reference
    Point in Hypervolume Calculation for Fair Performance Comparison", Evolutionary Computation 26 (2018)). The worst of
    all would be set by a broken model, and ask for the ends alone.
    """
    front = rewards[front_mask(rewards)]
    worst, best = front.min(axis=0), rewards.max(axis=0)
    return np.asarray(np.maximum(rewards.min(axis=0), worst - _MARGIN * (best - worst)))


def pick_batch(
    known: Array, pool: Array, lower: Array, count: int, rng: np.random.Generator, pending: int = 0
) -> list[int]:
    """Greedy batch by expected hypervolume improvement, which is what keeps its members apart.

    Hypervolume is the share of random points of a box that some reward vector dominates, so any number of values costs
    the same. The box reaches up to the best that any draw promises.

    Args:
        known: [s, n, k] draws of the rewards of evaluated candidates, higher is better.
        pool: [s, m, k] draws, jointly with `known`, of those to pick from; minus infinity where infeasible.
        lower: [k] where hypervolume begins.
        count: how many to pick.
        pending: the first so many of the pool are as good as picked, and not returned.

    Returns:
        at most `count` indices of the pool, the most promising first; fewer where no other improves anything.
    """
    points = _undecided(known, pool, lower, rng)
    uncovered = [points[~_dominated(points, draw).any(axis=0)] for draw in known]
    gains = np.concatenate([_dominated(left, draw) for left, draw in zip(uncovered, pool, strict=True)], axis=1)
    for index in range(pending):
        gains = gains[:, ~gains[index]]
    picked: list[int] = []
    for _ in range(count):
        improvement = np.count_nonzero(gains, axis=1)
        best = int(improvement.argmax())
        if not improvement[best]:
            break
        picked.append(best)
        gains = gains[:, ~gains[best]]
    return picked


def _undecided(known: Array, pool: Array, lower: Array, rng: np.random.Generator) -> Array:
    """Random points of the box that are not dominated in every draw already, nor out of reach in every draw.

    The others change no candidate's gain. Late in a search they are nearly all of the box.
    """
    upper = np.maximum(np.concatenate([known, pool], axis=1).max(axis=(0, 1)), lower)
    points = qmc.Sobol(len(lower), seed=rng).random(_BOX_POINTS) * (upper - lower) + lower
    points = points[~_dominated(points, known.min(axis=0)).any(axis=0)]
    return np.asarray(points[_dominated(points, pool.max(axis=0)).any(axis=0)][:_COUNTED])


def non_dominated(rewards: Array) -> NDArray[np.bool_]:
    """What `front_mask` says of rewards [n, k], faster for hundreds of rows and slower for thousands."""
    at_least = _dominated(rewards, rewards)
    return np.asarray(~(at_least & ~at_least.T).any(axis=0))


def _dominated(points: Array, rewards: Array) -> NDArray[np.bool_]:
    """[rewards, points]: whether the reward vector is at least as high as the point on every value."""
    result: NDArray[np.bool_] = np.logical_and.reduce(
        [rewards[:, None, i] >= points[None, :, i] for i in range(points.shape[1])]
    )
    return result

"""Towards a front from its worst corner, without ever giving anything up. Arrays only; every reward is maximised.

Source: Ruiz, Sindhya, Miettinen, Ruiz & Luque, "E-NAUTILUS: A decision support system for complex multiobjective
optimization problems based on the NAUTILUS method", European Journal of Operational Research 246 (2015), on a finite
front: with all of it known, bounds are the best of what is still reachable.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mva_ray.maths.pareto import finite_matrix

Floats = NDArray[np.float64]
ROUNDS = 100
"""Of k-means, at most."""


def reachable(rewards: ArrayLike, point: ArrayLike) -> list[int]:
    """The rows [n, k] that are at least as good as a point [k] in every column: going on loses none of it there."""
    return [int(row) for row in np.flatnonzero((finite_matrix(rewards) >= np.asarray(point)).all(axis=1))]


def stepped(point: ArrayLike, towards: ArrayLike, left: int) -> Floats:
    """A step towards a row, such that as many steps as are left, equally long, arrive there.

    Args:
        point: shape (k,), nowhere above `towards`.
        towards: shape (k,), a row that is reachable.
        left: steps that are left, this one among them; the last one arrives.

    Returns:
        Shape (k,): nowhere below `point`, and nowhere above `towards`, also where numbers are rounded.

    Raises:
        ValueError: no step is left, or the row is below the point somewhere.
    """
    here, there = np.asarray(point, dtype=np.float64), np.asarray(towards, dtype=np.float64)
    if left < 1 or (there < here).any():
        raise ValueError("a step goes towards a row that is nowhere below, while steps are left")
    moved: Floats = there if left == 1 else np.clip(here + (there - here) / left, here, there)
    return moved


def representatives(rewards: ArrayLike, most: int) -> list[int]:
    """A few rows that stand for all: of each cluster (k-means, columns scaled by their ranges) the one in its middle.

    Begins with rows that are far from each other (Gonzalez, "Clustering to minimize the maximum intercluster distance",
    1985), so that the same rows always have the same clusters.

    Args:
        rewards: shape (n, k); n may be 0.
        most: clusters; fewer where rows are alike.

    Returns:
        Rows, in their order; all of them where there are no more than `most`.
    """
    points = finite_matrix(rewards)
    if len(points) <= most:
        return list(range(len(points)))
    span = points.max(axis=0) - points.min(axis=0)
    units = (points - points.min(axis=0)) / np.where(span > 0, span, 1.0)
    centres = units[_far_apart(units, most)]
    for _ in range(ROUNDS):
        nearest = _distances(units, centres).argmin(axis=1)
        moved = np.array([units[nearest == each].mean(axis=0) for each in np.unique(nearest)])
        if moved.shape == centres.shape and np.allclose(moved, centres):
            break
        centres = moved
    distance = _distances(units, centres)
    nearest = distance.argmin(axis=1)
    middles = (np.where(nearest == each, distance[:, each], np.inf).argmin() for each in np.unique(nearest))
    return sorted(int(row) for row in middles)


def _far_apart(units: Floats, most: int) -> list[int]:
    """Beginning with the row nearest to the middle, always the one that is farthest from those before."""
    chosen = [int(np.linalg.norm(units - units.mean(axis=0), axis=1).argmin())]
    while len(chosen) < most:
        distance = _distances(units, units[chosen]).min(axis=1)
        if distance.max() == 0:
            break
        chosen.append(int(distance.argmax()))
    return chosen


def _distances(units: Floats, centres: Floats) -> Floats:
    found: Floats = np.stack([np.linalg.norm(units - centre, axis=1) for centre in centres], axis=1)
    return found

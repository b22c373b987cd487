"""Whether a candidate is dominated, judged by the first of all prompts. Arrays only; every reward is maximised.

The prompts of a split are a finite population in random order, and a front is defined by the means over all of them:
what is uncertain is what the candidate's remaining prompts will bring. Its opponents are known on all prompts. So one
upper bound per value for the candidate's own mean settles it against every opponent at once: if all bounds hold, a
candidate whose vector of bounds is dominated is dominated itself. There is nothing to correct for the number of
opponents, only for values and looks (Bonferroni: looks at growing shares of a finite population are nearly
independent).

Bounds are those of the difference estimator with finite population correction (Cochran, Sampling Techniques, 3rd ed.
1977, sections 2.8 and 7.3), the paired form of racing (Maron & Moore, "Hoeffding Races", NIPS 1993; Birattari et al.,
"A Racing Algorithm for Configuring Metaheuristics", GECCO 2002): the rewards of a known candidate on the same prompts
are subtracted first, so that hard prompts count for nothing.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

Array = NDArray[np.float64]


def upper_bounds(observed: ArrayLike, paired: ArrayLike, variance: ArrayLike, error_rate: float) -> Array:
    """Upper confidence bounds of a candidate's mean rewards over all prompts.

    With e the differences of the n observed prompts, of N: mean(paired) + mean(e) + t * s / sqrt(n) * sqrt(1 - n / N).
    s squared is the larger of the differences' own variance and the expected one: few prompts may show less than there
    is, above all where most completions are identical.

    Args:
        observed: [n, k] rewards of the candidate on the first n prompts, n >= 2.
        paired: [N, k] rewards of a known candidate on all prompts, chosen without a look at `observed`.
        variance: [k] that is expected of such differences.
        error_rate: of each bound; t is Student's quantile with n - 1 degrees of freedom.

    Returns:
        [k].
    """
    rewards, known = np.asarray(observed, dtype=float), np.asarray(paired, dtype=float)
    n, total = len(rewards), len(known)
    differences = rewards - known[:n]
    error = np.sqrt(np.maximum(differences.var(axis=0, ddof=1), variance) * (1 - n / total) / n)
    return np.asarray(known.mean(axis=0) + differences.mean(axis=0) + stdtrit(n - 1, 1 - error_rate) * error)


def dominating(bounds: ArrayLike, means: ArrayLike) -> int | None:
    """The first of the rows of `means` [m, k] that is at least as high as `bounds` [k] everywhere and once higher."""
    upper, rows = np.asarray(bounds, dtype=float), np.asarray(means, dtype=float)
    found = np.flatnonzero((rows >= upper).all(axis=1) & (rows > upper).any(axis=1))
    return int(found[0]) if len(found) else None


def nearest(row: ArrayLike, rows: ArrayLike) -> tuple[int, float]:
    """Which of the rows [m, d] is at the least Euclidean distance to `row` [d] (the first of several), and how far."""
    squared = ((np.asarray(rows, dtype=float) - np.asarray(row, dtype=float)) ** 2).sum(axis=1)
    return int(squared.argmin()), float(np.sqrt(squared.min()))


def variogram_slope(coefficients: ArrayLike, rewards: ArrayLike) -> Array:
    """How much the variance of differences between two candidates grows with their distance, from nearest pairs.

    A linear variogram through the origin (Matheron, "Principles of geostatistics", Economic Geology 58, 1963): greedy
    completions are the same for the same coefficients, and the further apart these are the more of them differ.

    Args:
        coefficients: [m, d], distinct, m >= 2.
        rewards: [m, N, k] on all prompts.

    Returns:
        [k]: the variance over prompts of the difference to the nearest other candidate, per unit of distance.
    """
    rows, known = np.asarray(coefficients, dtype=float), np.asarray(rewards, dtype=float)
    distances = np.sqrt(((rows[:, None] - rows[None]) ** 2).sum(axis=2))
    np.fill_diagonal(distances, np.inf)
    differences = known - known[distances.argmin(axis=1)]
    return np.asarray(differences.var(axis=1, ddof=1).sum(axis=0) / distances.min(axis=1).sum())

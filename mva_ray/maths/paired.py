"""What is known of differences between candidates that answered the same prompts. Arrays only; rewards are maximised.

Prompts are a sample: other prompts would give other means. Candidates share them, so differences are taken prompt by
prompt, and resampling draws prompts for all candidates at once.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mva_ray.maths.bootstrap import LEVEL, Interval

Floats = NDArray[np.float64]
ROOM = 2_000_000
"""Comparisons held at once."""


@dataclass(frozen=True)
class Paired:
    """Differences of means, one a column; `p` is two-sided: how often chance alone gives one so large."""

    mean: Floats
    low: Floats
    high: Floats
    p: Floats


def differences(first: ArrayLike, second: ArrayLike, level: float = LEVEL) -> Paired:
    """The paired t-test and its interval for first - second, column by column.

    Source: Student, "The probable error of a mean", Biometrika 6 (1908).

    Args:
        first: [prompts, k].
        second: [prompts, k], of the same prompts in the same order.
        level: coverage of each interval.

    Returns:
        Where all differences of a column are equal there is no spread: the interval is that number, and p is 0, or 1
        where it is 0. Of one prompt nothing is known: the interval is infinite and p is 1.
    """
    from scipy.special import stdtr, stdtrit  # scipy.stats takes half a second to import

    gaps = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    n, mean = len(gaps), gaps.mean(axis=0)
    if n < 2:
        return Paired(mean, np.full(mean.shape, -np.inf), np.full(mean.shape, np.inf), np.ones(mean.shape))
    error = gaps.std(axis=0, ddof=1) / np.sqrt(n)
    half = stdtrit(n - 1, (1 + level) / 2) * error
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(mean == 0, 0.0, np.abs(mean) / error)
    return Paired(mean, mean - half, mean + half, 2 * stdtr(n - 1, -t))


def apart(rewards: ArrayLike, level: float = LEVEL) -> NDArray[np.bool_]:
    """Which pairs of candidates surely differ in some value.

    By paired t-tests, one a value, each at (1 - level) / k (Bonferroni): of two candidates that are alike in truth a
    share of 1 - level at most is told apart.

    Args:
        rewards: [n, prompts, k].

    Returns:
        [n, n], symmetric, False on the diagonal.
    """
    from scipy.special import stdtrit

    every = np.asarray(rewards, dtype=np.float64)
    n, prompts, k = every.shape
    found = np.zeros((n, n), dtype=np.bool_)
    if prompts < 2:
        return found
    bound = stdtrit(prompts - 1, 1 - (1 - level) / (2 * k)) / np.sqrt(prompts)
    for row in range(n):
        gaps = every - every[row]
        found[row] = (np.abs(gaps.mean(axis=1)) > bound * gaps.std(axis=1, ddof=1)).any(axis=1)
    return found


def front_probability(rewards: ArrayLike, prompts: ArrayLike) -> Floats:
    """How often each candidate is on the front when the prompts are drawn anew.

    Args:
        rewards: [n, prompts, k] of all candidates that may be on it.
        prompts: [draws, prompts], how often each was drawn, rows sum to 1: `Resamples.prompts` without its first row.

    Returns:
        [n], shares of the draws.
    """
    every, draws = np.asarray(rewards, dtype=np.float64), np.asarray(prompts, dtype=np.float64)
    counts = np.zeros(len(every))
    for some in np.array_split(draws, max(1, len(draws) * len(every) ** 2 // ROOM)):
        means = np.einsum("rp,npk->rnk", some, every, optimize=True)
        counts += (~_dominated(means)).sum(axis=0)
    shares: Floats = counts / max(len(draws), 1)
    return shares


def rate(gain: ArrayLike, loss: ArrayLike, prompts: ArrayLike, level: float = LEVEL) -> Interval:
    """How much of one value is lost for a unit of another, with its percentile interval.

    A ratio of two means that share their prompts. Where more than (1 - level) / 2 of the draws gain nothing, the
    ratio may be anything: the interval is infinite, as Fieller's is then.

    Source: Davison & Hinkley, "Bootstrap Methods and their Application", 1997, section 5.3; tests compare with Fieller,
    "Some problems in interval estimation", Journal of the Royal Statistical Society B 16 (1954).

    Args:
        gain: [prompts], differences of the value that rises.
        loss: [prompts], differences of the value that falls, with the sign of a loss.
        prompts: [1 + draws, prompts], the data first: `Resamples.prompts`.
    """
    draws = np.asarray(prompts, dtype=np.float64)
    risen, fallen = draws @ np.asarray(gain, dtype=np.float64), draws @ np.asarray(loss, dtype=np.float64)
    if risen[0] <= 0:
        return Interval(np.nan, -np.inf, np.inf)
    estimate = float(fallen[0] / risen[0])
    if (risen[1:] <= 0).mean() > (1 - level) / 2:
        return Interval(estimate, -np.inf, np.inf)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.where(risen[1:] > 0, fallen[1:] / risen[1:], np.inf)
    low, high = np.quantile(ratios, [(1 - level) / 2, (1 + level) / 2], method="inverted_cdf")
    return Interval(estimate, float(low), float(high))


def _dominated(means: Floats) -> NDArray[np.bool_]:
    """[draws, n]: whether another candidate is at least as high everywhere and once higher."""
    at_least = np.ones((len(means), means.shape[1], means.shape[1]), dtype=np.bool_)
    higher = np.zeros_like(at_least)
    for column in np.moveaxis(means, -1, 0):
        np.logical_and(at_least, column[:, :, None] >= column[:, None, :], out=at_least)
        np.logical_or(higher, column[:, :, None] > column[:, None, :], out=higher)
    return np.asarray((at_least & higher).any(axis=1))

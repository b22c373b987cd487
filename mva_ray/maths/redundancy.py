"""Whether one value is nearly a function of the others, over candidates, and whether it is more than luck. Arrays
only."""

from itertools import product

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
_LENGTHS = (0.5, 1.0, 2.0, 4.0, 8.0)
_NOISES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Length scales in deviations of the predictors, and variances of the noise as shares of the signal's."""


def predictability(rewards: ArrayLike) -> Array:
    """How well each value of a candidate is predicted by its other values, as learned from the other candidates.

    R² of leave-one-out predictions: 1 where a value is a smooth function of the others, 0 or less where they say
    nothing; few candidates cannot give 1 by being fitted closely, since none counts for its own prediction. Predicted
    is by a Gaussian process with a linear trend (Rasmussen & Williams, Gaussian Processes for Machine Learning, 2006,
    section 2.7; leave-one-out by equation 5.12), whose length scale and noise are those of the highest likelihood on a
    small grid.

    Args:
        rewards: [candidates, values], two values or more.

    Returns:
        [values]; NaN where a value is the same for all candidates.
    """
    table = np.asarray(rewards, dtype=np.float64)
    spread = table.std(axis=0)
    scaled = (table - table.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    found = [_predicted(np.delete(scaled, value, axis=1), scaled[:, value]) for value in range(table.shape[1])]
    return np.where(spread > 0, found, np.nan)


def reliability(rewards: ArrayLike) -> Array:
    """How much of the variance between the candidates' means is more than the luck of the prompts.

    1 - MS_residual / MS_candidates of the two-way analysis of variance without interaction: prompts that are hard for
    all candidates do not count as luck (Hoyt, "Test reliability estimated by analysis of variance", Psychometrika 6,
    1941; equal to Cronbach's alpha with prompts as items). Its expectation is the share of true variance; it is
    negative where the candidates happen to differ by less than luck would have them.

    Args:
        rewards: [candidates, prompts, values], two candidates and two prompts or more.

    Returns:
        [values], at most 1; NaN where a value is the same for all candidates.
    """
    table = np.asarray(rewards, dtype=np.float64)
    candidates, prompts, _ = table.shape
    whole, of_candidates, of_prompts = table.mean(axis=(0, 1)), table.mean(axis=1), table.mean(axis=0)
    between = prompts * ((of_candidates - whole) ** 2).sum(axis=0) / (candidates - 1)
    left = table - of_candidates[:, None] - of_prompts[None] + whole
    within = (left**2).sum(axis=(0, 1)) / ((candidates - 1) * (prompts - 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Array = np.where(between > 0, 1 - within / between, np.nan)
    return found


def _predicted(others: Array, target: Array) -> float:
    squared = ((others[:, None] - others[None]) ** 2).sum(axis=2)
    trend = 1 + others @ others.T
    fits = [
        _fit(np.exp(-squared / (2 * length**2)) + trend, noise, target) for length, noise in product(_LENGTHS, _NOISES)
    ]
    residuals = max(fits, key=lambda fit: fit[0])[1]
    alone = target * len(target) / (len(target) - 1)  # beside the mean of the others
    return float(1 - (residuals**2).sum() / max((alone**2).sum(), np.finfo(float).tiny))


def _fit(covariance: Array, noise: float, target: Array) -> tuple[float, Array]:
    """Log-likelihood, maximised over the scale, and leave-one-out residuals."""
    noisy = covariance + noise * np.eye(len(target))
    inverse = np.linalg.inv(noisy)
    weights = inverse @ target
    scale = max(float(target @ weights), np.finfo(float).tiny) / len(target)
    likelihood = -len(target) / 2 * np.log(scale) - np.linalg.slogdet(noisy)[1] / 2
    return float(likelihood), np.asarray(weights / np.diag(inverse))

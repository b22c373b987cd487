"""Mean rewards of candidates that answered some of the same prompts: what is hard for all is taken out. Arrays only."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def paired_means(rewards: ArrayLike) -> tuple[Array, Array]:
    """Each candidate's mean reward over all prompts of a split, and its standard error.

    The difference estimator (Cochran, Sampling Techniques, 3rd ed. 1977, section 7.3): mean over all prompts of what is
    predicted, plus mean over those answered of reward minus prediction. It is unbiased whatever is predicted, as long
    as a candidate's own answers do not count for its prediction and its prompts are a random sample. Predicted is the
    candidate's own mean, plus what others had on the prompt beyond theirs: an additive model with random prompt effects
    (Henderson, "Best linear unbiased estimation and prediction under a selection model", Biometrics 31, 1975), its two
    variances by the method of moments. With all prompts answered it is the plain mean.

    The error is s / sqrt(n), s being the deviation of reward minus prediction, pooled over the candidates. That is the
    error for a surface through the means, whose level all candidates share; there is no finite population correction,
    since a candidate with all prompts lies beside such a surface, too.

    Args:
        rewards: [candidates, prompts], higher is better; NaN where a candidate did not answer. Each answered some.

    Returns:
        two times [candidates]; the errors are 0 where no candidate has two answers.
    """
    table = np.asarray(rewards, dtype=np.float64)
    answered = ~np.isnan(table)
    counts = answered.sum(axis=1)
    means = np.nanmean(table, axis=1)
    for _ in range(_SWEEPS):
        effects = _effects_without_own(np.where(answered, table - means[:, None], 0.0), answered)
        left = np.where(answered, table - effects, 0.0)
        own = left.sum(axis=1) / counts
        means = effects.mean(axis=1) + own
    scatter = np.where(answered, left - own[:, None], 0.0)
    freedom = int((counts - 1).sum())
    variance = (scatter**2).sum() / freedom if freedom else 0.0
    return means, np.sqrt(variance / counts)


_SWEEPS = 3
"""Means and prompt effects each depend on the other; they settle at once where the prompts are balanced."""


def _effects_without_own(residuals: Array, answered: NDArray[np.bool_]) -> Array:
    """[candidates, prompts]: each prompt's effect by the answers of all others, shrunk to 0 as these are few."""
    per_prompt, sums = answered.sum(axis=0), residuals.sum(axis=0)
    squares = (residuals**2).sum()
    pairs = (per_prompt * (per_prompt - 1)).sum()
    shared = ((sums**2).sum() - squares) / pairs if pairs else 0.0
    freedom = answered.sum() - len(answered)
    own = squares / freedom - shared if freedom > 0 else 0.0
    if shared <= 0:
        return np.zeros(residuals.shape)
    weights = per_prompt - answered + max(own, 0.0) / shared
    return np.asarray(np.divide(sums - residuals, weights, out=np.zeros(residuals.shape), where=weights > 0))

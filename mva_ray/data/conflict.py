"""How much the values pull against each other, before anything is trained."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray


def within_prompt_correlation(rewards: Mapping[str, Sequence[Sequence[float]]]) -> NDArray[np.float64]:
    """Pearson correlation of the values' rewards around each prompt's own mean.

    Negative: what one value likes of two answers to the same prompt, the other dislikes. Differences between
    prompts (one is harder to answer briefly than another) do not count.

    Args:
        rewards: per value [prompts][completions], the same shape for all.

    Returns:
        [values, values] in the order of the mapping; NaN-free: a value that never varies correlates 0 with others.
    """
    centred = np.array([_centred(table) for table in rewards.values()])
    spread = np.sqrt((centred**2).sum(axis=1))
    spread[spread == 0] = np.inf
    scaled = centred / spread[:, None]
    correlation: NDArray[np.float64] = scaled @ scaled.T
    np.fill_diagonal(correlation, 1.0)
    return correlation


def _centred(table: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    return np.concatenate([np.asarray(row, dtype=float) - np.mean(row) for row in table])

"""Value consistency of preference pairs, the data filter of VC-Soup.

Source: Xu et al., "VC-Soup: Value-Consistency Guided Multi-Value Alignment for Large Language Models" (2026,
arXiv 2603.18113).
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def reward_gaps(chosen: ArrayLike, rejected: ArrayLike) -> NDArray[np.float64]:
    """g_i = r_i(chosen) - r_i(rejected) with every value's reward z-scored over chosen and rejected together.

    Args:
        chosen: [pairs, values], the rewards of the preferred completions of one data set, higher is better.
        rejected: [pairs, values], of the others.

    Returns:
        [pairs, values] in standard deviations; 0 for a value whose reward is the same everywhere.

    Raises:
        ValueError: NaN or infinite rewards, or two different shapes.
    """
    ahead, behind = (np.asarray(rewards, dtype=np.float64) for rewards in (chosen, rejected))
    if ahead.ndim != 2 or ahead.shape != behind.shape:
        raise ValueError(f"rewards must both have shape (pairs, values), got {ahead.shape} and {behind.shape}")
    if not (np.isfinite(ahead).all() and np.isfinite(behind).all()):
        raise ValueError("rewards must be finite: leave failed completions out")
    if not len(ahead):
        return np.zeros(ahead.shape)
    every = np.concatenate([ahead, behind])
    constant = every.max(axis=0) == every.min(axis=0)
    gaps: NDArray[np.float64] = (ahead - behind) / np.where(constant, 1.0, every.std(axis=0))
    return gaps


def consistency(gaps: ArrayLike) -> NDArray[np.float64]:
    """cos(g, 1): how much the values agree on a pair. A pair is kept at or above a threshold.

    1 where all values prefer the chosen completion equally, 0 where they cancel out, -1 where all prefer the
    rejected one. A pair whose gaps are all 0 gets 0: no value has an opinion, which is neither agreement nor
    conflict, so that it falls to every positive threshold.

    Args:
        gaps: [pairs, values], see `reward_gaps`.

    Returns:
        [pairs], in [-1, 1], higher is more consistent.
    """
    table = np.asarray(gaps, dtype=np.float64)
    largest = np.abs(table).max(axis=1, keepdims=True)
    unit = table / np.where(largest == 0, 1.0, largest)
    lengths = np.linalg.norm(unit, axis=1) * np.sqrt(table.shape[1])
    cosines: NDArray[np.float64] = unit.sum(axis=1) / np.where(lengths == 0, 1.0, lengths)
    return cosines.clip(-1, 1)

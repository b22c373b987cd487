"""What of a run's numbers would mislead who reads them: values that are one, answers that are cut off."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from mva_ray.maths.redundancy import predictability

Floats = NDArray[np.float64]
NEARLY = 0.95
"""The R² of leave-one-out predictions above which a value is nearly a function of the others."""

LUCK = 0.5
"""The reliability below which candidates differ in a value by luck more than by anything else."""

_LEAST, _MOST = 4, 200
"""Candidates that are wanted for each value, and how many are looked at: the time is cubic."""


def cautions(frame: pd.DataFrame, values: Sequence[str]) -> list[str]:
    """One line each; none while there are too few candidates to know.

    Seen is every candidate that answered all search prompts. Those on the front alone would not do: along a front of
    two values the one always is a function of the other.

    Args:
        frame: the rows of `flat_frame`.
    """
    done = frame[(frame["split"] == "search") & (frame["status"] == "ok")]
    means, errors = (done[names].to_numpy(dtype=float) for names in (list(values), [f"{name}_se" for name in values]))
    cut_off = float(done["truncated"].mean()) if done["truncated"].notna().any() else 0.0
    return redundant_values(means, errors, values) + answers_cut_off(cut_off, "search")


def answers_cut_off(share: float, split: str) -> list[str]:
    """A line where the token limit ended more than half of the answers to a split's prompts."""
    if share <= 0.5:
        return []
    return [
        f"{share:.0%} of the answers to {split} prompts were cut off by the token limit: rewards are of "
        "beginnings; raise generation.max_new_tokens"
    ]


def some_of(candidates: Floats) -> Floats:
    """[at most 200, values] spread evenly over the order: `predictability` of more would take seconds."""
    chosen: Floats = candidates[np.linspace(0, len(candidates) - 1, min(len(candidates), _MOST)).astype(int)]
    return chosen


def redundant_values(means: ArrayLike, errors: ArrayLike, values: Sequence[str]) -> list[str]:
    """A line for the value that its others predict best, where that is nearly exact.

    Errors say how far prompts differ, which moves all candidates alike and hides no function; but of a value that
    varies by no more than its error nothing is said.

    Args:
        means: [candidates, values] mean rewards.
        errors: [any, values] standard errors of such means.
    """
    table, noise = np.asarray(means, dtype=float), np.asarray(errors, dtype=float)
    if len(values) < 2 or len(table) < _LEAST * len(values):
        return []
    seen = some_of(table)
    found = np.where(table.std(axis=0) > noise.mean(axis=0), predictability(seen), -np.inf)
    best = int(found.argmax())
    if not found[best] > NEARLY:
        return []
    others = " and ".join(f"'{name}'" for name in values if name != values[best])
    meaning = (
        "there is one trade-off, and hypervolume says how far it was followed"
        if len(values) == 2
        else "it adds no trade-off of its own"
    )
    known = f"over {len(seen)} candidates (R² {found[best]:.3f})"
    return [f"'{values[best]}' is nearly a function of {others} {known}: {meaning}"]


def values_by_luck(reliabilities: ArrayLike, prompts: int, values: Sequence[str]) -> list[str]:
    """A line for each value in which candidates differ by the luck of prompts more than by anything else.

    Args:
        reliabilities: [values], see `reliability`.
    """
    return [
        f"candidates differ in '{name}' by the luck of {prompts} prompts more than by anything else (reliability "
        f"{found:.2f}): nothing is known of its trade-offs; train longer, on pairs further apart, or use more prompts"
        for name, found in zip(values, np.asarray(reliabilities, dtype=float).tolist(), strict=True)
        if found < LUCK
    ]

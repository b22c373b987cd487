"""A race against the clock of prompts: candidates that are surely dominated do not answer all of them."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from mva_ray.maths.racing import dominating, nearest, upper_bounds, variogram_slope
from mva_ray.records import Coefficients

Rewards = Sequence[Sequence[float]]
"""[n][k]: of each prompt, in the order of the prompts and of the values; higher is better."""


class Race:
    """Compares a candidate after each block of prompts with the candidates of earlier generations.

    Those are known on all prompts and admitted a generation at a time, so that no decision depends on who finishes
    first. The statistics, and what they assume, are in `mva_ray.maths.racing`.

    Args:
        n_prompts: of the whole split, in random order.
        block: prompts between two looks.
        error_rate: the probability at most that a candidate is stopped which no opponent dominates on all prompts.
    """

    def __init__(self, n_prompts: int, block: int, error_rate: float) -> None:
        self.looks = tuple(range(block, n_prompts, block))
        self._error_rate = error_rate
        self._known: dict[Coefficients, NDArray[np.float64]] = {}
        self._opponents: list[Coefficients] = []
        self._slope = np.zeros(0)

    def admit(self, known: Mapping[Coefficients, Rewards], opponents: Sequence[Coefficients]) -> None:
        """Candidates with their rewards on all prompts; those that may stop others, for not every one is feasible."""
        self._known |= {row: np.asarray(rewards, dtype=float) for row, rewards in known.items()}
        self._opponents += opponents
        if len(self._known) > 1:
            self._slope = variogram_slope(list(self._known), list(self._known.values()))

    def dominating(self, coefficients: Coefficients, rewards: Rewards) -> Coefficients | None:
        """An opponent that dominates the candidate, judged by its rewards on the first prompts; None: it may go on."""
        if len(rewards) not in self.looks or len(self._known) < 2 or not self._opponents:
            return None
        rows = list(self._known)
        closest, distance = nearest(coefficients, rows)
        level = self._error_rate / (len(self._slope) * len(self.looks))
        bounds = upper_bounds(rewards, self._known[rows[closest]], self._slope * distance, level)
        found = dominating(bounds, [self._known[row].mean(axis=0) for row in self._opponents])
        return None if found is None else self._opponents[found]

    def stops_at(self, coefficients: Coefficients, rewards: Rewards) -> bool:
        """Whether the candidate is stopped after just as many prompts as there are rewards."""
        before = (rewards[:look] for look in self.looks if look < len(rewards))
        return self.dominating(coefficients, rewards) is not None and not any(
            self.dominating(coefficients, some) for some in before
        )

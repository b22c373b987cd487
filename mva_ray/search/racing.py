"""A race against the clock of prompts: candidates that are surely dominated do not answer all of them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mva_ray.maths.racing import dominating, nearest, upper_bounds, variogram_slope
from mva_ray.records import Coefficients

Rewards = Sequence[Sequence[float]]
"""[n][k]: of each prompt, in the order of the prompts and of the values; higher is better."""


@dataclass(frozen=True)
class _Field:
    """Whom a candidate races against: the first so many of the known and of the opponents, and their variogram."""

    known: int
    opponents: int
    slope: NDArray[np.float64]


class Race:
    """Compares a candidate after each block of prompts with those that were admitted before it entered.

    Those are known on all prompts, and later ones do not count, so that no decision depends on who finishes first. The
    statistics, and what they assume, are in `mva_ray.maths.racing`.

    Args:
        n_prompts: of the whole split, in random order.
        block: prompts between two looks.
        error_rate: the probability at most that a candidate is stopped which no opponent dominates on all prompts.
    """

    def __init__(self, n_prompts: int, block: int, error_rate: float) -> None:
        self.looks = tuple(range(block, n_prompts, block))
        self._error_rate = error_rate
        self._rows: list[Coefficients] = []
        self._rewards: list[NDArray[np.float64]] = []
        self._opponents: list[int] = []
        self._field = _Field(0, 0, np.zeros(0))
        self._fields: dict[Coefficients, _Field] = {}

    def admit(self, known: Mapping[Coefficients, Rewards], opponents: Sequence[Coefficients]) -> None:
        """Candidates with their rewards on all prompts; those that may stop others, for not every one is feasible."""
        self._rows += known
        self._rewards += [np.asarray(rewards, dtype=float) for rewards in known.values()]
        self._opponents += [self._rows.index(row) for row in opponents]
        slope = variogram_slope(self._rows, self._rewards) if len(self._rows) > 1 else np.zeros(0)
        self._field = _Field(len(self._rows), len(self._opponents), slope)

    def enter(self, rows: Iterable[Coefficients]) -> None:
        """Candidates that from now on race against all that are admitted by now."""
        self._fields |= dict.fromkeys(rows, self._field)

    def dominating(self, coefficients: Coefficients, rewards: Rewards) -> Coefficients | None:
        """An opponent that dominates the candidate, judged by its rewards on the first prompts; None: it may go on."""
        field = self._fields[coefficients]
        if len(rewards) not in self.looks or field.known < 2 or not field.opponents:
            return None
        closest, distance = nearest(coefficients, self._rows[: field.known])
        level = self._error_rate / (len(field.slope) * len(self.looks))
        bounds = upper_bounds(rewards, self._rewards[closest], field.slope * distance, level)
        opponents = self._opponents[: field.opponents]
        found = dominating(bounds, [self._rewards[index].mean(axis=0) for index in opponents])
        return None if found is None else self._rows[opponents[found]]

    def stops_at(self, coefficients: Coefficients, rewards: Rewards) -> bool:
        """Whether the candidate is stopped after just as many prompts as there are rewards."""
        before = (rewards[:look] for look in self.looks if look < len(rewards))
        return self.dominating(coefficients, rewards) is not None and not any(
            self.dominating(coefficients, some) for some in before
        )

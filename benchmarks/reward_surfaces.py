"""Rewards as functions of the coefficients, with the noise that a search sees: synthetic ones and recorded ones."""

import gzip
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import RegularGridInterpolator

from mva_ray.records import DECIMALS, Coefficients

Array = NDArray[np.float64]
Rewards = Callable[[Array], Array]
"""From coefficients [n, d] to rewards [n, k], higher is better."""

Answers = Callable[[Coefficients, Sequence[int]], Array]
"""From a candidate and places in the split to the rewards [prompts, k] of its answers."""

NOISE = 0.02
"""Standard error of a synthetic mean reward, as a share of the paper's grid's range."""

PROMPTS = 80
"""Of a synthetic split."""

BY_PROMPT, BY_PROMPT_AND_W, BY_ANSWER = 0.45, 0.25, 0.3
"""What the variance of an answer's reward comes from: the prompt, a slope of the prompt's own in w, and neither of
them. As on the recorded surface of two values, where they are 0.40 to 0.48, 0.19 to 0.27 and 0.31 to 0.33."""


class Surface(Protocol):
    name: str
    bounds: list[tuple[float, float]]

    def true(self, w: Array) -> Array: ...

    def measured(self, seed: int) -> Rewards:
        """What a search with this seed is told."""
        ...

    def errors(self, w: Array) -> Array:
        """Standard errors [n, k] of what is measured."""
        ...

    @property
    def n_prompts(self) -> int: ...

    def answers(self, seed: int) -> Answers:
        """What each answer brings, for a search that is told answers."""
        ...


def paper_grid(n_values: int) -> Array:
    """{0.1, ..., 1.0}^k: 10 levels for two values, as the paper, 6 for three, and 3 for more."""
    levels = {2: 10, 3: 6}.get(n_values, 3)
    return np.array(list(product(np.linspace(0.1, 1.0, levels), repeat=n_values)))


def saturating(w: Array) -> Array:
    """Values that oppose each other and saturate, and lose where the coefficients together go too far."""
    others = w.sum(axis=1, keepdims=True) - w
    return np.asarray(np.tanh(1.4 * w - 0.9 * others) - 0.08 * w.sum(axis=1, keepdims=True) ** 2)


def distances(w: Array) -> Array:
    """Value i is best at 0.9 of its own adapter alone; the front is the hull of those points, known in closed form."""
    best = 0.9 * np.eye(w.shape[1])
    return np.asarray(-((w[:, None, :] - best[None]) ** 2).sum(axis=2))


def collapse(w: Array) -> Array:
    """Rewards that rise with the coefficients until the model breaks, beyond a length of 1.2."""
    length = np.sqrt((w**2).sum(axis=1, keepdims=True))
    others = w.sum(axis=1, keepdims=True) - w
    return np.asarray(w - 0.5 * others - 3 * np.maximum(0, length - 1.2) ** 2)


SURFACES: dict[str, Rewards] = {"saturating": saturating, "distances": distances, "collapse": collapse}
UPPER = 1.5


class Synthetic:
    """A function, measured with independent normal noise."""

    def __init__(self, rewards: Rewards, n_values: int) -> None:
        self.name = rewards.__name__
        self.bounds = [(0.0, UPPER)] * n_values
        self._rewards = rewards
        self._error = NOISE * np.ptp(rewards(paper_grid(n_values)), axis=0)

    def true(self, w: Array) -> Array:
        return self._rewards(w)

    def measured(self, seed: int) -> Rewards:
        rng = np.random.default_rng([seed, 1])
        return lambda w: self.true(w) + self._error * rng.normal(size=(len(w), len(self._error)))

    def errors(self, w: Array) -> Array:
        return np.tile(self._error, (len(w), 1))

    @property
    def n_prompts(self) -> int:
        return PROMPTS

    def answers(self, seed: int) -> Answers:
        rng, (d, k) = np.random.default_rng([seed, 1]), (len(self.bounds), len(self._error))
        deviation, spread = self._error * np.sqrt(PROMPTS), UPPER / np.sqrt(12 / d)
        effects = rng.normal(size=(PROMPTS, k)) * deviation * np.sqrt(BY_PROMPT)
        slopes = rng.normal(size=(PROMPTS, d, k)) * deviation * np.sqrt(BY_PROMPT_AND_W) / spread

        def answered(row: Coefficients, places: Sequence[int]) -> Array:
            own = of_candidate(seed, row).normal(size=(PROMPTS, k)) * deviation * np.sqrt(BY_ANSWER)
            w = np.array(row)
            rewards = self.true(w[None]) + effects + np.einsum("d,pdk->pk", w - UPPER / 2, slopes) + own
            return np.asarray(rewards[list(places)])

        return answered


@dataclass(frozen=True)
class Recorded:
    """Rewards of a real model on a lattice of coefficients (benchmarks/surface.py), one a prompt.

    Between the lattice points, means are interpolated by PCHIP (Fritsch & Carlson 1980), coefficient by coefficient: it
    is smooth and does not overshoot, so that no candidate is better than what was measured around it. The truth is the
    mean over all recorded prompts. A search sees the mean over as many prompts drawn from them with replacement, the
    same for all of its candidates, as in reality: easy prompts are easy for all, and noise is paired.

    Attributes:
        axes: the levels of each coefficient.
        rewards: [*levels, prompts, k].
    """

    name: str
    axes: tuple[Array, ...]
    rewards: Array

    @property
    def bounds(self) -> list[tuple[float, float]]:
        return [(float(axis[0]), float(axis[-1])) for axis in self.axes]

    def true(self, w: Array) -> Array:
        return self._between(self.rewards.mean(axis=-2), w)

    def measured(self, seed: int) -> Rewards:
        prompts = self.rewards.shape[-2]
        drawn = np.random.default_rng([seed, 1]).integers(prompts, size=prompts)
        means = self.rewards[..., drawn, :].mean(axis=-2)
        return lambda w: self._between(means, w)

    def errors(self, w: Array) -> Array:
        deviations = self.rewards.std(axis=-2, ddof=1)
        return self._between(deviations / np.sqrt(self.rewards.shape[-2]), w)

    @property
    def n_prompts(self) -> int:
        return int(self.rewards.shape[-2])

    def answers(self, seed: int) -> Answers:
        """Each is that of one of the recorded candidates around, drawn by nearness, coefficient by coefficient.

        Interpolated answers would be too alike from candidate to candidate. They are shifted so that the mean over all
        recorded prompts is the interpolated one.
        """
        drawn = np.random.default_rng([seed, 1]).integers(self.n_prompts, size=self.n_prompts)

        def answered(row: Coefficients, places: Sequence[int]) -> Array:
            below, share = zip(*(_cell(axis, w) for axis, w in zip(self.axes, row, strict=True)), strict=True)
            above = of_candidate(seed, row).random((self.n_prompts, len(row))) < share
            rewards = self.rewards[(*(np.array(below) + above).T, np.arange(self.n_prompts))]
            rewards = rewards - rewards.mean(axis=0) + self.true(np.array([row]))
            return np.asarray(rewards[drawn[list(places)]])

        return answered

    def _between(self, lattice: Array, w: Array) -> Array:
        return np.asarray(RegularGridInterpolator(self.axes, lattice, method="pchip")(w))


def _cell(axis: Array, w: float) -> tuple[int, float]:
    """The level below, and how far w is on the way to the next one."""
    below = int(np.clip(np.searchsorted(axis, w, side="right") - 1, 0, len(axis) - 2))
    return below, float((w - axis[below]) / (axis[below + 1] - axis[below]))


def of_candidate(seed: int, row: Coefficients) -> np.random.Generator:
    """A candidate answers the same whenever it is asked."""
    return np.random.default_rng([seed, 2, *(round(w * 10**DECIMALS) % 2**32 for w in row)])


def read_recorded(path: Path) -> Recorded:
    """What benchmarks/surface.py wrote.

    Raises:
        KeyError: a point of the lattice is missing.
    """
    candidates = json.loads(gzip.decompress(path.read_bytes()))["candidates"]
    rewards = {tuple(candidate["w"]): candidate["rewards"] for candidate in candidates}
    axes = tuple(_levels(list(coefficients)) for coefficients in zip(*rewards, strict=True))
    lattice = np.array([rewards[row] for row in product(*(axis.tolist() for axis in axes))])
    return Recorded(
        path.name.split(".")[0].removeprefix("surface_"), axes, lattice.reshape(*map(len, axes), *lattice.shape[1:])
    )


def _levels(coefficients: list[float]) -> Array:
    """Those of the lattice: references that lie beside it have coefficients that few candidates have."""
    counts = Counter(coefficients)
    return np.array(sorted(level for level, count in counts.items() if 2 * count > max(counts.values())))

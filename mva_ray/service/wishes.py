"""What people want of a front, and the order of its candidates that follows."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite, nan
from typing import TYPE_CHECKING

from mva_ray.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

KNEE, PRESET = "knee", "preset"
NO_WEIGHT, NO_LEVEL, NO_AIM = NOTHING_SAID = (
    "at least one weight must be above 0",
    "at least one level is needed",
    "say at least one value to improve",
)
WITHIN = 10.0
"""Percent: how far a preset may be from the best of a preference that it serves, where nothing else is said."""


@dataclass(frozen=True)
class Named:
    """A candidate by its name, or the beginning of it where no other begins alike."""

    candidate: str


@dataclass(frozen=True)
class Preference:
    """Weights of the values, at least 0; values that are left out weigh 0."""

    weights: Mapping[str, float]

    def problems(self, values: Sequence[str]) -> Iterator[str]:
        """One line for each thing that is wrong with it."""
        yield from _unknown(self.weights, values)
        for value, weight in self.weights.items():
            if not 0 <= weight < float("inf"):
                yield f"'{value}' must weigh a number of at least 0, got '{weight:g}'"
        if not any(self.weights.values()):
            yield NO_WEIGHT


@dataclass(frozen=True)
class ReferencePoint:
    """The mean reward wished for, by value; of values that are left out, anything on the front will do."""

    levels: Mapping[str, float]

    def problems(self, values: Sequence[str]) -> Iterator[str]:
        """One line for each thing that is wrong with it."""
        yield from _unknown(self.levels, values)
        yield from _not_finite(self.levels)
        if not self.levels:
            yield NO_LEVEL


@dataclass(frozen=True)
class Classes:
    """What may happen to each value from where one stands; values that are left out are free.

    Args:
        start: the candidate one stands on, on the front or not.
        improve: values to raise -> the mean reward that would do, or None for as high as possible.
        keep: values that must not fall.
        allow: values that may fall -> to which mean reward.
    """

    start: str
    improve: Mapping[str, float | None]
    keep: tuple[str, ...] = ()
    allow: Mapping[str, float] = field(default_factory=dict)

    def problems(self, values: Sequence[str]) -> Iterator[str]:
        """One line for each thing that is wrong with it."""
        named = [*self.improve, *self.keep, *self.allow]
        yield from _unknown(dict.fromkeys(named), values)
        yield from _not_finite(self.allow)
        yield from _not_finite({value: level for value, level in self.improve.items() if level is not None})
        for value in dict.fromkeys(named):
            if named.count(value) > 1:
                yield f"'{value}' can be improved, kept or allowed to fall, but only one of these"
        if not self.improve:
            yield NO_AIM


@dataclass(frozen=True)
class Preset:
    """`preset1`, `preset2`, ... of the fewest candidates that serve every preference, or `knee`, the sharpest one.

    Args:
        within: how far a preset may be from the best of a preference, in percent of a value's range on the front.
    """

    name: str
    within: float = WITHIN

    def problems(self, values: Sequence[str]) -> Iterator[str]:
        """One line for each thing that is wrong with it."""
        number = self.name.removeprefix(PRESET)
        if self.name != KNEE and not (self.name.startswith(PRESET) and number.isdecimal() and int(number)):
            yield f"'{self.name}' is no preset; choose from {KNEE}, {PRESET}1, {PRESET}2, ..."
        if not 0 <= self.within < float("inf"):
            yield f"presets must be within a percentage of at least 0, got {self.within:g}"


Wish = Named | Preference | ReferencePoint | Classes | Preset


@dataclass(frozen=True)
class Ranking:
    """The candidates that a wish allows, best first.

    Args:
        rows: with `score`, higher is better.
        alternatives: of a reference point: value -> the candidate that a somewhat higher level of it would give.
    """

    rows: "pd.DataFrame"
    alternatives: Mapping[str, str] = field(default_factory=dict)


def ranked(frame: "pd.DataFrame", wish: Preference | ReferencePoint | Classes, values: Sequence[str]) -> Ranking:
    """Order the front of one split by a wish that has no problems.

    Args:
        frame: all rows of the split, those on the front among them.

    Raises:
        ConfigError: the candidate one stands on is not there.
    """
    from mva_ray.maths.choice import achievement, alternatives, classified
    from mva_ray.maths.pareto import augmented_chebyshev
    from mva_ray.table.frame import front_rows

    front = front_rows(frame, values[0])
    rewards = front[list(values)].to_numpy(dtype=float)
    if isinstance(wish, Preference):
        return _by(front, augmented_chebyshev(rewards, [wish.weights.get(value, 0.0) for value in values]))
    if isinstance(wish, Classes):
        index = {value: column for column, value in enumerate(values)}
        here = _standing(frame, wish.start)[list(values)].to_numpy(dtype=float)
        floors = {index[value]: here[index[value]] for value in wish.keep}
        floors |= {index[value]: level for value, level in wish.allow.items()}
        improve = {index[value]: level for value, level in wish.improve.items()}
        return _by(front, classified(rewards, here, improve, floors))
    point = [wish.levels.get(value, nan) for value in values]
    found = alternatives(rewards, point) if len(front) else []
    names = [str(front["candidate"].iloc[row]) for row in found]
    return Ranking(_by(front, achievement(rewards, point)).rows, dict(zip(values, names, strict=False)))


def presets(frame: "pd.DataFrame", within: float, values: Sequence[str]) -> "pd.DataFrame":
    """The fewest rows of the front such that one serves every preference, highest first value first."""
    from mva_ray.maths.choice import presets as fewest
    from mva_ray.table.frame import front_rows

    front = front_rows(frame, values[0])
    return front.iloc[fewest(front[list(values)].to_numpy(dtype=float), within / 100)]


def sharpest_knee(frame: "pd.DataFrame", values: Sequence[str]) -> str | None:
    """The knee of the front where every move costs most; None where there is no knee."""
    from mva_ray.maths.choice import tradeoffs
    from mva_ray.table.frame import front_rows

    front = front_rows(frame, values[0])
    if not front["knee"].any():
        return None
    cost = tradeoffs(front[list(values)].to_numpy(dtype=float))
    return str(front["candidate"].iloc[max(range(len(cost)), key=lambda row: (front["knee"].iloc[row], cost[row]))])


def described(wish: Preference | ReferencePoint | Classes) -> tuple[str, str]:
    """The wish, and the function that ranks by it, for people."""
    if isinstance(wish, Preference):
        return _pairs(wish.weights), "augmented Chebyshev, normalised over the front"
    if isinstance(wish, ReferencePoint):
        return f"at least {_pairs(wish.levels)}", "achievement function, normalised over the front"
    parts = [("improving", _pairs(wish.improve)), ("keeping", ", ".join(wish.keep)), ("down to", _pairs(wish.allow))]
    said = ", ".join(f"{what} {text}" for what, text in parts if text)
    return f"{said}, from {wish.start}", "NIMBUS, normalised over the front"


def _by(front: "pd.DataFrame", scores: "NDArray[np.float64]") -> Ranking:
    scored = front.assign(score=scores)
    return Ranking(scored[scored["score"] > -float("inf")].sort_values("score", ascending=False, kind="stable"))


def _standing(frame: "pd.DataFrame", name: str) -> "pd.Series":
    from mva_ray.table.snapshot import only

    known = frame[frame["status"] == "ok"]
    rows = known[known["candidate"] == only(name, known["candidate"].unique().tolist())]
    if len(rows) > 1:
        raise ConfigError(f"candidate {name!r}", ["is in several of these runs: ask one of them alone"])
    return rows.iloc[0]


def _unknown(named: Mapping[str, object], values: Sequence[str]) -> Iterator[str]:
    for name in named:
        if name not in values:
            yield f"'{name}' is not a value of this run; choose from {', '.join(values)}"


def _not_finite(levels: Mapping[str, float]) -> Iterator[str]:
    for value, level in levels.items():
        if not isfinite(level):
            yield f"'{value}' must be a number, got '{level:g}'"


def _pairs(numbers: Mapping[str, float | None]) -> str:
    return ", ".join(value if number is None else f"{value}={number:g}" for value, number in numbers.items())

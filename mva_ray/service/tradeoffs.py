"""What neighbours on a front cost each other, and how sure the front is."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mva_ray.errors import ConfigError
from mva_ray.service.estimate import Estimate, estimated
from mva_ray.service.query import Split

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from mva_ray.maths.bootstrap import Interval, Resamples

RESAMPLES = 1000
CONTENDERS = 100
"""At most so many candidates are drawn again for the probabilities."""
SURELY = 4.0
"""Sums of two standard errors: who is below a member by more in every value is on no front."""


@dataclass(frozen=True)
class Rate:
    """What a unit of one value costs of another, between two neighbours."""

    gained: str
    lost: str
    cost: Estimate


@dataclass(frozen=True)
class Step:
    """From one candidate of the front to a neighbour that is better in `gained`.

    Args:
        differences: value -> mean reward of `to` minus that of `start`, paired by prompt.
        rates: one for each value that falls.
        told_apart: whether they surely differ in some value.
    """

    start: str
    to: str
    gained: str
    differences: Mapping[str, Estimate]
    rates: tuple[Rate, ...]
    told_apart: bool


@dataclass(frozen=True)
class Member:
    """A candidate that is on the front, or nearly.

    Args:
        means: value -> mean reward.
        probability: how often it is on the front when the prompts are drawn anew, 0 to 1.
        alike: members of the front that cannot be told apart from it.
    """

    candidate: str
    on_front: bool
    means: Mapping[str, float]
    probability: float
    alike: tuple[str, ...]


@dataclass(frozen=True)
class Tradeoffs:
    """The front of a run, highest first value first, and the steps between its neighbours.

    Args:
        members: those on the front, then contenders that other prompts may bring onto it, likeliest first.
        left_out: contenders beyond `CONTENDERS`, which were not drawn.
    """

    run: str
    split: str
    values: tuple[str, ...]
    n_prompts: int
    members: tuple[Member, ...]
    steps: tuple[Step, ...]
    left_out: int


def tradeoffs(run: Path | str, split: Split | None = None, start: str | None = None) -> Tradeoffs:
    """Rates, probabilities and what cannot be told apart, by a paired bootstrap over prompts.

    Args:
        split: if None, `held_out` where there are rows, else `search`.
        start: only the steps from this member of the front, or the one whose name begins so.

    Raises:
        ConfigError: no run there, nothing on the front, or `start` is not on it.
    """
    from mva_ray.maths.bootstrap import Resamples
    from mva_ray.table.frame import front_rows
    from mva_ray.table.snapshot import only, snapshot

    found = snapshot(run)
    values, frame = found.state.values, found.on(split)
    front = front_rows(frame, values[0])
    if front.empty:
        raise ConfigError(str(run), ["there is no candidate on the front"])
    here = only(start, front["candidate"].tolist()) if start is not None else None
    on, near = str(front["split"].iloc[0]), _contenders(frame, front, values)
    names = [*front["candidate"], *near["candidate"]]
    rewards = found.rewards(names, on)
    draws = Resamples.draw(rewards.shape[1], 1, RESAMPLES)
    steps = _steps(rewards[: len(front)], names, values, draws)
    return Tradeoffs(
        run=found.place,
        split=on,
        values=values,
        n_prompts=rewards.shape[1],
        members=tuple(_members(rewards, names, len(front), values, draws)),
        steps=tuple(step for step in steps if here in (None, step.start, step.to)),
        left_out=near.attrs["left_out"],
    )


def _contenders(frame: "pd.DataFrame", front: "pd.DataFrame", values: Sequence[str]) -> "pd.DataFrame":
    """Who is off the front, and not below one of its members by far in every value; the nearest first."""
    import numpy as np

    off = frame[(frame["status"] == "ok") & frame["feasible"] & ~frame["on_front"]]
    means, errors = (off[names].to_numpy(dtype=float) for names in (list(values), [f"{name}_se" for name in values]))
    short = np.full(len(off), -np.inf)
    for member in front.to_dict("records"):
        best, its = ([member[name] for name in names] for names in (values, [f"{value}_se" for value in values]))
        error = errors + np.array(its, dtype=float)
        gap = np.array(best, dtype=float) - means
        with np.errstate(divide="ignore", invalid="ignore"):
            behind = np.where(gap == 0, 0.0, gap / error)
        short = np.maximum(short, behind.min(axis=1, initial=np.inf))
    order = np.argsort(short, kind="stable")
    near = off.iloc[order[short[order] <= SURELY]]
    kept = near.head(CONTENDERS)
    kept.attrs["left_out"] = len(near) - len(kept)
    return kept


def _members(
    rewards: "NDArray[np.float64]", names: Sequence[str], front: int, values: Sequence[str], draws: "Resamples"
) -> Iterator[Member]:
    from mva_ray.maths.paired import apart, front_probability

    probability = front_probability(rewards, draws.prompts[1:])
    differ, means = apart(rewards[:front]), rewards.mean(axis=1)
    order = [*range(front), *sorted(range(front, len(names)), key=lambda row: -probability[row])]
    for row in order:
        if row >= front and probability[row] == 0:
            continue
        alike = [names[other] for other in range(front) if row < front and other != row and not differ[row, other]]
        of_row = dict(zip(values, means[row].tolist(), strict=True))
        yield Member(names[row], row < front, of_row, float(probability[row]), tuple(alike))


def _steps(
    rewards: "NDArray[np.float64]", names: Sequence[str], values: Sequence[str], draws: "Resamples"
) -> Iterator[Step]:
    """Of two values each step gains the first; of more, the value that changes most for its range."""
    import numpy as np

    from mva_ray.maths.choice import neighbours
    from mva_ray.maths.paired import apart

    means = rewards.mean(axis=1)
    span = np.where(np.ptp(means, axis=0) > 0, np.ptp(means, axis=0), 1.0)
    for upper, lower in neighbours(means):
        move = (means[upper] - means[lower]) / span
        gained = 0 if len(values) == 2 else int(np.abs(move).argmax())
        to, start = (upper, lower) if move[gained] >= 0 else (lower, upper)
        gaps = rewards[to] - rewards[start]
        told_apart = bool(apart(rewards[[to, start]])[0, 1])
        yield _step(gaps, names[start], names[to], gained, values, draws, told_apart)


def _step(
    gaps: "NDArray[np.float64]",
    start: str,
    to: str,
    gained: int,
    values: Sequence[str],
    draws: "Resamples",
    told_apart: bool,
) -> Step:
    from mva_ray.maths.paired import differences, rate

    found = differences(gaps, 0 * gaps)
    rates = [
        Rate(values[gained], value, _cost(rate(gaps[:, gained], -gaps[:, column], draws.prompts)))
        for column, value in enumerate(values)
        if found.mean[gained] > 0 and found.mean[column] < 0
    ]
    moved = {
        value: estimated(found.mean[column], found.low[column], found.high[column])
        for column, value in enumerate(values)
    }
    return Step(start, to, values[gained], moved, tuple(rates), told_apart)


def _cost(found: "Interval") -> Estimate:
    return estimated(found.estimate, found.low, found.high)

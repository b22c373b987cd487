"""A way to a candidate for those who do not know what they want: step by step, and each step better than the last."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mva_ray.errors import ConfigError
from mva_ray.service.query import Split

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

OFFERED, STEPS, MOST_STEPS = 4, 4, 20
"""Points to choose from, steps of a way where nothing else is said, and at most."""


@dataclass(frozen=True)
class Point:
    """A place on the way: mean rewards that one has for certain.

    Args:
        towards: the candidate in whose direction it lies; None at the worst corner, where all ways begin.
        means: value -> mean reward.
        best: value -> the best mean reward that can still be reached from here.
        reachable: candidates of the front that are nowhere worse than this point.
    """

    towards: str | None
    means: dict[str, float]
    best: dict[str, float]
    reachable: tuple[str, ...]


@dataclass(frozen=True)
class Steps:
    """Where one stands on a way from the worst corner of a front to one of its members.

    Args:
        taken: the candidates that were walked towards, a step each.
        left: steps until a candidate is reached.
        here: where one stands.
        offered: a few points to choose the next step from, each nowhere worse than `here`; none at the end.
        chosen: the candidate that was reached at the end.
    """

    run: str
    split: str
    values: tuple[str, ...]
    taken: tuple[str, ...]
    left: int
    here: Point
    offered: tuple[Point, ...]
    chosen: str | None


def steps(run: Path | str, taken: Sequence[str] = (), of: int = STEPS, split: Split | None = None) -> Steps:
    """Stand where some steps lead, and see where the next one may go.

    A step goes towards any candidate that can be reached, not only those that are offered: so every member of the front
    is at the end of some way.

    Args:
        taken: candidates, or the beginnings of their names, that were walked towards.
        of: steps from the worst corner to the front.
        split: the prompts whose rewards count; if None, `held_out` where there are rows, else `search`.

    Raises:
        ConfigError: no run there, no front, a candidate that cannot be reached, or more steps than the way has.
    """
    from mva_ray.table.frame import front_rows
    from mva_ray.table.snapshot import snapshot

    found = snapshot(run)
    values = found.state.values
    frame = found.on(split)
    if not 1 <= of <= MOST_STEPS or len(taken) > of:
        raise ConfigError("steps", [f"a way has 1 to {MOST_STEPS} steps, got {len(taken)} taken of {of}"])
    if not frame["on_front"].any():
        raise ConfigError(str(run), ["there is no candidate on the front"])
    way = _Way(front_rows(frame, values[0]), values)
    walked, here = way.walk(taken, of)
    left = of - len(taken)
    return Steps(
        run=found.place,
        split=str(frame["split"].iloc[0]),
        values=values,
        taken=tuple(way.names[row] for row in walked),
        left=left,
        here=way.point(here, walked[-1] if walked else None),
        offered=tuple(way.offered(here, left)) if left else (),
        chosen=way.names[walked[-1]] if not left else None,
    )


def names_in(text: str | None) -> list[str]:
    """Candidates as people type them, with commas between."""
    return [name.strip() for name in (text or "").split(",") if name.strip()]


class _Way:
    """The front of one split, and places on the way to it."""

    def __init__(self, front: "pd.DataFrame", values: Sequence[str]) -> None:
        self.names: list[str] = front["candidate"].tolist()
        self._values = values
        self._rewards = front[list(values)].to_numpy(dtype=float)

    def walk(self, taken: Sequence[str], of: int) -> tuple[list[int], "NDArray[np.float64]"]:
        """The rows that were walked towards, and where one stands then."""
        from mva_ray.maths.nautilus import reachable, stepped
        from mva_ray.table.snapshot import only

        here, walked = self._rewards.min(axis=0), []
        for number, name in enumerate(taken):
            there = [self.names[row] for row in reachable(self._rewards, here)]
            try:
                walked.append(self.names.index(only(name, there)))
            except ConfigError as error:
                problem = error.problems[0].partition(";")[0]
                hint = f"step {number + 1} can go towards {', '.join(there)}"
                raise ConfigError(f"candidate {name!r}", [f"{problem} within reach: {hint}"]) from None
            here = stepped(here, self._rewards[walked[-1]], of - number)
        return walked, here

    def offered(self, here: "NDArray[np.float64]", left: int) -> "list[Point]":
        from mva_ray.maths.nautilus import reachable, representatives, stepped

        there = reachable(self._rewards, here)
        rows = [there[row] for row in representatives(self._rewards[there], OFFERED)]
        return [self.point(stepped(here, self._rewards[row], left), row) for row in rows]

    def point(self, means: "NDArray[np.float64]", towards: int | None) -> Point:
        from mva_ray.maths.nautilus import reachable

        there = reachable(self._rewards, means)
        best = self._rewards[there].max(axis=0)
        return Point(
            None if towards is None else self.names[towards],
            dict(zip(self._values, means.tolist(), strict=True)),
            dict(zip(self._values, best.tolist(), strict=True)),
            tuple(self.names[row] for row in there),
        )

"""How a front grew: what each evaluation brought, over candidates and over answers."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mva_ray.service.query import Split

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Moment:
    """The front after some evaluations.

    Args:
        evaluations: rows so far, failed and partial ones too.
        answers: completions so far.
        candidate: whose row was the last.
        joined: whether it came onto the front.
        front: how many candidates are on it.
        hypervolume: share of the box of `History`; higher is better.
    """

    evaluations: int
    answers: int
    candidate: str
    joined: bool
    front: int
    hypervolume: float | None


@dataclass(frozen=True)
class History:
    """Every evaluation of one split, oldest first.

    Args:
        low: value -> the worst mean reward of all; the box of the hypervolume begins there.
        high: value -> the best one, where it ends. A box without width has no hypervolume: None everywhere.
    """

    run: str
    split: str
    values: tuple[str, ...]
    low: dict[str, float]
    high: dict[str, float]
    moments: tuple[Moment, ...]


def history(run: Path | str, split: Split = "search") -> History:
    """The history of a run, from its current rows.

    Raises:
        ConfigError: no run there.
    """
    from mva_ray.table.snapshot import snapshot

    found = snapshot(run)
    values = found.state.values
    frame = found.frame[found.frame["split"] == split]
    done = frame.loc[frame["status"] == "ok", list(values)].to_numpy(dtype=float)
    low, high = (done.min(axis=0), done.max(axis=0)) if len(done) else (done.sum(axis=0), done.sum(axis=0))
    moments = _moments(frame, list(values), low, high)
    box = [dict(zip(values, side.tolist(), strict=True)) for side in (low, high)] if len(done) else [{}, {}]
    return History(found.place, split, values, box[0], box[1], tuple(moments))


def _moments(
    frame: "pd.DataFrame", values: list[str], low: "NDArray[np.float64]", high: "NDArray[np.float64]"
) -> list[Moment]:
    import numpy as np

    from mva_ray.maths.pareto import hypervolume

    wide = bool((high > low).all())
    rewards = frame[values].to_numpy(dtype=float, na_value=np.nan)
    counts = ((frame["status"] == "ok") & frame["feasible"]).tolist()
    front, volume, answers, moments = np.zeros((0, len(values))), 0.0 if wide else None, 0, []
    rows = zip(frame["candidate"], frame["n_prompts"], counts, rewards, strict=True)
    for number, (candidate, n_prompts, is_counted, row) in enumerate(rows, 1):
        answers += int(n_prompts)
        joined = bool(is_counted and not ((front >= row).all(axis=1) & (front > row).any(axis=1)).any())
        if joined:
            front = np.vstack([front[~((row >= front).all(axis=1) & (row > front).any(axis=1))], row])
            volume = float(hypervolume((front - low) / (high - low), np.zeros(len(values)))) if wide else None
        moments.append(Moment(number, answers, str(candidate), joined, len(front), volume))
    return moments

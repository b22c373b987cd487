"""One run or several side by side, as one frame."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mva_ray.errors import ConfigError
from mva_ray.records import CoefficientNames

if TYPE_CHECKING:
    import pandas as pd

    from mva_ray.table.snapshot import Snapshot


@dataclass(frozen=True)
class Side:
    """All rows of one split of one run, or of several; see `Answer` for what they have in common."""

    frame: "pd.DataFrame"
    split: str
    coefficients: CoefficientNames
    metrics: tuple[str, ...]
    runs: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()


def together(snapshots: Sequence["Snapshot"], split: str | None) -> Side:
    """The rows of all runs on one split: if None, `held_out` where all have rows there, else `search`.

    Raises:
        ConfigError: no run, a run twice, or runs that differ in their values.
    """
    from mva_ray.table.frame import metric_columns

    _check(snapshots)
    frames = [one.on(split) for one in snapshots]
    chosen = {str(frame["split"].iloc[0]) for frame in frames if len(frame)}
    if len(chosen) > 1:
        frames, chosen = [one.on("search") for one in snapshots], {"search"}
    first = snapshots[0].state
    on = split or (chosen.pop() if chosen else "search")
    if len(snapshots) == 1:
        return Side(
            frames[0],
            on,
            first.coefficients,
            tuple(metric_columns(first.values, first.constraints)),
            doubts=tuple(snapshots[0].cautions),
        )
    alike = all(one.state.coefficients == first.coefficients for one in snapshots)
    measured = [metric_columns(one.state.values, one.state.constraints) for one in snapshots]
    return Side(
        _joined(frames, [one.place for one in snapshots], list(first.values)),
        on,
        first.coefficients if alike else dict.fromkeys(first.values, ()),
        tuple(dict.fromkeys(name for names in measured for name in names)),
        tuple(one.place for one in snapshots),
        tuple(_doubts(snapshots, on)),
    )


def _check(snapshots: Sequence["Snapshot"]) -> None:
    if not snapshots:
        raise ConfigError("RUN", ["at least one run is needed"])
    places, first = [one.place for one in snapshots], snapshots[0].state
    problems = [f"{place} is given twice" for place in dict.fromkeys(places) if places.count(place) > 1]
    problems += [
        f"{one.place} has other values ({', '.join(one.state.values)}) than {places[0]} ({', '.join(first.values)})"
        for one in snapshots
        if set(one.state.values) != set(first.values)
    ]
    if problems:
        raise ConfigError("RUN", problems)


def _joined(frames: Sequence["pd.DataFrame"], places: Sequence[str], values: list[str]) -> "pd.DataFrame":
    import pandas as pd

    from mva_ray.maths.pareto import front_mask

    columns = ["run", *dict.fromkeys(name for frame in frames for name in frame.columns)]
    named = [frame.assign(run=place) for frame, place in zip(frames, places, strict=True)]
    rows = pd.concat(named, ignore_index=True)[columns]
    rows.insert(columns.index("on_front") + 1, "joint_front", False)
    fronts = rows["on_front"]
    rows.loc[fronts, "joint_front"] = front_mask(rows.loc[fronts, values].to_numpy(dtype=float))
    return rows


def _doubts(snapshots: Sequence["Snapshot"], split: str) -> list[str]:
    """What makes rewards of these runs hard to compare."""
    prompts = {one.state.prompts.get(split) for one in snapshots}
    doubts = ["the runs have other prompts: differences between them may come from these"] if len(prompts) > 1 else []
    versions = [
        {name: version for row in one.rows["rewards"].slice(0, 1).to_pylist() for name, version in row}
        for one in snapshots
    ]
    for value in snapshots[0].state.values:
        if len({of_run[value] for of_run in versions if value in of_run}) > 1:
            doubts.append(f"the runs have other rewards of '{value}': their numbers may not be on one scale")
    return doubts

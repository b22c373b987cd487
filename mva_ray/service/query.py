"""Questions to the Pareto tables of runs: select, filter, order, rank by what somebody wants."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mva_ray.errors import ConfigError
from mva_ray.records import CoefficientNames
from mva_ray.service.where import where
from mva_ray.service.wish_text import WishText
from mva_ray.service.wishes import PRESET, Classes, Preference, Ranking, ReferencePoint, presets, ranked

if TYPE_CHECKING:
    import pandas as pd


Split = Literal["search", "held_out"]
LEFT_OUT = ("failed", "infeasible", "partial")
Ranked = Preference | ReferencePoint | Classes
"""Wishes that put the whole front in an order."""


@dataclass(frozen=True)
class Query:
    """What to show of a run, or of several side by side.

    Args:
        split: `held_out` or `search`; if None, `held_out` where it has rows, else `search`.
        everything: all candidates, also failed, infeasible and partial ones; else the front.
        where: an SQL condition over the columns of `ParetoTable.frame`.
        sort: a column, descending after a leading `-`; the front comes highest first value first without it.
        prefer: preference weights such as `positive=0.7,brief=0.3`: short for a `wish` of that text.
        limit: show the first so many rows.
        wish: rank the front by it, best first.
        presets: only the fewest candidates of the front such that one of them serves every preference within so many
            percent, see `Preset`.
        after: as it was after the first so many evaluations of the search, on its prompts.
    """

    split: Split | None = None
    everything: bool = False
    where: str | None = None
    sort: str | None = None
    prefer: str | None = None
    limit: int | None = None
    wish: Ranked | WishText | None = None
    presets: float | None = None
    after: int | None = None


@dataclass(frozen=True)
class Answer:
    """The rows a query selected, and what a reader must know about them.

    Args:
        rows: columns of `ParetoTable.frame`, plus `run` and `joint_front` (whether no candidate of the other runs
            dominates it either) where there are several runs, `score` (higher is better) with a wish and `preset` with
            presets.
        coefficients: the names of each value's coefficients, values in order; none where the runs differ in them.
        split: the prompt split of every row.
        everything: whether rows off the front were asked for.
        n_prompts: prompts an evaluation on this split has; 0 without any.
        metrics: the metric columns.
        left_out: how many candidates of this split are failed, infeasible or partial, shown or not.
        runs: their places, where there are several.
        doubts: why the numbers may mislead, or several runs may not be comparable, one line each.
        wish: what `score` was computed for; None without one.
        best: the first candidate of a wish; None without one.
        alternatives: of a reference point: value -> what a somewhat higher wish for it would give.
    """

    rows: "pd.DataFrame"
    coefficients: CoefficientNames
    split: str
    everything: bool
    n_prompts: int
    metrics: tuple[str, ...]
    left_out: dict[str, int]
    runs: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    wish: Ranked | None = None
    best: str | None = None
    alternatives: Mapping[str, str] = field(default_factory=dict)

    @property
    def values(self) -> tuple[str, ...]:
        return tuple(self.coefficients)


def ask(run: Path | str | Sequence[Path | str], query: Query) -> Answer:
    """Answer a query from the newest state of the table, or of those of several runs.

    Raises:
        ConfigError: no run there, every problem of the query at once, or runs of different values.
    """
    from mva_ray.service.runs import together
    from mva_ray.table.frame import front_rows, standing
    from mva_ray.table.snapshot import snapshot

    places = [run] if isinstance(run, str | Path) else list(run)
    snapshots = [snapshot(place) for place in places]
    if query.after is not None:
        snapshots = [one.first(max(query.after, 0)) for one in snapshots]
    side = together(snapshots, query.split)
    frame, values = side.frame, list(side.coefficients)
    wish = _checked(query, values, list(frame.columns))

    found = (
        ranked(frame, wish, values) if wish else Ranking(frame if query.everything else front_rows(frame, values[0]))
    )
    rows = found.rows
    if query.presets is not None:
        rows = _presets(frame, query.presets, values)
    if query.where:
        rows = where(rows, query.where)
    if query.sort:
        rows = rows.sort_values(query.sort.removeprefix("-"), ascending=not query.sort.startswith("-"), kind="stable")
    words = standing(frame)
    rows = rows.head(len(rows) if query.limit is None else query.limit).reset_index(drop=True)
    return Answer(
        rows=rows,
        coefficients=side.coefficients,
        split=side.split,
        everything=query.everything,
        n_prompts=int(frame["n_prompts"].max()) if len(frame) else 0,
        metrics=side.metrics,
        left_out={name: count for name in LEFT_OUT if (count := int((words == name).sum()))},
        runs=side.runs,
        doubts=side.doubts,
        wish=wish,
        best=str(rows["candidate"].iloc[0]) if wish and len(rows) else None,
        alternatives=found.alternatives,
    )


def _checked(query: Query, values: Sequence[str], columns: list[str]) -> Ranked | None:
    """The wish of a query whose options are all right and go together."""
    wish, option, problems = _wish(query, values)
    if query.prefer is not None and query.wish is not None:
        problems.append("--prefer: cannot go with another wish: leave one of them out")
    if query.presets is not None and not 0 <= query.presets < float("inf"):
        problems.append(f"--presets: must be a percentage of at least 0, got {query.presets:g}")
    ranks = [name for name, given in ((option, option), ("--presets", query.presets is not None)) if given]
    others = [("--all", query.everything), ("--sort", query.sort is not None), ("--presets", len(ranks) > 1)]
    problems += [
        f"{name}: cannot go with {ranks[0]}, which ranks the front: leave one of them out"
        for name, given in others
        if given and ranks and ranks != [name]
    ]
    counts = [("--limit", query.limit), ("--after", query.after)]
    problems += [f"{name}: must be at least 0, got {n}" for name, n in counts if n is not None and n < 0]
    if query.after is not None and query.split == "held_out":
        problems.append("--after: counts evaluations of the search: leave --split held_out out")
    if query.sort is not None and query.sort.removeprefix("-") not in columns:
        problems.append(f"--sort: no column '{query.sort.removeprefix('-')}'; the columns are {', '.join(columns)}")
    if problems:
        raise ConfigError("pareto", problems)
    return wish


def _wish(query: Query, values: Sequence[str]) -> tuple[Ranked | None, str | None, list[str]]:
    """The wish, the option it came by, and what is wrong with it."""
    given = WishText(prefer=query.prefer) if query.prefer is not None else query.wish
    if given is None:
        return None, None, []
    if not isinstance(given, WishText):
        return given, "a wish", list(given.problems(values))
    try:
        wish = given.wish(values)
    except ConfigError as error:
        return None, given.options[0] if given.options else "a wish", error.problems
    if isinstance(wish, Ranked):
        return wish, given.options[0], []
    return None, given.options[0], [f"{given.options[0]}: names one candidate, and ranks nothing"]


def _presets(frame: "pd.DataFrame", within: float, values: Sequence[str]) -> "pd.DataFrame":
    rows = presets(frame, within, values)
    return rows.assign(preset=[f"{PRESET}{number}" for number in range(1, len(rows) + 1)])

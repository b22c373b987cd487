"""Questions to the Pareto table of a run: select, filter, order, rank by preference."""

from collections.abc import Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Literal

from mva_ray.errors import ConfigError
from mva_ray.records import CoefficientNames

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

Split = Literal["search", "held_out"]
ISOLATED = {
    "enable_external_access": "false",
    "python_enable_replacements": "false",
    "memory_limit": "512MB",
    "temp_directory": "",
    "lock_configuration": "true",
}
WHERE_SECONDS = 10.0
GRACE_SECONDS = 1.0
TOO_LONG = "give a condition on the columns of one row, without a query of its own"
LEFT_OUT = ("failed", "infeasible", "partial")
SCALARISATION = "augmented Chebyshev, normalised over the front"


@dataclass(frozen=True)
class Query:
    """What to show of a run.

    Args:
        split: `held_out` or `search`; if None, `held_out` where it has rows, else `search`.
        everything: all candidates, also failed, infeasible and partial ones; else the front.
        where: an SQL condition over the columns of `ParetoTable.frame`.
        sort: a column, descending after a leading `-`; the front comes highest first value first without it.
        prefer: preference weights such as `positive=0.7,brief=0.3`: rank the front by them, best first.
        limit: show the first so many rows.
    """

    split: Split | None = None
    everything: bool = False
    where: str | None = None
    sort: str | None = None
    prefer: str | None = None
    limit: int | None = None


@dataclass(frozen=True)
class Answer:
    """The rows a query selected, and what a reader must know about them.

    Args:
        rows: columns of `ParetoTable.frame`, plus `score` (higher is better, at most 0) with a preference.
        coefficients: the names of each value's coefficients, values in order.
        split: the prompt split of every row.
        everything: whether rows off the front were asked for.
        n_prompts: prompts an evaluation on this split has; 0 without any.
        metrics: the metric columns of the run.
        left_out: how many candidates of this split are failed, infeasible or partial, shown or not.
        preference: the weights `score` was computed with; None if none were given.
        best: the first candidate of a preference; None without one.
    """

    rows: "pd.DataFrame"
    coefficients: CoefficientNames
    split: str
    everything: bool
    n_prompts: int
    metrics: tuple[str, ...]
    left_out: dict[str, int]
    preference: dict[str, float] | None = None
    best: str | None = None

    @property
    def values(self) -> tuple[str, ...]:
        return tuple(self.coefficients)


def ask(run_dir: Path | str, query: Query) -> Answer:
    """Answer a query from the newest state of the table.

    Raises:
        ConfigError: no run there, or every problem of the query at once.
    """
    from mva_ray.run_dir.run_state import RunState
    from mva_ray.table.frame import front_rows, metric_columns, on_split, standing
    from mva_ray.table.pareto_table import ParetoTable

    state = RunState.load(run_dir)
    values = state.values
    frame = on_split(ParetoTable(run_dir).frame(query.split), query.split)
    split = query.split or _split_of(frame)
    preference = _checked(query, values, list(frame.columns))

    rows = frame if query.everything else front_rows(frame, values[0])
    if preference:
        rows = _ranked(rows, preference)
    if query.where:
        rows = where(rows, query.where)
    if query.sort:
        rows = rows.sort_values(query.sort.removeprefix("-"), ascending=not query.sort.startswith("-"), kind="stable")
    found = standing(frame)
    left_out = {name: count for name in LEFT_OUT if (count := int((found == name).sum()))}
    rows = rows.head(len(rows) if query.limit is None else query.limit).reset_index(drop=True)
    return Answer(
        rows=rows,
        coefficients=state.coefficients,
        split=split,
        everything=query.everything,
        n_prompts=int(frame["n_prompts"].max()) if len(frame) else 0,
        metrics=tuple(metric_columns(values, state.constraints)),
        left_out=left_out,
        preference=preference,
        best=str(rows["candidate"].iloc[0]) if preference and len(rows) else None,
    )


def where(frame: "pd.DataFrame", condition: str, seconds: float = WHERE_SECONDS) -> "pd.DataFrame":
    """The rows that an SQL condition (DuckDB's dialect) holds for, in their order.

    The condition is parsed as one expression by an in-memory database that sees nothing but the frame:
    no files, no network, no Python variables, no settings.

    Args:
        seconds: how long it may take.

    Raises:
        ConfigError: the condition takes longer, or is not valid: the message then names the columns that exist.
    """
    import duckdb

    database, kept = duckdb.connect(config=dict(ISOLATED)), Future[list[int]]()
    Thread(target=_filter, args=(database, frame, condition, kept), daemon=True).start()
    try:
        return frame.iloc[sorted(kept.result(seconds))]
    except TimeoutError:
        raise ConfigError("--where", [f"not done after {seconds:g} s on {len(frame):,} rows: {TOO_LONG}"]) from None
    except duckdb.Error as error:
        reason = str(error).splitlines()[0].rstrip("!")
        raise ConfigError("--where", [f"{reason}; {_choices(list(frame.columns))}"]) from None
    finally:
        if not kept.done():
            database.interrupt()
            wait([kept], GRACE_SECONDS)


def _filter(
    database: "duckdb.DuckDBPyConnection", frame: "pd.DataFrame", condition: str, kept: Future[list[int]]
) -> None:
    """In a thread of its own: DuckDB hears of no signal, and of an interruption only between two chunks of rows."""
    try:
        with database:
            numbered = database.from_df(frame.assign(__row=range(len(frame))))
            rows = numbered.filter(f"({condition}\n)").project("__row").fetchall()
    except BaseException as error:
        kept.set_exception(error)
    else:
        kept.set_result([row for (row,) in rows])


def parse_preference(text: str, values: Sequence[str]) -> dict[str, float]:
    """Read `positive=0.7,brief=0.3`; values that are left out weigh 0.

    Raises:
        ConfigError: every problem of the text at once.
    """
    weights: dict[str, float] = {}
    problems = []
    for item in text.split(","):
        name, equals, number = (part.strip() for part in item.partition("="))
        if not equals:
            problems.append(f"'{name}' must be VALUE=WEIGHT, such as {values[0]}=0.7")
        elif name not in values:
            problems.append(f"'{name}' is not a value of this run; choose from {', '.join(values)}")
        elif name in weights:
            problems.append(f"'{name}' is given twice")
        else:
            weights[name] = _weight(number)
            if not 0 <= weights[name] < float("inf"):
                problems.append(f"'{name}' must weigh a number of at least 0, got '{number}'")
    if not problems and not any(weights.values()):
        problems.append("at least one weight must be above 0")
    if problems:
        raise ConfigError("--prefer", problems)
    return {value: weights.get(value, 0.0) for value in values}


def _weight(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _checked(query: Query, values: Sequence[str], columns: list[str]) -> dict[str, float] | None:
    """The preference of a query whose options are all right and go together."""
    problems = []
    preference = None
    if query.prefer is not None:
        try:
            preference = parse_preference(query.prefer, values)
        except ConfigError as error:
            problems += [f"--prefer: {problem}" for problem in error.problems]
        problems += [
            f"{option}: cannot go with --prefer, which ranks the front: leave one of them out"
            for option, given in (("--all", query.everything), ("--sort", query.sort is not None))
            if given
        ]
    if query.sort is not None and query.sort.removeprefix("-") not in columns:
        problems.append(f"--sort: no column '{query.sort.removeprefix('-')}'; {_choices(columns)}")
    if problems:
        raise ConfigError("pareto", problems)
    return preference


def _ranked(front: "pd.DataFrame", preference: dict[str, float]) -> "pd.DataFrame":
    from mva_ray.maths.pareto import augmented_chebyshev

    rewards = front[list(preference)].to_numpy(dtype=float)
    scored = front.assign(score=augmented_chebyshev(rewards, list(preference.values())))
    return scored.sort_values("score", ascending=False, kind="stable")


def _split_of(frame: "pd.DataFrame") -> str:
    return str(frame["split"].iloc[0]) if len(frame) else "search"


def _choices(columns: Sequence[str]) -> str:
    return f"the columns are {', '.join(columns)}"

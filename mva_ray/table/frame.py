"""Evaluations as a flat pandas frame: one row an evaluation, columns a value and a coefficient."""

from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from mva_ray.constraints import Limits, violation
from mva_ray.maths.choice import knees, pseudo_weights
from mva_ray.maths.pareto import front_mask
from mva_ray.records import DECIMALS, METRICS, SPENT_COLUMNS, CoefficientNames
from mva_ray.table.maps import numbers, sizes, texts
from mva_ray.table.schema import EARLIER_COLUMNS, EARLIER_STATUS, from_arrow

OK, FAILED = "ok", "failed"
FLAGS = ("on_front", "knee", "feasible")


def columns(names: CoefficientNames, limits: Limits) -> list[str]:
    """The columns of `flat_frame`, in order."""
    per_value = [column for value in names for column in (*_weights(names[value]), value, f"{value}_se")]
    head = ["candidate", "split", "kind", "on_front", "knee", "feasible", "status"]
    tail = ["n_prompts", *metric_columns(names, limits), "violation", "seconds", *SPENT_COLUMNS, "failure", "error"]
    return [*head, *per_value, *_pseudo(names), *tail, "base_model", "seed", "created_at"]


def metric_columns(values: Collection[str], limits: Limits) -> list[str]:
    """The metrics of every run, and the rewards that are only constraints of this one."""
    return [*METRICS, *(name for name in limits if name not in {*METRICS, *values})]


def flat_frame(rows: pa.Table, names: CoefficientNames, limits: Limits) -> pd.DataFrame:
    """One row an evaluation, in the order given; columns a value of `names`, and a coefficient.

    Rewards, their standard errors and metrics are `Float64`, NA where the candidate failed or they were not measured.
    `feasible` is whether a row that did not fail keeps all limits; `on_front` is computed among the ok and feasible
    rows of each split, every value maximised, and `knee` and `pseudo_<value>` on each of these fronts.

    Args:
        rows: of `SCHEMA`, without generations.
    """
    values, weight_names = list(names), [name for of_value in names.values() for name in of_value]
    weights, measured = numbers(rows["coefficients"], weight_names), metric_columns(names, limits)
    numeric = {
        **_columns(_weights(weight_names), weights),
        **_columns(values, numbers(rows["reward_mean"], values)),
        **_columns([f"{value}_se" for value in values], numbers(rows["reward_se"], values)),
        **_columns(measured, _metrics(rows, measured)),
        **_columns(SPENT_COLUMNS, _spent(rows)),
        **dict.fromkeys(_pseudo(values), np.nan),
    }
    named = {"kind": _kinds(weights, len(values)), "violation": _violations(rows, limits)}
    shared = {name: rows[name].to_pandas() for name in _SHARED}
    shared["status"] = shared["status"].replace(EARLIER_STATUS)
    frame = pd.DataFrame(shared | named | numeric | dict.fromkeys(FLAGS, False), index=range(len(rows)))
    frame = frame[columns(names, limits)].astype(_types(names, limits))
    frame["feasible"] = frame["violation"].isna() & (frame["status"] != FAILED)
    for split in frame["split"].unique():
        _mark_front(frame, (frame["split"] == split) & (frame["status"] == OK) & frame["feasible"], values)
    return frame


def _columns(names: Sequence[str], table: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    return dict(zip(names, table.T, strict=True))


def _mark_front(frame: pd.DataFrame, among: pd.Series, values: list[str]) -> None:
    rewards = frame.loc[among, values].to_numpy(dtype=np.float64)
    front = front_mask(rewards)
    index = frame.index[among][front]
    frame.loc[index, "on_front"] = True
    frame.loc[index, "knee"] = knees(rewards[front])
    frame.loc[index, _pseudo(values)] = pseudo_weights(rewards[front])


def _kinds(weights: NDArray[np.float64], values: int) -> list[str]:
    return [kind(row) for row in weights.reshape(len(weights), values, weights.shape[1] // values).tolist()]


def _metrics(rows: pa.Table, names: Sequence[str]) -> NDArray[np.float64]:
    """[rows, names]; tables of earlier versions have two of them in columns of their own."""
    if "metrics" not in rows.column_names:
        found, old = np.full((len(rows), len(names)), np.nan), np.ones(len(rows), dtype=bool)
    else:
        found, old = numbers(rows["metrics"], names), sizes(rows["metrics"]) == 0
    for column, name in EARLIER_COLUMNS.items():
        if column in rows.column_names and name in names:
            found[old, names.index(name)] = rows[column].to_numpy()[old]
    return found


def _spent(rows: pa.Table) -> NDArray[np.float64]:
    """[rows, what was spent]; NaN in tables of earlier versions."""
    if "spent" not in rows.column_names:
        return np.full((len(rows), len(SPENT_COLUMNS)), np.nan)
    return numbers(rows["spent"], [name.removeprefix("spent_") for name in SPENT_COLUMNS])


def _violations(rows: pa.Table, limits: Limits) -> list[str | None]:
    """Which limits each row breaks, None where it keeps all or failed: only those that may break one are looked at."""
    doubtful = np.zeros(len(rows), dtype=bool)
    for name, limit in limits.items():
        of_value, of_metric = numbers(rows["reward_mean"], [name])[:, 0], _metrics(rows, [name])[:, 0]
        mean = np.where(np.isnan(of_metric), of_value, of_metric)
        low, high = (bound if bound is not None else sign * np.inf for bound, sign in ((limit.min, -1), (limit.max, 1)))
        doubtful |= ~((mean >= low) & (mean <= high))
        if limit.reward is not None:
            doubtful |= texts(rows["rewards"], name) != limit.reward
    found: list[str | None] = [None] * len(rows)
    suspects = np.flatnonzero(doubtful & (rows["status"].to_numpy() != FAILED))
    for index, row in zip(suspects.tolist(), from_arrow(rows.take(suspects)) if len(suspects) else [], strict=True):
        found[index] = violation(row, limits)
    return found


def on_split(frame: pd.DataFrame, split: str | None) -> pd.DataFrame:
    """The rows of one split; if None, those on `held_out` where there are any, else those on `search`."""
    chosen = split or ("held_out" if (frame["split"] == "held_out").any() else "search")
    return frame[frame["split"] == chosen]


def front_rows(frame: pd.DataFrame, first_value: str) -> pd.DataFrame:
    """The rows on the front, highest reward of `first_value` first."""
    front = frame[frame["on_front"]]
    return front.sort_values(first_value, ascending=False, ignore_index=True, kind="stable")


def standing(frame: pd.DataFrame) -> pd.Series:
    """What became of each candidate, in one word: front, ok, infeasible, partial or failed."""
    words = frame["status"].where((frame["status"] != OK) | frame["feasible"], "infeasible")
    return words.where(~frame["on_front"], "front")


def kind(weights: Sequence[Collection[float]]) -> str:
    """What a candidate is to its reader: base, single, ones, convex or search, by the coefficients of each value.

    One with different coefficients in the blocks of a value is none of the first four.
    """
    if any(len(set(of_value)) > 1 for of_value in weights):
        return "search"
    return _kind([next(iter(of_value)) for of_value in weights])


def _kind(weights: Sequence[float]) -> str:
    moved = [weight for weight in weights if weight != 0]
    if not moved:
        return "base"
    if moved == [1]:
        return "single"
    if moved == [1] * len(weights):
        return "ones"
    if min(weights) >= 0 and abs(sum(weights) - 1) <= _rounding(len(weights)):
        return "convex"
    return "search"


def _rounding(count: int) -> float:
    """How far a mix may be from a sum of 1, since each coefficient is rounded: three thirds are 0.9999."""
    return (count - 2) / 10.0**DECIMALS + 1e-9


_SHARED: Mapping[str, str] = {
    "candidate": "str",
    "split": "str",
    "status": "str",
    "n_prompts": "int64",
    "seconds": "float64",
    "failure": "str",
    "error": "str",
    "base_model": "str",
    "seed": "int64",
    "created_at": "datetime64[us, UTC]",
}


def _weights(names: Iterable[str]) -> list[str]:
    return [f"w_{name}" for name in names]


def _pseudo(values: Iterable[str]) -> list[str]:
    return [f"pseudo_{value}" for value in values]


def _types(names: CoefficientNames, limits: Limits) -> dict[str, str]:
    weights = {column: "float64" for of_value in names.values() for column in _weights(of_value)}
    means = [
        *metric_columns(names, limits),
        *SPENT_COLUMNS,
        *(name for value in names for name in (value, f"{value}_se")),
    ]
    means += _pseudo(names)
    derived = {"kind": "str", "violation": "str", **dict.fromkeys(FLAGS, "bool")}
    return {**_SHARED, **derived, **weights, **dict.fromkeys(means, "Float64")}

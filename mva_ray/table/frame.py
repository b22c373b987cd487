"""Evaluations as a flat pandas frame: one row an evaluation, columns a value and a coefficient."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from mva_ray.constraints import Limits, violation
from mva_ray.maths.pareto import front_mask
from mva_ray.records import DECIMALS, METRICS, CoefficientNames, Evaluation

OK, FAILED = "ok", "failed"


def columns(names: CoefficientNames, limits: Limits) -> list[str]:
    """The columns of `flat_frame`, in order."""
    per_value = [column for value in names for column in (*_weights(names[value]), value, f"{value}_se")]
    head = ["candidate", "split", "kind", "on_front", "feasible", "status"]
    tail = ["n_prompts", *metric_columns(names, limits), "violation", "seconds", "failure", "error"]
    return [*head, *per_value, *tail, "base_model", "seed", "created_at"]


def metric_columns(values: Collection[str], limits: Limits) -> list[str]:
    """The metrics of every run, and the rewards that are only constraints of this one."""
    return [*METRICS, *(name for name in limits if name not in {*METRICS, *values})]


def flat_frame(evaluations: Sequence[Evaluation], names: CoefficientNames, limits: Limits) -> pd.DataFrame:
    """One row an evaluation, in the order given; columns a value of `names`, and a coefficient.

    Rewards, their standard errors and metrics are `Float64`, NA where the candidate failed or they were not measured.
    `feasible` is whether a row that did not fail keeps all limits; `on_front` is computed among the ok and feasible
    rows of each split, every value maximised.
    """
    rows = [_row(evaluation, names, limits) for evaluation in evaluations]
    frame = pd.DataFrame(rows, columns=columns(names, limits)).astype(_types(names, limits))
    frame["feasible"] = frame["violation"].isna() & (frame["status"] != FAILED)
    frame["on_front"] = False
    for split in frame["split"].unique():
        of_front = (frame["split"] == split) & (frame["status"] == OK) & frame["feasible"]
        frame.loc[of_front, "on_front"] = front_mask(frame.loc[of_front, list(names)].to_numpy(dtype=np.float64))
    return frame


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


def _row(evaluation: Evaluation, names: CoefficientNames, limits: Limits) -> dict[str, Any]:
    weights = [[evaluation.coefficients[name] for name in of_value] for of_value in names.values()]
    row: dict[str, Any] = {name: getattr(evaluation, name) for name in _SHARED}
    row |= {name: evaluation.metrics.get(name) for name in metric_columns(names, limits)}
    row |= {"kind": kind(weights), "on_front": False, "feasible": False}
    row["violation"] = None if evaluation.status == FAILED else violation(evaluation, limits)
    for value, of_value in zip(names, weights, strict=True):
        row |= dict(zip(_weights(names[value]), of_value, strict=True))
        row[value] = evaluation.reward_mean.get(value)
        row[f"{value}_se"] = evaluation.reward_se.get(value)
    return row


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


def _types(names: CoefficientNames, limits: Limits) -> dict[str, str]:
    weights = {column: "float64" for of_value in names.values() for column in _weights(of_value)}
    means = [*metric_columns(names, limits), *(name for value in names for name in (value, f"{value}_se"))]
    derived = {"kind": "str", "violation": "str", "on_front": "bool", "feasible": "bool"}
    return {**_SHARED, **derived, **weights, **dict.fromkeys(means, "Float64")}

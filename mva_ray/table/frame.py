"""Evaluations as a flat pandas frame: one row an evaluation, columns a value."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from mva_ray.maths.pareto import front_mask
from mva_ray.records import Evaluation

OK = "ok"


def columns(values: Sequence[str]) -> list[str]:
    """The columns of `flat_frame`, in order."""
    per_value = [name for value in values for name in (f"w_{value}", value, f"{value}_se")]
    head = ["candidate", "split", "kind", "on_front", "status"]
    tail = ["n_prompts", "mean_tokens", "truncated_share", "seconds", "failure", "error"]
    return [*head, *per_value, *tail, "base_model", "seed", "created_at"]


def flat_frame(evaluations: Sequence[Evaluation], values: Sequence[str]) -> pd.DataFrame:
    """One row an evaluation, in the order given.

    Rewards and their standard errors are `Float64`, NA where the candidate failed. `on_front` is computed
    among the ok rows of each split, every value maximised.
    """
    frame = pd.DataFrame([_row(evaluation, values) for evaluation in evaluations], columns=columns(values))
    frame = frame.astype(_types(values))
    frame["on_front"] = False
    for split in frame["split"].unique():
        ok = (frame["split"] == split) & (frame["status"] == OK)
        frame.loc[ok, "on_front"] = front_mask(frame.loc[ok, list(values)].to_numpy(dtype=np.float64))
    return frame


def on_split(frame: pd.DataFrame, split: str | None) -> pd.DataFrame:
    """The rows of one split; if None, those on `held_out` where there are any, else those on `search`."""
    chosen = split or ("held_out" if (frame["split"] == "held_out").any() else "search")
    return frame[frame["split"] == chosen]


def front_rows(frame: pd.DataFrame, first_value: str) -> pd.DataFrame:
    """The rows on the front, highest reward of `first_value` first."""
    front = frame[frame["on_front"]]
    return front.sort_values(first_value, ascending=False, ignore_index=True, kind="stable")


def kind(weights: Sequence[float]) -> str:
    """What a candidate is to its reader: base, single, ones, convex or search."""
    moved = [weight for weight in weights if weight != 0]
    if not moved:
        return "base"
    if moved == [1]:
        return "single"
    if moved == [1] * len(weights):
        return "ones"
    if min(weights) >= 0 and abs(sum(weights) - 1) <= 1e-9:
        return "convex"
    return "search"


def _row(evaluation: Evaluation, values: Sequence[str]) -> dict[str, Any]:
    weights = [evaluation.coefficients[value] for value in values]
    row: dict[str, Any] = {name: getattr(evaluation, name) for name in _SHARED}
    row |= {"kind": kind(weights), "on_front": False}
    for value, weight in zip(values, weights, strict=True):
        row[f"w_{value}"] = weight
        row[value] = evaluation.reward_mean.get(value)
        row[f"{value}_se"] = evaluation.reward_se.get(value)
    return row


_SHARED: Mapping[str, str] = {
    "candidate": "str",
    "split": "str",
    "status": "str",
    "n_prompts": "int64",
    "mean_tokens": "Float64",
    "truncated_share": "Float64",
    "seconds": "float64",
    "failure": "str",
    "error": "str",
    "base_model": "str",
    "seed": "int64",
    "created_at": "datetime64[us, UTC]",
}


def _types(values: Sequence[str]) -> dict[str, str]:
    weights = {f"w_{value}": "float64" for value in values}
    rewards = {name: "Float64" for value in values for name in (value, f"{value}_se")}
    return {**_SHARED, "kind": "str", "on_front": "bool", **weights, **rewards}

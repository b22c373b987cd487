"""The schema of the Delta table, and the way between its rows and `Evaluation`. Documented in docs/table.md."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from datetime import UTC
from typing import Any

import pyarrow as pa

from mva_ray.records import Evaluation, Generation, ScoredGeneration, Spent

_NUMBERS = pa.map_(pa.string(), pa.float64())
_NAMES = pa.map_(pa.string(), pa.string())
_GENERATION = pa.struct(
    [
        pa.field("prompt", pa.string()),
        pa.field("completion", pa.string()),
        pa.field("tokens", pa.int32()),
        pa.field("truncated", pa.bool_()),
        pa.field("rewards", _NUMBERS),
        pa.field("metrics", _NUMBERS),
        pa.field("ids", pa.list_(pa.int32())),
    ]
)
SCHEMA = pa.schema(
    [
        pa.field("candidate", pa.string(), nullable=False),
        pa.field("context", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("prompts_hash", pa.string(), nullable=False),
        pa.field("coefficients", _NUMBERS, nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("reward_mean", _NUMBERS, nullable=False),
        pa.field("reward_se", _NUMBERS, nullable=False),
        pa.field("n_prompts", pa.int32(), nullable=False),
        pa.field("metrics", _NUMBERS),
        pa.field("base_model", pa.string(), nullable=False),
        pa.field("generator", pa.string()),
        pa.field("adapters", _NAMES, nullable=False),
        pa.field("rewards", _NAMES, nullable=False),
        pa.field("seed", pa.int64(), nullable=False),
        pa.field("seconds", pa.float64(), nullable=False),
        pa.field("created_at", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("failure", pa.string()),
        pa.field("error", pa.string()),
        pa.field("spent", _NUMBERS),
        pa.field("generations", pa.list_(_GENERATION), nullable=False),
    ]
)

EARLIER_COLUMNS = {"mean_tokens": "tokens", "truncated_share": "truncated"}
"""Columns of earlier versions, read as the metrics they have become. Their tables lack `metrics` and
`generator`; those before ids were kept lack `ids`, within `generations`."""

EARLIER_STATUS = {"stopped": "partial"}
"""A word of earlier versions, of candidates that were given up."""


def to_arrow(evaluations: Sequence[Evaluation]) -> pa.Table:
    """One row an evaluation, in `SCHEMA`.

    Raises:
        ValueError: a NaN or infinite number, or a `created_at` without time zone.
    """
    for evaluation in evaluations:
        _check(evaluation)
    return pa.Table.from_pylist([_row(evaluation) for evaluation in evaluations], schema=SCHEMA)


def from_arrow(table: pa.Table) -> list[Evaluation]:
    """The evaluations that `to_arrow` was given; without generations where that column was not read."""
    known = [name for name in table.column_names if name in {*SCHEMA.names, *EARLIER_COLUMNS}]
    return [_evaluation(row) for row in table.select(known).to_pylist(maps_as_pydicts="strict")]


def _row(evaluation: Evaluation) -> dict[str, Any]:
    row = {field.name: getattr(evaluation, field.name) for field in fields(evaluation)}
    row["spent"] = asdict(evaluation.spent)
    row["generations"] = [
        scored.generation.content() | {"rewards": scored.rewards, "metrics": scored.metrics}
        for scored in evaluation.generations
    ]
    return row


def _evaluation(row: dict[str, Any]) -> Evaluation:
    row["status"] = EARLIER_STATUS.get(row["status"], row["status"])
    earlier = {name: row.pop(column, None) for column, name in EARLIER_COLUMNS.items()}
    row["metrics"] = row.get("metrics") or {name: mean for name, mean in earlier.items() if mean is not None}
    row["generator"] = row.get("generator") or ""
    row["spent"] = Spent(**(row.get("spent") or {}))
    created_at = row.pop("created_at").replace(tzinfo=UTC)
    generations = tuple(map(_scored, row.pop("generations", ())))
    return Evaluation(**row, created_at=created_at, generations=generations)


def _scored(row: dict[str, Any]) -> ScoredGeneration:
    rewards, metrics, ids = row.pop("rewards"), row.pop("metrics", None) or {}, row.pop("ids", None)
    return ScoredGeneration(Generation(**row, ids=None if ids is None else tuple(ids)), rewards, metrics)


def _check(evaluation: Evaluation) -> None:
    where = f"evaluation of {evaluation.candidate} on {evaluation.split}"
    wrong = [name for name, number in _numbers(evaluation) if not math.isfinite(number)]
    if wrong:
        raise ValueError(f"{where}: not finite: {', '.join(dict.fromkeys(wrong))}")
    if evaluation.created_at.tzinfo is None:
        raise ValueError(f"{where}: created_at has no time zone")


def _numbers(evaluation: Evaluation) -> Iterator[tuple[str, float]]:
    yield "seconds", evaluation.seconds
    yield from _labelled("spent", asdict(evaluation.spent))
    for name in ("coefficients", "reward_mean", "reward_se", "metrics"):
        yield from _labelled(name, getattr(evaluation, name))
    for scored in evaluation.generations:
        yield from _labelled("generations.rewards", scored.rewards)
        yield from _labelled("generations.metrics", scored.metrics)


def _labelled(name: str, numbers: Mapping[str, float]) -> Iterator[tuple[str, float]]:
    return ((f"{name}[{key}]", number) for key, number in numbers.items())

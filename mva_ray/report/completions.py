"""Which completions to show side by side, so that a person can read what the trade-off means."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import pstdev
from typing import Any

from mva_ray.records import CoefficientNames, ScoredGeneration
from mva_ray.report.points import Points, candidate_label, has_part

Row = dict[str, Any]
GenerationsOf = Callable[[str, str], list[ScoredGeneration]]

N_PROMPTS = 6
N_FRONT = 3


@dataclass(frozen=True)
class Comparison:
    """Completions of some prompts (rows) by some candidates (columns: a label and the candidate's row)."""

    columns: list[tuple[str, Row]]
    rows: list[tuple[str, list[ScoredGeneration]]]


def compare(points: Points, names: CoefficientNames, generations_of: GenerationsOf) -> Comparison | None:
    """The base model, each adapter alone and candidates spread along the front, on the most telling prompts.

    Depends on the evaluations alone, not on the order they came in. None where nothing was scored or no texts
    were kept.
    """
    if points.main.empty:
        return None
    answered = [
        (row, {scored.generation.prompt: scored for scored in generations_of(row["candidate"], points.split)})
        for row in pick_candidates(points, names)
    ]
    answered = [(row, by_prompt) for row, by_prompt in answered if by_prompt]
    if not answered:
        return None
    shared = sorted(set.intersection(*(set(by_prompt) for _, by_prompt in answered)))
    answers = {prompt: [by_prompt[prompt] for _, by_prompt in answered] for prompt in shared}
    columns = [(candidate_label(row, names), row) for row, _ in answered]
    return Comparison(columns, [(prompt, answers[prompt]) for prompt in pick_prompts(answers, list(names))])


def pick_candidates(points: Points, names: CoefficientNames) -> list[Row]:
    """Base model, single adapters in the order of the values, then `N_FRONT` of the front, lowest first value first.

    Each pick from the front is the candidate whose rewards, on the scale of each value's range, are farthest
    from everything picked before.
    """
    singles = _records(points.of_kind("single"))
    picked = _records(points.of_kind("base"))
    picked += [row for own in names.values() for row in singles if has_part(row, own)]
    ranges = {value: float(points.main[value].max() - points.main[value].min()) or 1.0 for value in names}
    known = {row["candidate"] for row in picked}
    front = [row for row in _records(points.front) if row["candidate"] not in known]
    spread: list[Row] = []
    while front and len(spread) < N_FRONT:
        farthest = max(front, key=lambda row: _distance(row, picked + spread, ranges))
        spread.append(farthest)
        front.remove(farthest)
    return picked + sorted(spread, key=lambda row: row[next(iter(names))])


def pick_prompts(answers: Mapping[str, Sequence[ScoredGeneration]], values: Sequence[str]) -> list[str]:
    """The prompts whose completions differ most: each reward's range in its standard deviations, summed over values."""
    every = [scored for scored_ones in answers.values() for scored in scored_ones]
    scales = {value: pstdev(scored.rewards[value] for scored in every) or 1.0 for value in values}

    def difference(prompt: str) -> float:
        rewards = {value: [scored.rewards[value] for scored in answers[prompt]] for value in values}
        return sum((max(rewards[value]) - min(rewards[value])) / scales[value] for value in values)

    return sorted(answers, key=lambda prompt: (-difference(prompt), prompt))[:N_PROMPTS]


def _records(rows: Any) -> list[Row]:
    return [dict(row) for row in rows.sort_values("candidate").to_dict("records")]


def _distance(row: Row, others: Sequence[Row], ranges: Mapping[str, float]) -> float:
    """To the nearest of the others; equal for all rows where there is none yet."""
    return min(
        (
            math.dist(*([entry[value] / ranges[value] for value in ranges] for entry in (row, other)))
            for other in others
        ),
        default=0.0,
    )

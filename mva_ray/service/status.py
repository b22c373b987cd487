"""How far a run is, from what lies in its directory alone: no Ray, no lock, no model, and no text is read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mva_ray.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

    from mva_ray.records import Evaluation
    from mva_ray.run_dir.layout import RunDirectory
    from mva_ray.run_dir.spending import Spending

LAST = 16
"""Evaluations whose pace tells the time that is left."""


@dataclass(frozen=True)
class Failure:
    """Candidates that failed alike: how many, the kind of failure, and what the newest one says."""

    count: int
    kind: str
    error: str


@dataclass(frozen=True)
class Status:
    """A run as far as it has come.

    Args:
        stage: what comes next or is under way; `finished` where nothing does.
        adapters: value -> whether its adapter is there.
        searched: candidates evaluated on the search prompts, or on some of them, without those that failed.
        budget: candidates that the search is to evaluate; with a budget in answers, those that answer few prompts.
        searched_answers: to search prompts.
        answer_budget: answers to search prompts that the search may ask for; None where all candidates answer all.
        front: candidates on the front of the search prompts.
        held_out: candidates scored on the held-out prompts.
        answers: completions in the table, on both splits.
        tokens: of these completions.
        tokens_a_second: at the pace of the last evaluations; None before there are two.
        hypervolume: of the front of the search prompts, as a share of the box between the worst and the best mean
            reward of every value so far; higher is better. None where a value has one reward alone.
        failures: of both splits, the most frequent first.
        spent: by all starts of the run, with prices where the config has them.
        limits: of the config's `budget`, those there are.
        ended_by: why the search ended before all its candidates were evaluated.
        cautions: what of the numbers may mislead, one line each.
        last: when the newest row was written; None without rows.
        left: of this stage, at the pace of the last evaluations; None where that is not known.
    """

    name: str
    stage: str
    adapters: Mapping[str, bool]
    searched: int
    budget: int
    searched_answers: int
    answer_budget: int | None
    front: int
    held_out: int
    answers: int
    tokens: int
    tokens_a_second: float | None
    hypervolume: float | None
    failures: Sequence[Failure]
    spent: "Spending"
    limits: Mapping[str, float]
    ended_by: str | None
    cautions: Sequence[str]
    last: datetime | None
    left: timedelta | None


def status(run: Path | str) -> Status:
    """The status of a run, whether or not a job is at work on it.

    Raises:
        ConfigError: no run there.
        DamagedFile: a file of the run cannot be read.
    """
    from mva_ray.run_dir.layout import RunDirectory
    from mva_ray.run_dir.spending import ended_by, read_phases, spending
    from mva_ray.table.snapshot import snapshot

    directory = RunDirectory(run)
    plan = directory.plan.read_object()
    if plan is None:
        raise ConfigError(str(run), ["not a run directory: plan.json is missing; give what mva_ray.explore printed"])
    adapters = _adapters(directory, plan)
    begun = all(adapters.values()) and directory.state.read() is not None
    kept = snapshot(run) if begun else None
    rows = kept.evaluations() if kept else []
    searched, held_out = ([row for row in rows if row.split == split] for split in ("search", "held_out"))
    frame = kept.frame[kept.frame["split"] == "search"] if kept and searched else None
    front = set(frame.loc[frame["on_front"], "candidate"]) if frame is not None else set()
    unscored = front - {row.candidate for row in held_out}
    budget, done = int(plan["settings"]["search"]["candidates"]), _succeeded(searched)
    stage = _stage(directory, plan, adapters, finished=bool(front) and not unscored)
    at_work, missing = (held_out, len(unscored)) if stage == "held-out front" else (searched, max(0, budget - done))
    pace = _seconds_each(at_work)
    return Status(
        name=str(plan["settings"]["name"]),
        stage=stage,
        adapters=adapters,
        searched=done,
        budget=budget,
        searched_answers=sum(row.n_prompts for row in searched),
        answer_budget=plan["settings"]["search"].get("answers"),
        front=len(front),
        held_out=_succeeded(held_out),
        answers=sum(row.n_prompts for row in rows),
        tokens=sum(map(_tokens, rows)),
        tokens_a_second=sum(map(_tokens, at_work[-LAST:])) / len(at_work[-LAST:]) / pace if pace else None,
        hypervolume=_hypervolume(frame, list(adapters)) if frame is not None else None,
        failures=_failures(rows),
        spent=spending(kept.paid if kept else [], read_phases(directory.spent), plan["settings"]),
        limits={name: limit for name, limit in (plan["settings"].get("budget") or {}).items() if limit is not None},
        ended_by=ended_by(directory.search),
        cautions=kept.cautions if kept else [],
        last=max((row.created_at for row in rows), default=None),
        left=timedelta(seconds=missing * pace) if pace and missing > 0 and stage != "finished" else None,
    )


def _adapters(directory: "RunDirectory", plan: Mapping[str, Any]) -> dict[str, bool]:
    keys = {value["name"]: plan["stages"][f"adapter '{value['name']}'"] for value in plan["settings"]["values"]}
    return {value: directory.adapter(value, key).exists() for value, key in keys.items()}


def _stage(directory: "RunDirectory", plan: Mapping[str, Any], adapters: Mapping[str, bool], finished: bool) -> str:
    pairs = directory.store.names("pairs")
    of_samples = [value["name"] for value in plan["settings"]["values"] if not (value["pairs"] or value["adapter"])]
    wanted = [f"{value}-{plan['stages'][f'pairs {value!r}']}.jsonl" for value in of_samples if not adapters[value]]
    if any(name not in pairs for name in wanted):
        return "preference pairs"
    if missing := [value for value, there in adapters.items() if not there]:
        return f"adapter '{missing[0]}'"
    if directory.search.read() is None:
        return "search"
    return "finished" if finished else "held-out front"


def _succeeded(rows: Sequence["Evaluation"]) -> int:
    return sum(row.status != "failed" for row in rows)


def _tokens(row: "Evaluation") -> int:
    return round(row.metrics.get("tokens", 0) * row.n_prompts)


def _seconds_each(rows: Sequence["Evaluation"]) -> float | None:
    """Seconds between the last evaluations; None where all came at once."""
    times = sorted(row.created_at for row in rows)[-LAST:]
    span = (times[-1] - times[0]).total_seconds() if times else 0.0
    return span / (len(times) - 1) if span > 0 else None


def _hypervolume(frame: "pd.DataFrame", values: list[str]) -> float | None:
    from mva_ray.maths.pareto import hypervolume

    rewards = frame.loc[frame["status"] == "ok", values].to_numpy(dtype=float)
    front = frame.loc[frame["on_front"], values].to_numpy(dtype=float)
    if not len(front):
        return None
    worst, best = rewards.min(axis=0), rewards.max(axis=0)
    if not (best > worst).all():
        return None
    return float(hypervolume((front - worst) / (best - worst), [0.0] * len(values)))


def _failures(rows: Sequence["Evaluation"]) -> list[Failure]:
    newest: dict[str, list[Evaluation]] = {}
    for row in sorted(rows, key=lambda row: row.created_at):
        if row.status == "failed":
            newest.setdefault(row.failure or "unknown", []).append(row)
    found = [Failure(len(alike), kind, alike[-1].error or "") for kind, alike in newest.items()]
    return sorted(found, key=lambda failure: -failure.count)

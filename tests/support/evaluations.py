"""Makes Pareto tables for the tests."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import fmean, stdev

from mva_ray.records import Evaluation, Generation, ScoredGeneration, coefficient_names
from mva_ray.run_dir.run_state import RunState
from mva_ray.table import ParetoTable

START = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
VALUES = ("positive", "brief", "plain", "thorough", "polite")


def ok(
    candidate: str,
    weights: Mapping[str, float],
    rewards: Mapping[str, float],
    split: str = "held_out",
    context: str = "now",
) -> Evaluation:
    """An evaluation that succeeded, with the texts of two prompts."""
    return Evaluation(
        candidate=candidate,
        context=context,
        split=split,
        prompts_hash=f"{split}-prompts",
        coefficients=dict(weights),
        status="ok",
        reward_mean=dict(rewards),
        reward_se=dict.fromkeys(rewards, 0.031),
        n_prompts=2,
        metrics={"tokens": 7.5, "truncated": 0.5, "repetition": 0.0, "distinct": 0.5},
        base_model="org/tiny",
        generator="tiny 40",
        adapters=dict.fromkeys(weights, "ab" * 32),
        rewards={value: f"package.module:{value}@1.0" for value in weights},
        seed=3,
        seconds=1.25,
        created_at=START,
        generations=(
            ScoredGeneration(
                Generation("Hi?", 'A "quoted",\nline — é 🙂', 5, False, (3, 151_642, 9, 0, 7, 1)), dict(rewards)
            ),
            ScoredGeneration(Generation("Why?", "", 10, True), dict(rewards), {"base_nll": 1.5}),
        ),
    )


def answered(
    candidate: str,
    weights: Mapping[str, float],
    rewards: Sequence[Mapping[str, float]],
    texts: Sequence[str] | None = None,
    split: str = "held_out",
) -> Evaluation:
    """An evaluation that succeeded, with a reward of every value for each of its prompts."""
    n, values = len(rewards), list(rewards[0])
    numbers = {value: [of_prompt[value] for of_prompt in rewards] for value in values}
    said = texts or [f"{candidate} says {index}" for index in range(n)]
    return replace(
        ok(candidate, weights, {value: fmean(each) for value, each in numbers.items()}, split),
        reward_se={value: stdev(each) / n**0.5 if n > 1 else 0.0 for value, each in numbers.items()},
        n_prompts=n,
        generations=tuple(
            ScoredGeneration(Generation(f"prompt {index}", text, 5, False), dict(of_prompt))
            for index, (text, of_prompt) in enumerate(zip(said, rewards, strict=True))
        ),
    )


def failed(candidate: str, weights: Mapping[str, float], split: str = "held_out") -> Evaluation:
    """An evaluation that failed with its reason."""
    return replace(
        ok(candidate, weights, {}, split),
        status="failed",
        metrics={},
        failure="reward_raised",
        error="ValueError: [bold]no such word",
        generations=(),
    )


def in_blocks(evaluations: Iterable[Evaluation], blocks: int) -> list[Evaluation]:
    """The same candidates with a coefficient for each value and block of layers, all of a value alike."""
    found = []
    for row in evaluations:
        weights = {
            name: row.coefficients[value]
            for value, names in coefficient_names(list(row.coefficients), blocks).items()
            for name in names
        }
        found.append(replace(row, coefficients=weights, adapters=dict.fromkeys(weights, "ab" * 32)))
    return found


def make_run(
    run_dir: Path | str, evaluations: Iterable[Evaluation], values: Sequence[str], blocks: int = 1
) -> ParetoTable:
    """A run whose rows are one millisecond apart, in the order given."""
    prompts = {split: f"{split}-prompts" for split in ("search", "held_out")}
    RunState("demo", tuple(values), "now", prompts, blocks=blocks).save(run_dir)
    table = ParetoTable(run_dir)
    table.append([replace(row, created_at=START + timedelta(milliseconds=i)) for i, row in enumerate(evaluations)])
    return table


def trade_off(n_values: int, split: str = "held_out") -> list[Evaluation]:
    """Base, each adapter alone, all ones, a convex and a search candidate, a dominated and a failed one."""
    values = VALUES[:n_values]
    designs: dict[str, list[float]] = {"base": [0.0] * n_values, "ones": [1.0] * n_values}
    designs |= {f"only-{value}": [float(value == other) for other in values] for value in values}
    designs |= {"half": [0.5, 0.5] + [0.0] * (n_values - 2), "beyond": [1.4, -0.3] + [0.1] * (n_values - 2)}
    rows = [
        ok(name, dict(zip(values, weights, strict=True)), _rewards(values, weights), split)
        for name, weights in designs.items()
    ]
    zeros = dict.fromkeys(values, 0.25)
    return [*rows, ok("poor", zeros, dict.fromkeys(values, -9.0), split), failed("broken", zeros, split)]


def _rewards(values: Sequence[str], weights: Sequence[float]) -> dict[str, float]:
    return {value: weight - 0.4 * sum(weights) for value, weight in zip(values, weights, strict=True)}

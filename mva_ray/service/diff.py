"""Two candidates of a run against each other: a paired test a value, and where their answers differ most."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mva_ray.errors import ConfigError
from mva_ray.service.estimate import Estimate, estimated
from mva_ray.service.query import Split

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mva_ray.records import ScoredGeneration
    from mva_ray.table.snapshot import Snapshot


@dataclass(frozen=True)
class ValueDifference:
    """Mean rewards of both, the first minus the second, and the p of a paired t-test (two-sided)."""

    first: float
    second: float
    difference: Estimate
    p: float


@dataclass(frozen=True)
class PromptDifference:
    """What both answered to one prompt, and each answer's reward by value.

    Args:
        distance: the differences of the rewards in their standard deviations over all prompts, summed over the values.
    """

    prompt: str
    first: str
    second: str
    first_rewards: Mapping[str, float]
    second_rewards: Mapping[str, float]
    distance: float


@dataclass(frozen=True)
class Diff:
    """Two candidates on the prompts that both answered.

    Args:
        same: how many prompts they answered alike, word for word.
        prompts: where they differ most, the largest difference first; never those that they answered alike.
    """

    run: str
    split: str
    first: str
    second: str
    n_prompts: int
    same: int
    values: Mapping[str, ValueDifference]
    prompts: tuple[PromptDifference, ...]


def diff(run: Path | str, first: str, second: str, split: Split | None = None, prompts: int = 5) -> Diff:
    """Compare two candidates by name, or by the beginning of their names.

    Args:
        split: if None, `held_out` where both answered these prompts, else `search`.
        prompts: show so many.

    Raises:
        ConfigError: no run there, or what is wrong with each of the names.
    """
    from mva_ray.table.snapshot import snapshot

    found = snapshot(run)
    names = _names(found, (first, second), split)
    on = split or _shared_split(found, names)
    answers = [found.generations(name, on) for name in names]
    shared = min(map(len, answers))
    return compared(found.place, on, names, [of_one[:shared] for of_one in answers], found.state.values, prompts)


def compared(
    run: str,
    split: str,
    names: Sequence[str],
    answers: Sequence[Sequence["ScoredGeneration"]],
    values: Sequence[str],
    prompts: int,
) -> Diff:
    """Compare two lists of answers to the same prompts in the same order."""
    import numpy as np

    from mva_ray.maths.paired import differences

    rewards = np.array([[[scored.rewards[value] for value in values] for scored in of_one] for of_one in answers])
    found, means = differences(rewards[0], rewards[1]), rewards.mean(axis=1)
    by_value = {
        value: ValueDifference(
            float(means[0, column]),
            float(means[1, column]),
            estimated(found.mean[column], found.low[column], found.high[column]),
            float(found.p[column]),
        )
        for column, value in enumerate(values)
    }
    pairs, distance = list(zip(*answers, strict=True)), _distance(rewards[0] - rewards[1])
    differ = [row for row, (a, b) in enumerate(pairs) if a.generation.completion != b.generation.completion]
    shown = sorted(differ, key=lambda row: (-distance[row], row))[:prompts]
    return Diff(
        run=run,
        split=split,
        first=names[0],
        second=names[1],
        n_prompts=len(pairs),
        same=len(pairs) - len(differ),
        values=by_value,
        prompts=tuple(_prompt(pairs[row][0], pairs[row][1], float(distance[row])) for row in shown),
    )


def _prompt(first: "ScoredGeneration", second: "ScoredGeneration", distance: float) -> PromptDifference:
    texts = first.generation.prompt, first.generation.completion, second.generation.completion
    return PromptDifference(*texts, dict(first.rewards), dict(second.rewards), distance)


def _distance(gaps: "NDArray[np.float64]") -> "NDArray[np.float64]":
    """[prompts]: how far apart the rewards are, each value in its standard deviation over the prompts."""
    import numpy as np

    spread = gaps.std(axis=0)
    distance: NDArray[np.float64] = (np.abs(gaps) / np.where(spread > 0, spread, 1.0)).sum(axis=1)
    return distance


def _names(found: "Snapshot", given: Sequence[str], split: str | None) -> list[str]:
    names, problems = [], []
    for name in given:
        try:
            names.append(found.evaluation(name, split).candidate)
        except ConfigError as error:
            problems += [f"{error.source}: {problem}" for problem in error.problems]
    if not problems and names[0] == names[1]:
        problems.append(f"both are {names[0]}: give two candidates")
    if problems:
        raise ConfigError("diff", problems)
    return names


def _shared_split(found: "Snapshot", names: Sequence[str]) -> str:
    frame = found.frame[found.frame["status"] != "failed"]
    splits = [set(frame.loc[frame["candidate"] == name, "split"]) for name in names]
    both = splits[0] & splits[1]
    if not both:
        raise ConfigError("diff", [f"{names[0]} and {names[1]} have no prompts in common"])
    return "held_out" if "held_out" in both else "search"

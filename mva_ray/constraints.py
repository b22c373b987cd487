"""Limits on a candidate's metrics and rewards. Whether a candidate is feasible is derived from them, never stored."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mva_ray.records import Evaluation


@dataclass(frozen=True)
class Limit:
    """The allowed range of one mean over the prompts, in its own unit; None leaves a side open.

    `reward` is the name and version of the reward that measures it, where that is neither a metric nor a value's.
    """

    min: float | None = None
    max: float | None = None
    reward: str | None = None


Limits = Mapping[str, Limit]
"""Limits by what they are on: a metric, a value (its mean reward) or a reward that is only a constraint."""


def measured(evaluation: Evaluation, name: str, limit: Limit) -> float | None:
    """The mean that a limit is on; None where the row does not have it, or by another version of the reward."""
    if limit.reward is not None and evaluation.rewards.get(name) != limit.reward:
        return None
    return (evaluation.reward_mean | evaluation.metrics).get(name)


def constraint_values(evaluation: Evaluation, limits: Limits) -> tuple[float, ...]:
    """Numbers g of a row that has a mean for every limit: satisfied where g <= 0, one for each bound, in order.

    g = (mean - max) / |max| and (min - mean) / |min|, so that violations of metrics in different units add up; a bound
    of 0 has no scale and leaves the difference as it is (Deb 2000, "An efficient constraint handling method for genetic
    algorithms", normalises alike).

    Raises:
        ValueError: the row lacks a mean: it failed, or was made before that limit was set.
    """
    values = []
    for name, limit in limits.items():
        mean = measured(evaluation, name, limit)
        if mean is None:
            raise ValueError(f"the evaluation of {evaluation.candidate} has no {name}")
        values += [excess / (abs(bound) or 1.0) for bound, excess in _excesses(mean, limit)]
    return tuple(values)


def is_measured(evaluation: Evaluation, limits: Limits) -> bool:
    """Whether a row has a mean for every limit."""
    return all(measured(evaluation, name, limit) is not None for name, limit in limits.items())


def limit_text(name: str, limit: Limit) -> str:
    """The limit as people write it: `base_nll ≤ 3.5`, `20 ≤ tokens ≤ 40`, `fluency ≥ 0.1`."""
    if limit.min is not None and limit.max is not None:
        return f"{limit.min:g} ≤ {name} ≤ {limit.max:g}"
    return f"{name} ≤ {limit.max:g}" if limit.max is not None else f"{name} ≥ {limit.min:g}"


def violation(evaluation: Evaluation, limits: Limits) -> str | None:
    """Which limits a row breaks and by how much, in one line; None where it keeps all of them."""
    return "; ".join(_broken(evaluation, limits)) or None


def _broken(evaluation: Evaluation, limits: Limits) -> Iterator[str]:
    for name, limit in limits.items():
        mean = measured(evaluation, name, limit)
        if mean is None:
            yield f"{name} is not measured"
            continue
        for bound, excess in _excesses(mean, limit):
            if excess > 0:
                side = "above" if bound == limit.max else "below"
                yield f"{name} {mean:.4g} is {excess:.4g} {side} {bound:g}"


def _excesses(mean: float, limit: Limit) -> Iterator[tuple[float, float]]:
    """Each bound with how far the mean is beyond it."""
    if limit.min is not None:
        yield limit.min, limit.min - mean
    if limit.max is not None:
        yield limit.max, mean - limit.max

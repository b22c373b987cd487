"""The config section `constraints`: what a candidate has to keep to be feasible."""

import re
from collections.abc import Iterator
from typing import Annotated, Self

from pydantic import Field, model_validator

from mva_ray.config.document import Document, Problem
from mva_ray.config.fields import A_NAME, NAME, Finite, Section, check_value_name
from mva_ray.config.imports import did_you_mean
from mva_ray.config.reward import A_REWARD, RewardSettings
from mva_ray.records import ENGINE_METRICS, METRICS

Bound = Annotated[Finite, Field(description="a number")]


class Constraint(Section):
    """The range that a mean over the prompts has to stay in, of the metric, the value or the reward that it names.

    `reward` brings a reward that is no value: it is scored and recorded, and the search does not maximise it.
    """

    min: Bound | None = None
    max: Bound | None = None
    reward: Annotated[RewardSettings, Field(description=A_REWARD)] | None = None

    @model_validator(mode="after")
    def _a_range(self) -> Self:
        if self.min is None and self.max is None:
            raise ValueError("give 'min', 'max' or both")
        if self.min is not None and self.max is not None and self.min >= self.max:
            raise ValueError(f"min ({self.min:g}) must be below max ({self.max:g})")
        return self


def constraint_problems(document: Document) -> Iterator[Problem]:
    """Names that nothing of the run has, rewards under a name that is taken, and what the engine does not measure."""
    written, listed = document.get("constraints"), document.get("values")
    count = len(listed) if isinstance(listed, list) else 0
    values = [str(document.get("values", index, "name")) for index in range(count)]
    for name in filter(lambda key: isinstance(key, str), written if isinstance(written, dict) else []):
        brings_reward = document.get("constraints", name, "reward") is not None
        if message := (_taken if brings_reward else _unknown)(name, values):
            yield document.problem(("constraints", name), message)
        elif name in ENGINE_METRICS and document.get("engine", "openai") is not None:
            yield document.problem(("constraints", name), "only our own engine measures it: leave 'engine.openai' out")


def _unknown(name: str, values: list[str]) -> str | None:
    known = [*METRICS, *values]
    if name in known:
        return None
    hint = did_you_mean(name, known) or (
        f"; a constraint is on a metric ({', '.join(METRICS)}), a value ({', '.join(values)}) or brings a reward"
    )
    return f"there is no metric and no value {name!r}{hint}"


def _taken(name: str, values: list[str]) -> str | None:
    if name in METRICS or name in values:
        kind = "metric" if name in METRICS else "value"
        return f"{name!r} is a {kind} of the run already: leave 'reward' out, or choose another name"
    if not re.fullmatch(NAME, name):
        return f"expected {A_NAME}, got {name!r}"
    try:
        check_value_name(name)
    except ValueError as error:
        return str(error)
    return None

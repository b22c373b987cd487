"""The config section `search`."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from mva_ray.config_reward import Resources
from mva_ray.config_types import Count, Interval, Probability, Section, Several


class Racing(Section):
    """Candidates report after every `block` prompts, and those that are surely dominated by then are stopped.

    `error_rate` is the probability at most that a candidate is stopped which none of those it raced against dominates
    on all prompts. The first generation is never stopped.
    """

    block: Several = 8
    error_rate: Probability = 0.05


class Search(Section):
    """How coefficients are proposed: an evolutionary algorithm, a surrogate of the rewards, or a fixed design.

    `per_value_and_block` cuts the base model's layers into so many `blocks` of neighbours, and searches a coefficient
    for each value and block in the value's bounds.
    """

    method: Annotated[
        Literal["nsga2", "nsga3", "unsga3", "sms_emoa", "rvea", "ctaea", "surrogate", "grid", "random", "sobol"],
        Field(description="one of nsga2, nsga3, unsga3, sms_emoa, rvea, ctaea, surrogate, grid, random, sobol"),
    ] = "nsga2"
    candidates: Count = 24
    population: Several = 8
    bounds: Interval = (0.0, 1.5)
    convex_partitions: Count = 4
    coefficients: Annotated[
        Literal["per_value", "per_value_and_block"], Field(description="per_value or per_value_and_block")
    ] = "per_value"
    blocks: Several = 3
    racing: Racing | None = None
    evaluators: Count = 1
    resources: Resources = Resources(num_cpus=1.0)

    @model_validator(mode="after")
    def _whole_generation(self) -> Self:
        if self.candidates < self.population:
            raise ValueError(f"candidates ({self.candidates}) must be at least population ({self.population})")
        return self

    @model_validator(mode="after")
    def _blocks_with_coefficients(self) -> Self:
        if "blocks" in self.model_fields_set and self.coefficients == "per_value":
            raise ValueError("blocks belongs to coefficients: per_value_and_block")
        return self

    @property
    def coefficients_per_value(self) -> int:
        """The number of blocks, or 1."""
        return self.blocks if self.coefficients == "per_value_and_block" else 1

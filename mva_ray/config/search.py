"""The config section `search`."""

from importlib.util import find_spec
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from mva_ray.config.fields import (
    MOST_CANDIDATES,
    MOST_PROCESSES,
    Count,
    Interval,
    Section,
    Several,
    at_most,
)
from mva_ray.config.reward import Resources

DIRECTED = ("nsga3", "unsga3", "rvea", "ctaea")
"""Algorithms that follow reference directions, at least one a value."""

EVOLUTIONARY = ("nsga2", *DIRECTED, "sms_emoa", "agemoea2")
POPULATIONS = {**dict.fromkeys(EVOLUTIONARY, 8), "surrogate": 2}
"""How many candidates a method proposes at once; fixed designs propose all of them."""

OperatorProbability = Annotated[float, Field(ge=0, le=1, description="a number >= 0 and <= 1")]
DistributionIndex = Annotated[float, Field(ge=1, le=100, description="a number >= 1 and <= 100")]

FEWEST_PROMPTS = 4
"""That a candidate answers: fewer say little of how much answers differ."""

_LEARNING = 0.15
"""The share of a budget in answers that goes to a few prompts each; the rest goes to candidates that answer all."""


def most_on_few(answers: int) -> int:
    """How many candidates a budget in answers has room for, if each answers as few prompts as it may."""
    return int(_LEARNING * answers / FEWEST_PROMPTS)


def _installed(method: str) -> str:
    if method == "agemoea2" and find_spec("numba") is None:
        raise ValueError("agemoea2 needs numba: install mva_ray[numba], or choose another method")
    return method


MethodName = Annotated[
    Literal[
        "nsga2",
        "nsga3",
        "unsga3",
        "sms_emoa",
        "rvea",
        "ctaea",
        "agemoea2",
        "surrogate",
        "grid",
        "random",
        "sobol",
    ],
    Field(description="one of nsga2, nsga3, unsga3, sms_emoa, rvea, ctaea, agemoea2, surrogate, grid, random, sobol"),
    AfterValidator(_installed),
]


class Operator(Section):
    """`prob`: how often it is applied. `eta`: the larger, the closer is a child to its parents (Deb & Agrawal 1995).

    What is not given is as pymoo has it for the algorithm.
    """

    prob: OperatorProbability | None = None
    eta: DistributionIndex | None = None


class Operators(Section):
    """Simulated binary crossover and polynomial mutation."""

    crossover: Operator = Operator()
    mutation: Operator = Operator()


class Search(Section):
    """How coefficients are proposed: an evolutionary algorithm, a surrogate of the rewards, or a fixed design.

    `answers` is a budget in answers beside that in candidates: so many candidates answer a few of the search prompts,
    and the rest of the answers goes to the best of them and of further candidates, which answer all. Without it, all
    candidates answer all.
    `population` is how many of an evolutionary algorithm or of the surrogate are proposed at once; `operators` are
    those of the former. `per_value_and_block` cuts the base model's layers into so many `blocks` of neighbours, and
    searches a coefficient for each value and block in the value's bounds.
    """

    method: MethodName = "surrogate"
    candidates: Annotated[Count, MOST_CANDIDATES] = 24
    answers: Count | None = None
    population: Count | None = None
    operators: Operators = Operators()
    bounds: Interval = (0.0, 1.5)
    convex_partitions: Annotated[Count, at_most(1000, "coefficients have four decimals")] = 4
    coefficients: Annotated[
        Literal["per_value", "per_value_and_block"], Field(description="per_value or per_value_and_block")
    ] = "per_value"
    blocks: Several = 3
    evaluators: Annotated[Count, MOST_PROCESSES] = 1
    resources: Resources = Resources(num_cpus=1.0)

    @model_validator(mode="after")
    def _one_gpu(self) -> Self:
        if self.resources.num_gpus > 1:
            raise ValueError(
                f"resources.num_gpus is {self.resources.num_gpus:g}, and our engine computes on one GPU: give 1 and "
                "more evaluators; a model that is too large for one GPU needs a server (engine.openai)"
            )
        return self

    @model_validator(mode="after")
    def _no_idle_settings(self) -> Self:
        if self.population is not None and self.method not in POPULATIONS:
            raise ValueError(f"method {self.method} proposes all candidates at once; leave population out")
        if "operators" in self.model_fields_set and self.method not in EVOLUTIONARY:
            raise ValueError(f"method {self.method} has no operators; leave them out")
        if self.answers is not None and self.method != "surrogate":
            raise ValueError(f"method {self.method} has all candidates answer all prompts; leave answers out")
        if "blocks" in self.model_fields_set and self.coefficients == "per_value":
            raise ValueError("blocks belongs to coefficients: per_value_and_block")
        return self

    @model_validator(mode="after")
    def _whole_generation(self) -> Self:
        if self.method in EVOLUTIONARY and self.generation_size < 2:
            raise ValueError(f"method {self.method} needs a population of at least 2")
        if self.candidates < self.generation_size:
            raise ValueError(f"candidates ({self.candidates}) must be at least population ({self.generation_size})")
        return self

    @property
    def generation_size(self) -> int:
        """How many candidates are proposed at once, where that is not all of them."""
        return self.population or POPULATIONS.get(self.method, 1)

    def prompts_each(self, n_prompts: int) -> int:
        """How many of a split's prompts a new candidate answers."""
        if self.answers is None:
            return n_prompts
        return min(n_prompts, max(FEWEST_PROMPTS, int(_LEARNING * self.answers / self.candidates)))

    @property
    def trials(self) -> int:
        """Tune trials at once, each a process. They only wait for the broker, which is asked ahead of them, so two are
        enough."""
        return min(self.candidates, 2)

    @property
    def coefficients_per_value(self) -> int:
        """The number of blocks, or 1."""
        return self.blocks if self.coefficients == "per_value_and_block" else 1

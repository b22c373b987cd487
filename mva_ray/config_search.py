"""What the config says of the search method: its name, its operators."""

from importlib.util import find_spec
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from mva_ray.config_types import Section

DIRECTED = ("nsga3", "unsga3", "rvea", "ctaea")
"""Algorithms that follow reference directions, at least one a value."""

EVOLUTIONARY = ("nsga2", *DIRECTED, "sms_emoa", "agemoea2")
POPULATIONS = {**dict.fromkeys(EVOLUTIONARY, 8), "surrogate": 2}
"""How many candidates a method proposes at once; fixed designs propose all of them."""

OperatorProbability = Annotated[float, Field(ge=0, le=1, description="a number >= 0 and <= 1")]
DistributionIndex = Annotated[float, Field(ge=1, le=100, description="a number >= 1 and <= 100")]


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

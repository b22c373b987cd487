"""The config's section `compare`."""

from typing import Annotated, Any, Literal, get_args

from pydantic import Field

from mva_ray.config.engine import Endpoint
from mva_ray.config.fields import MOST_CANDIDATES, Index, Interval, NonNegative, Section, Several, Text, at_most


class JudgeSettings(Endpoint):
    """The judge; `request` has more fields of the request's body, such as max_tokens."""

    request: dict[str, Any] = Field(default_factory=lambda: {"temperature": 0})


MethodName = Literal[
    "mva",
    "mva_paper",
    "mva_orthogonal",
    "mva_no_hsic",
    "mva_c1",
    "mva_no_extrapolation",
    "soup",
    "soup_scaled",
    "vc_soup",
    "vc_soup_free",
    "dpo_lw",
    "dpo_seqt",
    "modpo",
]


TRAINED_METHODS = frozenset({"dpo_lw", "dpo_seqt", "modpo"})
"""Those that train the models they compare, rather than blend adapters."""
PAIRED_METHODS = TRAINED_METHODS | {"vc_soup", "vc_soup_free"}
"""Those that need the pairs of every value."""


class Compare(Section):
    """What `mva-ray compare` runs: methods x seeds.

    `candidates` is every blending method's budget on the search prompts; DPO-LW and MODPO train one model for each
    point of a simplex lattice of `weight_partitions`. VC-Soup keeps pairs of at least `consistency`. `alphas` are
    weights of the penalty to try beside the config's own and none. `box` has a reference point and an ideal for each
    value, so that hypervolumes of several comparisons can be set side by side; else they are those of what was found.
    Yardsticks, which train nothing: `instructions` has for each value what a user would write after a prompt to get it,
    `best_of` is how many answers of the base model the rewards choose from. Each is measured where it is given.
    """

    seeds: Annotated[list[Index], Field(min_length=1, description="a list of whole numbers >= 0")] = Field(
        default_factory=lambda: [0, 1, 2]
    )
    methods: Annotated[
        list[Annotated[MethodName, Field(description=", ".join(get_args(MethodName)))]],
        Field(min_length=1, description="a list of methods"),
    ] = Field(default_factory=lambda: list(get_args(MethodName)))
    candidates: Annotated[Several, MOST_CANDIDATES] = 12
    weight_partitions: Annotated[Several, at_most(100, "a model is trained for every point of the lattice")] = 4
    consistency: Annotated[float, Field(ge=-1, le=1, description="a number from -1 to 1")] = 0.0
    alphas: list[NonNegative] = Field(default_factory=list)
    box: dict[str, Interval] | None = None
    instructions: dict[str, Text] | None = None
    best_of: Annotated[Several, at_most(10_000, "each is an answer to every prompt")] | None = None
    judge: JudgeSettings | None = None

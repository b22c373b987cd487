"""The config's section `training`."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from mva_ray.config.fields import (
    MOST_PROCESSES,
    MOST_STEPS,
    MOST_TOKENS,
    Count,
    Index,
    NonNegative,
    Positive,
    Section,
    Share,
    Text,
    at_most,
)
from mva_ray.config.reward import Resources


class Lora(Section):
    """`dropout` acts on the inputs of the adapter; the dropout layers of the base model are off."""

    r: Annotated[Count, at_most(65_536, "no layer is that wide")] = 16
    alpha: Annotated[Count, at_most(1_000_000, "it scales by alpha / r")] = 32
    dropout: Share = 0.0
    target_modules: Annotated[list[Text], Field(min_length=1, description="a list of module names")] = Field(
        default_factory=lambda: ["q_proj", "k_proj", "v_proj", "o_proj"]
    )


PENALTY_WEIGHTS = {"hsic": 0.003, "paper": 10.0, "orthogonal": 0.5, "none": 0.0}
A_PENALTY = "hsic, paper, orthogonal, none or a mapping with kind and weight"


class PenaltySettings(Section):
    """What keeps an adapter apart from those trained before it; `weight` is the paper's alpha.

    `hsic`: the unbiased estimator with a `linear` or `rbf` kernel (`sigma`: a bandwidth or `median`, the median
    distance of the rows), on the rows of `lora_a` or on `rows` rows of the whole `delta` (with a linear kernel, all of
    them); `normalised`, it is CKA. `paper`: MVA's (arXiv 2511.17579) as its authors compute it. `orthogonal`:
    O-LoRA's (arXiv 2310.14152). The weight rises from 0 over `ramp_steps`. A text in place of the mapping is the kind.
    """

    kind: Annotated[
        Literal["hsic", "paper", "orthogonal", "none"], Field(description="hsic, paper, orthogonal or none")
    ] = "hsic"
    weight: NonNegative = PENALTY_WEIGHTS["hsic"]
    ramp_steps: Annotated[Index, MOST_STEPS] = 0
    kernel: Annotated[Literal["linear", "rbf"], Field(description="linear or rbf")] = "linear"
    sigma: Annotated[Positive | Literal["median"], Field(description="a number > 0 or median")] = "median"
    normalised: Annotated[bool, Field(description="true or false")] = True
    on: Annotated[Literal["lora_a", "delta"], Field(description="lora_a or delta")] = "delta"
    rows: Annotated[int, Field(ge=4, description="a whole number >= 4"), at_most(65_536, "no layer is that wide")] = 256

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, penalty: Any) -> Any:
        if isinstance(penalty, str):
            penalty = {"kind": penalty}
        if not isinstance(penalty, dict) or "weight" in penalty:
            return penalty
        if penalty.get("normalised") is False:
            raise ValueError("weight is missing: HSIC that is not normalised depends on the model's scale")
        weight = PENALTY_WEIGHTS.get(str(penalty.get("kind", "hsic")))
        return penalty if weight is None else penalty | {"weight": weight}

    @model_validator(mode="after")
    def _no_idle_settings(self) -> Self:
        used = {"kind", "weight", "ramp_steps"}
        if self.kind == "hsic":
            used |= {"kernel", "normalised", "on"} | ({"sigma"} if self.kernel == "rbf" else set())
            used |= {"rows"} if (self.kernel, self.on) == ("rbf", "delta") else set()
        fields = type(self).model_fields
        idle = [name for name in fields if name not in used and getattr(self, name) != fields[name].default]
        if idle:
            what = f"hsic with kernel {self.kernel} on {self.on}" if self.kind == "hsic" else self.kind
            raise ValueError(f"{' and '.join(idle)} would have no effect on {what}: leave it out")
        return self


class Training(Section):
    """DPO (Rafailov et al. 2023) with the decorrelation penalty of MVA (arXiv 2511.17579).

    The length is a number of optimiser steps, the same for every value, or of `epochs` over each value's pairs.
    `schedule`: `sequential` trains one value after the other, each on `num_workers`, against those before it;
    `concurrent` trains all at once, one worker each, every one against all others as they were at most `max_staleness`
    steps ago. Every `checkpoint_steps` steps, what a killed training needs to go on is stored. Each worker reserves
    `resources`, on which no result depends: they are in no key.
    """

    steps: Annotated[Count, MOST_STEPS] = 24
    epochs: Annotated[Positive, at_most(10_000, "pairs that are seen so often are learned by heart")] | None = None
    pairs_per_step: Count = 4
    learning_rate: Annotated[Positive, at_most(1, "Adam moves every weight by about that much a step")] = 5e-4
    beta: Annotated[Positive, at_most(1000, "at that, the loss is zero or endless")] = 0.1
    penalty: Annotated[PenaltySettings, Field(description=A_PENALTY)] = PenaltySettings()
    max_length: Annotated[Count, MOST_TOKENS] = 512
    lora: Lora = Lora()
    num_workers: Annotated[Count, MOST_PROCESSES] = 1
    checkpoint_steps: Count = 10
    schedule: Annotated[Literal["sequential", "concurrent"], Field(description="sequential or concurrent")] = (
        "sequential"
    )
    max_staleness: Index = 0
    resources: Resources = Field(default=Resources(num_cpus=1.0), exclude=True)

    @property
    def pairs_at_once(self) -> int:
        """Of a step, on each worker."""
        return max(1, self.pairs_per_step // self.num_workers)

    @model_validator(mode="after")
    def _one_gpu(self) -> Self:
        if self.resources.num_gpus > 1:
            raise ValueError(
                f"resources.num_gpus is {self.resources.num_gpus:g}, and a worker trains on one GPU: give 1, and more "
                "num_workers"
            )
        if not self.resources.num_cpus and not self.resources.num_gpus:
            raise ValueError("resources: a worker has to reserve something, give num_cpus above 0")
        return self

    @model_validator(mode="after")
    def _all_alike_where_concurrent(self) -> Self:
        if self.schedule == "concurrent" and self.num_workers > 1:
            raise ValueError(
                f"num_workers is {self.num_workers}, but schedule: concurrent gives every value one worker;"
                " leave num_workers out"
            )
        if self.schedule == "concurrent" and self.epochs is not None:
            raise ValueError(
                "schedule: concurrent trains all values for the same number of steps; give steps in place of epochs"
            )
        return self

    @model_validator(mode="after")
    def _enough_rows(self) -> Self:
        if (self.penalty.kind, self.penalty.on) == ("hsic", "lora_a") and self.lora.r < 4:
            raise ValueError(f"lora.r ({self.lora.r}) must be at least 4 for HSIC on lora_a: its rows are the samples")
        return self

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if self.epochs is not None and "steps" in self.model_fields_set:
            raise ValueError("give 'steps' (optimiser steps) or 'epochs' (passes over a value's pairs), not both")
        return self

    @property
    def marks(self) -> dict[str, Any]:
        """What sets apart the keys of trainings that earlier versions did otherwise: dropout had no effect."""
        return {"dropout": "acts"} if self.lora.dropout else {}

    def for_pairs(self, count: int) -> "Training":
        """The training of a value that has so many pairs: `epochs` as steps."""
        if self.epochs is None:
            return self
        steps = max(1, round(self.epochs * count / self.pairs_per_step))
        return self.model_copy(update={"steps": steps, "epochs": None})

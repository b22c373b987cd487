"""The config section `reward`: what scores completions, and the resources of the actor that does."""

from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, PrivateAttr, ValidationInfo, model_validator

from mva_ray.config.fields import (
    MOST_TOKENS,
    Count,
    Function,
    Index,
    Model,
    NonNegative,
    Positive,
    Section,
    at_most,
    directory_of,
)

MOST_OF_A_NODE = at_most(10_000, "no machine has so many for one process")
A_REWARD = "package.module:function or a mapping with function or model"


def _whole_or_a_share(gpus: float) -> float:
    if gpus > 1 and not gpus.is_integer():
        raise ValueError(f"expected a share of one GPU or a whole number, got {gpus:g}")
    return gpus


class Resources(Section):
    """What one process reserves on its node."""

    num_cpus: Annotated[NonNegative, MOST_OF_A_NODE] = 0.1
    num_gpus: Annotated[NonNegative, MOST_OF_A_NODE, AfterValidator(_whole_or_a_share)] = 0.0


class RewardSettings(Section):
    """`function: package.module:function` (TRL's signature) or `model:` (sequence classifier, hub id or directory).

    Higher is better. `label` is the logit used, to be given where the classifier has several. It reads prompt and
    completion in its chat template where it has one; `chat_template: false` gives it a pair of texts all the same. A
    call, of 64 texts at most, may take `timeout` seconds. A text in place of the mapping is the function.
    """

    function: Function | None = None
    model: Model | None = None
    label: Index = 0
    chat_template: Annotated[bool, Field(description="true or false")] | None = None
    batch_size: Annotated[Count, at_most(65_536, "texts that are scored at once")] = 16
    max_length: Annotated[Count, MOST_TOKENS] = 512
    timeout: Positive = 300.0
    resources: Resources = Resources()
    _directory: Path | None = PrivateAttr(default=None)
    _sources: str | None = PrivateAttr(default=None)

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, reward: Any) -> Any:
        return {"function": reward} if isinstance(reward, str) else reward

    @model_validator(mode="after")
    def _keep_directory(self, info: ValidationInfo) -> Self:
        self._directory = directory_of(info)
        return self

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.function is None) == (self.model is None):
            raise ValueError("give exactly one of 'function' (package.module:function) and 'model' (id or directory)")
        return self

    @property
    def source(self) -> str:
        return self.function or self.model or ""

    @property
    def directory(self) -> Path | None:
        """Where the config file is; its reward functions may live next to it."""
        return self._directory

    @property
    def sources(self) -> str | None:
        """The place where a function's module and its neighbours are for all nodes; None where they are everywhere."""
        return self._sources

    def with_sources(self, place: str) -> Self:
        """The same reward, whose sources are at a place for all nodes."""
        copy = self.model_copy()
        copy._sources = place
        return copy

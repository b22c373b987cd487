"""The penalty against adapters that are trained at the same time: it is made anew at each step."""

from collections.abc import Callable, Sequence
from typing import Protocol

from torch import Tensor

from mva_ray.adapters.lora import LoraFactors
from mva_ray.training.penalty import Penalty


class Exchange(Protocol):
    """Publishes the factors that one adapter has after `step` steps, and waits for those of the others.

    Returns:
        the others' factors, and how many steps older they are than the published ones.
    """

    def __call__(self, step: int, factors: LoraFactors) -> tuple[list[LoraFactors], int]: ...


class LivePenalty:
    """`Penalty` against the others as they are exchanged; 0 where there are none. `staleness` is that of the last."""

    def __init__(self, make: Callable[[Sequence[LoraFactors]], Penalty | None], exchange: Exchange) -> None:
        self._make = make
        self._exchange = exchange
        self.staleness = 0

    def __call__(self, factors: LoraFactors, step: int) -> Tensor:
        others, self.staleness = self._exchange(step, factors)
        penalty = self._make(others)
        return penalty(factors, step) if penalty else next(iter(factors.a.values())).new_zeros(())

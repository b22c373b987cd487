"""A race: when to look at a candidate, and against whom."""

from collections.abc import Sequence

from mva_ray.records import Coefficients

Rewards = Sequence[Sequence[float]]
class Race:
    looks: tuple[int, ...] = ()
    def admit(self, row: Coefficients, rewards: Rewards) -> None: ...
    def stops_at(self, row: Coefficients, rewards: Rewards) -> bool: ...
    def dominating(self, row: Coefficients, rewards: Rewards) -> Coefficients | None: ...

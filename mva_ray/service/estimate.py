"""Numbers with their intervals, as JSON can have them."""

from dataclasses import dataclass
from math import isfinite


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval; None where a side is unbounded."""

    estimate: float
    low: float | None
    high: float | None

    @property
    def holds_zero(self) -> bool:
        """Whether it may as well be 0."""
        return (self.low is None or self.low <= 0) and (self.high is None or self.high >= 0)


def estimated(estimate: float, low: float, high: float) -> Estimate:
    """From numbers, infinite ones among them."""
    return Estimate(float(estimate), *(float(side) if isfinite(side) else None for side in (low, high)))

"""The config sections `budget` and `prices`."""

from mva_ray.config.fields import Count, NonNegative, Positive, Section


class Budget(Section):
    """What a run may spend: the search ends as soon as a further candidate, and then its front, would go beyond it.

    All starts of the run count, with its samples and its training: `answers` that are generated, `gpu_hours` that are
    reserved, `cost` by `prices`. None for no limit.
    """

    answers: Count | None = None
    gpu_hours: Positive | None = None
    cost: Positive | None = None

    @property
    def limits(self) -> dict[str, float]:
        """Those there are."""
        return {name: limit for name, limit in self.model_dump().items() if limit is not None}


class Prices(Section):
    """Money for an hour of a reserved GPU, of a reserved CPU, and for a million tokens of answers."""

    gpu_hour: NonNegative = 0.0
    cpu_hour: NonNegative = 0.0
    million_tokens: NonNegative = 0.0

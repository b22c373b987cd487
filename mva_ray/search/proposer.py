"""One way in to every search method."""

from collections.abc import Sequence
from typing import Protocol

from mva_ray.config import Search
from mva_ray.records import Coefficients
from mva_ray.search.designs import DesignProposer, grid, random, sobol

Rewards = Sequence[float] | None


class Proposer(Protocol):
    """Proposes candidates in batches. What it proposes depends on its settings and on what it was told alone.

    That, and not a saved state, is what makes a killed run go on as if undisturbed.
    """

    def ask(self) -> list[Coefficients]:
        """The next candidates, all new; empty when the budget is spent or nothing is left to propose."""
        ...

    def tell(
        self, candidates: Sequence[Coefficients], rewards: Sequence[Rewards], errors: Sequence[Rewards] | None = None
    ) -> None:
        """Mean rewards [k], higher is better, and their standard errors [k], of every candidate of the last `ask`.

        None where a candidate failed.
        """
        ...


def make_proposer(settings: Search, bounds: Sequence[tuple[float, float]], seed: int) -> Proposer:
    """The config's search method. Every one begins with `reference_candidates`.

    Args:
        settings: method, budget and batch size.
        bounds: (lower, upper) of each coefficient.
        seed: of everything random.
    """
    common = bounds, settings.candidates
    if settings.method in DESIGNS:
        return DesignProposer(DESIGNS[settings.method], *common, settings.convex_partitions, seed)
    if settings.method == "surrogate":
        from mva_ray.search.surrogate import SurrogateProposer

        return SurrogateProposer(*common, settings.population, settings.convex_partitions, seed)
    from mva_ray.search.evolution import EvolutionaryProposer

    return EvolutionaryProposer(settings.method, *common, settings.population, settings.convex_partitions, seed)


DESIGNS = {"grid": grid, "random": random, "sobol": sobol}

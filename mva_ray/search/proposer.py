"""One way in to every search method."""

from collections.abc import Sequence
from typing import Protocol

from mva_ray.config.search import Search
from mva_ray.records import Coefficients, Outcome, Proposal
from mva_ray.search.designs import DesignProposer, grid, random, sobol
from mva_ray.search.draws import Draws
from mva_ray.search.ledger import Ledger


class Proposer(Protocol):
    """Proposes candidates in batches. What it proposes depends on its settings and on what it was told alone.

    That, and not a saved state, is what makes a killed run go on as if undisturbed: outcomes are told a batch at a
    time, in the order of asking, and the next batch is asked for as soon as the proposer is ready.
    """

    @property
    def ready(self) -> bool:
        """Whether `ask` may be called; else it first has to be told more of what it asked for."""
        ...

    def ask(self) -> list[Proposal]:
        """New candidates, or such that lack prompts; empty when the budget is spent or nothing is left to propose."""
        ...

    def tell(self, outcomes: Sequence[Outcome]) -> None:
        """Of candidates asked for, in any order, and of others evaluated earlier.

        The latter inform the search, are never proposed, and cost nothing of the budget: a warm start where they are
        told before the first `ask`.
        """
        ...


def make_proposer(
    settings: Search,
    bounds: Sequence[tuple[float, float]],
    n_values: int,
    references: Sequence[Coefficients],
    seed: int,
    pending: int = 0,
    n_prompts: int = 1,
) -> Proposer:
    """The config's search method.

    Args:
        settings: method, budget, population and operators.
        bounds: (lower, upper) of each coefficient; d of them.
        n_values: how many rewards there are; k, which need not be d.
        references: every method begins with those that were not told, outside the bounds too.
        seed: of everything random.
        pending: how many candidates of the surrogate may still be at work when it is asked for more.
        n_prompts: of the split; needed where the budget is in answers, too.
    """
    draws = Draws(n_prompts, settings.prompts_each(n_prompts), seed) if settings.answers else None
    ledger = Ledger(references, settings.candidates, draws, settings.answers or 0)
    if settings.method in DESIGNS:
        return DesignProposer(DESIGNS[settings.method], ledger, bounds, seed)
    if settings.method == "surrogate":
        from mva_ray.search.surrogate import SurrogateProposer

        return SurrogateProposer(ledger, bounds, settings.generation_size, pending, seed)
    from mva_ray.search.evolution import EvolutionaryProposer

    return EvolutionaryProposer(settings, ledger, bounds, n_values, seed)


DESIGNS = {"grid": grid, "random": random, "sobol": sobol}

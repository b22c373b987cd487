"""Rewards with known bests, and a search driven over them, for the tests of search methods."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from mva_ray.config.search import POPULATIONS, Search
from mva_ray.records import Coefficients, Outcome, Proposal
from mva_ray.search.proposer import Proposer, make_proposer
from mva_ray.search.references import reference_candidates
from mva_ray.search.results import Result
from mva_ray.search.rounds import Rounds

Surface = Callable[[Coefficients], list[float] | None]
Bounds = Sequence[tuple[float, float]]


def trade_off(row: Coefficients) -> list[float]:
    """Value i wants its own coefficient at 1.2 and the others at 0: no single best, and a known best of 0 for each."""
    return [
        -((row[i] - 1.2) ** 2) - 0.5 * sum(other**2 for j, other in enumerate(row) if j != i) for i in range(len(row))
    ]


def failing(row: Coefficients) -> list[float] | None:
    return None if row[0] > 0.8 else trade_off(row)


def make(
    method: str,
    bounds: Bounds,
    budget: int = 30,
    population: int = 8,
    convex_partitions: int = 4,
    seed: int = 0,
    pending: int = 0,
) -> Proposer:
    """A search from the usual references, a coefficient a value."""
    given = {"population": population} if method in POPULATIONS else {}
    settings = Search(method=method, candidates=max(budget, population), **given)  # type: ignore[arg-type]
    references = reference_candidates(len(bounds), convex_partitions)
    settings = settings.model_copy(update={"candidates": budget})
    return make_proposer(settings, bounds, len(bounds), references, seed, pending)


class Scripted:
    """A proposer with fixed batches, ready when all that it asked for is told; keeps what it is told."""

    def __init__(self, batches: Sequence[Sequence[Coefficients]]) -> None:
        self._batches = [list(batch) for batch in batches]
        self._asked = 0
        self.outcomes: list[Outcome] = []

    @property
    def ready(self) -> bool:
        return self._asked == len(self.outcomes)

    def ask(self) -> list[Proposal]:
        asked = self._batches.pop(0) if self._batches else []
        self._asked += len(asked)
        return [Proposal(row) for row in asked]

    def tell(self, outcomes: Sequence[Outcome]) -> None:
        self.outcomes += outcomes


def outcomes(rows: Sequence[Coefficients], surface: Surface = trade_off, error: float = 0.0) -> list[Outcome]:
    """Without noise; `error` is only said."""
    found = ((row, surface(row)) for row in rows)
    return [
        Outcome(row, None) if rewards is None else Outcome(row, tuple(rewards), (error,) * len(rewards))
        for row, rewards in found
    ]


class Noted:
    """A proposer that notes what it is asked for, batch by batch."""

    def __init__(self, proposer: Proposer) -> None:
        self._proposer = proposer
        self.batches: list[list[Coefficients]] = []

    @property
    def ready(self) -> bool:
        return self._proposer.ready

    def ask(self) -> list[Proposal]:
        asked = self._proposer.ask()
        self.batches += [[proposal.coefficients for proposal in asked]] if asked else []
        return asked

    def tell(self, outcomes: Sequence[Outcome]) -> None:
        self._proposer.tell(outcomes)


def drive(
    search: Proposer, judge: Callable[[Sequence[Coefficients]], Sequence[Outcome]]
) -> Iterator[list[Coefficients]]:
    """Evaluate one round after the other, until the search is over; yields what was evaluated."""
    rounds = Rounds(search)
    while asked := [proposal.coefficients for proposal in rounds.ask()]:
        for outcome in judge(asked):
            rounds.tell(Result(outcome))
        yield asked
    assert rounds.finished


def run(search: Proposer, surface: Surface = trade_off) -> list[list[Coefficients]]:
    """All batches until the search is over."""
    noted = Noted(search)
    list(drive(noted, lambda rows: outcomes(rows, surface)))
    return noted.batches


def flat(batches: Sequence[Sequence[Coefficients]]) -> list[Coefficients]:
    return [row for batch in batches for row in batch]


def noisy(surface: Surface, error: float) -> Surface:
    rng = np.random.default_rng(0)

    def measured(row: Coefficients) -> list[float] | None:
        true = surface(row)
        return None if true is None else (np.array(true) + error * rng.normal(size=len(true))).tolist()

    return measured

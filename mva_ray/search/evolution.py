"""pymoo's evolutionary algorithms over coefficients by ask and tell, with pymoo's operators.

Proposals depend on the settings, the seed and the rewards told alone, never on the order in which trials finish:
that is what makes a killed run resume to the same result.
"""

from collections.abc import Sequence
from copy import copy
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymoo.algorithms.moo.ctaea import CTAEA
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.algorithms.moo.nsga3 import NSGA3
from pymoo.algorithms.moo.rvea import RVEA
from pymoo.algorithms.moo.sms import SMSEMOA
from pymoo.algorithms.moo.unsga3 import UNSGA3
from pymoo.core.algorithm import Algorithm
from pymoo.core.evaluator import Evaluator
from pymoo.core.population import Population
from pymoo.core.problem import Problem
from pymoo.core.variable import Real
from pymoo.operators.sampling.lhs import LHS
from pymoo.problems.static import StaticProblem
from pymoo.termination.max_gen import MaximumGenerationTermination
from pymoo.util.ref_dirs import get_reference_directions

from mva_ray.config.search import Operator, Search
from mva_ray.records import DECIMALS, Coefficients, Outcome, Proposal, rounded
from mva_ray.search.ledger import Ledger

_STALE_GENERATIONS = 50
_DIVIDE_BY_EXTENT = ("rvea", "agemoea2")
"""Their arithmetic fails where all candidates are equal in a value."""
_TIE_BREAK = 1e-6


class EvolutionaryProposer:
    """Proposes generations of new candidates until the budget is spent. Rewards are maximised.

    Standard errors are ignored: an evolutionary algorithm takes a mean as it is.

    Args:
        settings: population, operators and method: nsga2 (Deb et al. 2002), nsga3 (Deb & Jain 2014), unsga3 (Seada &
            Deb 2016), sms_emoa (Beume et al. 2007), rvea (Cheng et al. 2016), ctaea (Li et al. 2019) or agemoea2
            (Panichella 2022).
        ledger: references and budget; references outside the bounds are proposed, but take no part in the operators.
        bounds: (lower, upper) of each coefficient.
        n_values: number of rewards.
        seed: of all operators.
    """

    def __init__(
        self,
        settings: Search,
        ledger: Ledger,
        bounds: Sequence[tuple[float, float]],
        n_values: int,
        seed: int,
    ) -> None:
        lower, upper = np.array(bounds, dtype=float).T
        self._problem = Problem(n_var=len(bounds), n_obj=n_values, n_ieq_constr=1, xl=lower, xu=upper)
        self._ledger = ledger
        self._settings, self._population, self._seed = settings, settings.generation_size, seed
        self._offspring: Population | None = None

    @property
    def ready(self) -> bool:
        """See `Proposer.ready`."""
        return not self._ledger.pending

    def ask(self) -> list[Proposal]:
        """See `Proposer.ask`; empty where the search has converged, too."""
        if not self._ledger.left:
            return []
        if self._offspring is None:
            self._start()
            if fresh := self._ledger.new([*self._ledger.references(), *self._rows]):
                return self._ledger.ask(fresh)
        for _ in range(_STALE_GENERATIONS):
            self._advance()
            if fresh := self._ledger.new(self._rows):
                return self._ledger.ask(fresh)
        return []

    def tell(self, outcomes: Sequence[Outcome]) -> None:
        """See `Proposer.tell`; the front of what is told before the first `ask` joins the first generation."""
        self._ledger.tell(outcomes)

    def _start(self) -> None:
        begin = self._inside([*self._ledger.references(), *self._ledger.front])
        first = _fill(begin, self._population, self._problem, self._seed)
        self._algorithm = _algorithm(self._settings, self._problem.n_obj, first)
        # Bounds nothing here, `ask` does: RVEA alone looks at it, to turn from convergence to spread.
        generations = max(2, -(-self._ledger.left // self._population))
        termination = MaximumGenerationTermination(generations)
        self._algorithm.setup(self._problem, termination=termination, seed=self._seed)
        self._next_generation()

    def _inside(self, rows: Sequence[Coefficients]) -> list[Coefficients]:
        lower, upper = self._problem.xl, self._problem.xu
        return [row for row in rows if np.all((lower <= row) & (np.array(row) <= upper))]

    def _next_generation(self) -> None:
        self._offspring = self._algorithm.ask()
        self._rows: list[Coefficients] = [rounded(row) for row in self._offspring.get("X")]

    def _advance(self) -> None:
        assert self._offspring is not None
        self._offspring.set("X", np.array(self._rows))
        objectives, constraints = self._judged([self._ledger.told[row] for row in self._rows])
        if self._settings.method in _DIVIDE_BY_EXTENT:
            objectives += np.random.default_rng(self._seed).uniform(0, _TIE_BREAK, objectives.shape)
        self._problem.n_ieq_constr = constraints.shape[1]
        Evaluator().eval(StaticProblem(self._problem, F=objectives, G=constraints), self._offspring)
        self._algorithm.tell(infills=self._offspring)
        self._next_generation()

    def _judged(self, outcomes: Sequence[Outcome]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """What pymoo minimises [n, k], and its constraints [n, m + 1], the last one that the candidate did not fail.

        A failed candidate is worse than all others on every value, and violates every constraint more.
        """
        known = self._ledger.succeeded
        rewards = [outcome.rewards for outcome in known if outcome.rewards is not None]
        worst = np.min(rewards, axis=0) - 1 if known else np.full(self._problem.n_obj, -1.0)
        violated = np.maximum(np.max([outcome.constraints for outcome in known], axis=0), 0) if known else np.zeros(0)
        objectives = [worst if outcome.rewards is None else outcome.rewards for outcome in outcomes]
        constraints = [
            [*violated, 1.0] if outcome.rewards is None else [*outcome.constraints, 0.0] for outcome in outcomes
        ]
        return -np.array(objectives, dtype=float), np.array(constraints, dtype=float)


def _algorithm(settings: Search, n_values: int, first: NDArray[np.float64]) -> Algorithm:
    algorithm = _with_default_operators(settings.method, n_values, settings.generation_size, first)
    mating = algorithm.mating
    mating.crossover = _changed(mating.crossover, settings.operators.crossover)
    mating.mutation = _changed(mating.mutation, settings.operators.mutation)
    return algorithm


def _with_default_operators(method: str, n_values: int, population: int, first: NDArray[np.float64]) -> Algorithm:
    if method == "nsga2":
        return NSGA2(pop_size=population, sampling=first)
    if method == "sms_emoa":
        return SMSEMOA(pop_size=population, n_offsprings=population, sampling=first)
    if method == "agemoea2":
        from pymoo.algorithms.moo.age2 import AGEMOEA2  # needs numba

        return AGEMOEA2(pop_size=population, sampling=first)
    directions = _directions(n_values, population)
    if method == "ctaea":
        return CTAEA(ref_dirs=directions, sampling=first)
    decomposed = {"nsga3": NSGA3, "unsga3": UNSGA3, "rvea": RVEA}[method]
    return decomposed(ref_dirs=directions, pop_size=population, sampling=first)


@cache
def _directions(n_values: int, count: int) -> NDArray[np.float64]:
    """By Riesz s-energy (Blank, Deb, Dhebar, Bandaru & Seada 2021)."""
    directions: NDArray[np.float64] = get_reference_directions("energy", n_values, count, seed=1)
    return directions


def _changed(default: Any, settings: Operator) -> Any:
    """A copy: pymoo's algorithms share their default operators."""
    operator = copy(default)
    for name, number in settings.model_dump(exclude_none=True).items():
        setattr(operator, name, Real(number))
    return operator


def _fill(inside: list[Coefficients], population: int, problem: Problem, seed: int) -> NDArray[np.float64]:
    """Candidates inside the bounds, filled up to the population by a Latin hypercube."""
    missing = population - len(inside)
    drawn = LHS().do(problem, max(missing, 1), seed=seed).get("X") if missing > 0 else np.empty((0, problem.n_var))
    rows = np.vstack([np.array(inside, dtype=float).reshape(-1, problem.n_var), drawn])
    clipped: NDArray[np.float64] = np.round(np.clip(rows, problem.xl, problem.xu), DECIMALS)
    return clipped

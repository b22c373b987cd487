"""pymoo's evolutionary algorithms over coefficients by ask and tell, with pymoo's operators.

Proposals depend on the settings, the seed and the rewards told alone, never on the order in which trials finish:
that is what makes a killed run resume to the same result.
"""

from collections.abc import Sequence

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
from pymoo.operators.sampling.lhs import LHS
from pymoo.problems.static import StaticProblem
from pymoo.termination.max_gen import MaximumGenerationTermination
from pymoo.util.ref_dirs import get_reference_directions

from mva_ray.records import DECIMALS, Coefficients, rounded
from mva_ray.search.designs import reference_candidates

Rewards = Sequence[float] | None
_STALE_GENERATIONS = 50


class EvolutionaryProposer:
    """Proposes generations of new candidates until the budget is spent. Rewards are maximised.

    Args:
        method: nsga2 (Deb et al. 2002), nsga3 (Deb & Jain 2014), unsga3 (Seada & Deb 2016), sms_emoa (Beume et al.
            2007), rvea (Cheng et al. 2016) or ctaea (Li et al. 2019).
        bounds: (lower, upper) of each coefficient.
        budget: how many distinct candidates to propose in all.
        population: the size of a generation.
        convex_partitions: see `reference_candidates`; references come first, outside the bounds too.
        seed: of all operators.
    """

    def __init__(
        self,
        method: str,
        bounds: Sequence[tuple[float, float]],
        budget: int,
        population: int,
        convex_partitions: int,
        seed: int,
    ) -> None:
        lower, upper = np.array(bounds, dtype=float).T
        self._problem = Problem(n_var=len(bounds), n_obj=len(bounds), xl=lower, xu=upper)
        self._budget = budget
        self._told: dict[Coefficients, Rewards] = {}
        self._offspring: Population | None = None
        references = reference_candidates(len(bounds), convex_partitions)
        inside = [row for row in references if np.all((lower <= row) & (np.array(row) <= upper))]
        first = _fill(inside, population, self._problem, seed)
        self._references: list[Coefficients] = references
        self._algorithm = _algorithm(method, len(bounds), population, first)
        # Bounds nothing here, `ask` does: RVEA alone looks at it, to turn from convergence to spread.
        generations = max(2, -(-budget // population))
        self._algorithm.setup(self._problem, termination=MaximumGenerationTermination(generations), seed=seed)

    def ask(self) -> list[Coefficients]:
        """The next candidates, all new; empty when the budget is spent or the search has converged.

        Raises:
            RuntimeError: where candidates asked for before have not been told.
        """
        for _ in range(_STALE_GENERATIONS):
            left = self._budget - len(self._told)
            if left <= 0:
                return []
            wanted = dict.fromkeys(self._next_generation())
            fresh = [row for row in wanted if row not in self._told]
            if fresh:
                return fresh[:left]
            self._advance()
        return []

    def tell(
        self, candidates: Sequence[Coefficients], rewards: Sequence[Rewards], errors: Sequence[Rewards] | None = None
    ) -> None:
        """Rewards [k], higher is better, of each candidate of the last `ask`; None where it failed.

        Their standard errors are ignored: an evolutionary algorithm takes a mean as it is.
        """
        self._told.update(zip(candidates, rewards, strict=True))
        if len(self._told) < self._budget:
            self._advance()

    @property
    def failures(self) -> int:
        return sum(rewards is None for rewards in self._told.values())

    @property
    def told(self) -> int:
        return len(self._told)

    def _next_generation(self) -> list[Coefficients]:
        if self._offspring is not None:
            raise RuntimeError("tell the rewards of the last candidates before asking for more")
        self._offspring = self._algorithm.ask()
        self._rows: list[Coefficients] = [rounded(row) for row in self._offspring.get("X")]
        return [*self._references, *self._rows]

    def _advance(self) -> None:
        assert self._offspring is not None
        objectives = -self._rewards_of(self._rows)
        self._offspring.set("X", np.array(self._rows))
        Evaluator().eval(StaticProblem(self._problem, F=objectives), self._offspring)
        self._algorithm.tell(infills=self._offspring)
        self._offspring = None

    def _rewards_of(self, rows: Sequence[Coefficients]) -> NDArray[np.float64]:
        """[n, k]; a failed candidate counts as worse than all others on every value."""
        known = [rewards for rewards in self._told.values() if rewards is not None]
        worst = np.min(known, axis=0) - 1 if known else np.full(self._problem.n_obj, -1.0)
        told = [self._told.get(row) for row in rows]
        return np.array([worst if rewards is None else rewards for rewards in told], dtype=float)


def _algorithm(method: str, n_values: int, population: int, first: NDArray[np.float64]) -> Algorithm:
    if method == "nsga2":
        return NSGA2(pop_size=population, sampling=first)
    if method == "sms_emoa":
        return SMSEMOA(pop_size=population, n_offsprings=population, sampling=first)
    directions = get_reference_directions("energy", n_values, population, seed=1)
    if method == "ctaea":
        return CTAEA(ref_dirs=directions, sampling=first)
    decomposed = {"nsga3": NSGA3, "unsga3": UNSGA3, "rvea": RVEA}[method]
    return decomposed(ref_dirs=directions, pop_size=population, sampling=first)


def _fill(inside: list[Coefficients], population: int, problem: Problem, seed: int) -> NDArray[np.float64]:
    """The references inside the bounds, filled up to the population by a Latin hypercube."""
    missing = population - len(inside)
    drawn = LHS().do(problem, max(missing, 1), seed=seed).get("X") if missing > 0 else np.empty((0, problem.n_var))
    rows = np.vstack([np.array(inside, dtype=float).reshape(-1, problem.n_var), drawn])
    clipped: NDArray[np.float64] = np.round(np.clip(rows, problem.xl, problem.xu), DECIMALS)
    return clipped

"""Gaussian processes of the rewards, and the batch of candidates that promises most hypervolume.

The acquisition is the noisy expected hypervolume improvement of a batch (Daulton, Balandat, Bakshy, "Parallel Bayesian
Optimization of Multiple Noisy Objectives with Expected Hypervolume Improvement", NeurIPS 2021): the front so far is
uncertain too, so each posterior draw has its own, and candidates of a batch are picked one by one given the picked.
Constraints are drawn with the rewards, and only feasible candidates dominate anything.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.core.problem import Problem
from pymoo.optimize import minimize
from threadpoolctl import threadpool_limits

from mva_ray.records import Coefficients, Outcome
from mva_ray.search.acquisition import nadir, pick_batch
from mva_ray.search.designs import sobol
from mva_ray.search.gaussian_process import Posterior
from mva_ray.search.ledger import Ledger

Array = NDArray[np.float64]
_SAMPLES = 64
_POPULATION = 64
_GENERATIONS = 15
_RANDOM = 128


class SurrogateProposer:
    """Proposes the references, then batches by expected hypervolume improvement, and Sobol points where none is to be.

    After the references several batches may be at work at once, so that nobody waits while the next one is found: it
    reckons with what those that are pending may bring.

    Args:
        ledger: references and budget; references are proposed outside the bounds too.
        bounds: (lower, upper) of each coefficient.
        population: how many to propose at once after the references.
        pending: how many candidates may still be at work when more are asked for, rounded up to whole batches.
        seed: of the posterior draws and of the search over the posterior.
    """

    def __init__(
        self, ledger: Ledger, bounds: Sequence[tuple[float, float]], population: int, pending: int, seed: int
    ) -> None:
        self._ledger = ledger
        self._bounds = np.array(bounds, dtype=float)
        self._population = population
        self._most_pending = -(-pending // population) * population
        self._seed = seed

    @property
    def ready(self) -> bool:
        """See `Proposer.ready`."""
        return len(self._ledger.pending) <= self._most_pending and not self._ledger.references_pending

    def ask(self) -> list[Coefficients]:
        """See `Proposer.ask`."""
        if not self._ledger.left:
            return []
        if references := self._ledger.references():
            return self._ledger.ask(references)
        enough = len(self._ledger.succeeded) > len(self._bounds)
        improving = self._improving(self._population) if enough else []
        return self._ledger.ask(improving or self._space_filling(self._population))

    def tell(self, outcomes: Sequence[Outcome]) -> None:
        """See `Proposer.tell`."""
        self._ledger.tell(outcomes)

    def _space_filling(self, count: int) -> list[Coefficients]:
        """Points of one Sobol sequence, as many passed over as candidates are told or pending."""
        passed = len(self._ledger.told) + len(self._ledger.pending)
        return self._new(sobol(self._bounds.tolist(), 2 * count, passed, self._seed))[:count]

    def _improving(self, count: int) -> list[Coefficients]:
        """At most `count` candidates that promise more hypervolume; none where nothing does."""
        pending = self._ledger.pending
        rng = np.random.default_rng([self._seed, len(self._ledger.told), len(pending)])
        with threadpool_limits(1):  # with more threads sums are rounded otherwise, and proposals would depend on them
            model = _Model(self._ledger)
            new = self._pool(model, rng)
            if not new:
                return []
            pool = [*pending, *new]
            known, drawn = model.draw(pool, rng)
            return [pool[i] for i in pick_batch(known, drawn, model.nadir, count, rng, len(pending))]

    def _pool(self, model: "_Model", rng: np.random.Generator) -> list[Coefficients]:
        """New candidates worth a look: where NSGA-II ends on the plain and the optimistic posterior, random ones."""
        lower, upper = self._bounds.T
        rows = [rng.uniform(lower, upper, (_RANDOM, len(lower)))]
        for optimism in (0.0, 1.0):
            problem = _PosteriorProblem(model, optimism, lower, upper)
            algorithm = NSGA2(pop_size=_POPULATION)
            found = minimize(problem, algorithm, ("n_gen", _GENERATIONS), seed=int(rng.integers(2**31)))
            rows.append(found.pop.get("X"))
        return self._new(np.vstack(rows))

    def _new(self, rows: Array) -> list[Coefficients]:
        return self._ledger.new(np.clip(rows, *self._bounds.T))


class _Model:
    """What is believed of rewards and constraints, given all that was told.

    Failure is a constraint like others: 1 where a candidate failed and -1 where it did not.
    """

    def __init__(self, ledger: Ledger) -> None:
        known = ledger.succeeded
        self._rows = np.array([outcome.coefficients for outcome in known])
        rewards = np.array([outcome.rewards for outcome in known])
        errors = np.array([outcome.errors or np.zeros(rewards.shape[1]) for outcome in known])
        constraints = np.array([outcome.constraints for outcome in known])
        self._feasible = (constraints <= 0).all(axis=1)
        self._rewards = Posterior(self._rows, rewards, errors)
        self._constraints = [Posterior(self._rows, constraints, None)] if constraints.size else []
        if len(known) < len(ledger.told):
            told = sorted(ledger.told)
            failed = np.array([[1.0 if ledger.told[row].rewards is None else -1.0] for row in told])
            self._constraints.append(Posterior(np.array(told), failed, None))
        self.n_values = rewards.shape[1]
        self.n_constraints = constraints.shape[1] + (len(known) < len(ledger.told))

    @property
    def nadir(self) -> Array:
        """[k], see `nadir`; of the feasible candidates, or of all where none is."""
        means, _ = self._rewards.predict(self._rows)
        return nadir(means[self._feasible] if self._feasible.any() else means)

    def optimistic(self, rows: Array, optimism: float) -> tuple[Array, Array]:
        """Rewards [n, k] and constraints [n, m], so many standard deviations better than expected."""
        means, deviations = self._rewards.predict(rows)
        believed = [posterior.predict(rows) for posterior in self._constraints]
        constraints = [expected - optimism * deviation for expected, deviation in believed]
        return means + optimism * deviations, np.hstack([np.empty((len(rows), 0)), *constraints])

    def draw(self, pool: Sequence[Coefficients], rng: np.random.Generator) -> tuple[Array, Array]:
        """Joint draws of the rewards of the feasible known [s, n, k] and of the pool [s, m, k].

        Rewards are minus infinity in draws where the candidate of the pool is infeasible.
        """
        rewards = self._rewards.sample(np.vstack([self._rows, pool]), _SAMPLES, rng)
        known, new = rewards[:, : len(self._rows)], rewards[:, len(self._rows) :]
        for posterior in self._constraints:
            infeasible = (posterior.sample(np.array(pool), _SAMPLES, rng) > 0).any(axis=2)
            new[infeasible] = -np.inf
        return known[:, self._feasible], new


class _PosteriorProblem(Problem):
    """What pymoo minimises: minus the rewards, under the constraints."""

    def __init__(self, model: _Model, optimism: float, lower: Array, upper: Array) -> None:
        super().__init__(n_var=len(lower), n_obj=model.n_values, n_ieq_constr=model.n_constraints, xl=lower, xu=upper)
        self._model, self._optimism = model, optimism

    def _evaluate(self, x: Array, out: dict[str, Array], *args: object, **kwargs: object) -> None:
        rewards, constraints = self._model.optimistic(x, self._optimism)
        out["F"], out["G"] = -rewards, constraints

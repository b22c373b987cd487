"""A Gaussian process per value over the coefficients, and the batch of candidates that promises most hypervolume.

The acquisition is the noisy expected hypervolume improvement of a batch (Daulton, Balandat, Bakshy, "Parallel Bayesian
Optimization of Multiple Noisy Objectives with Expected Hypervolume Improvement", NeurIPS 2021): the front so far is
uncertain too, so each posterior sample has its own, and candidates of a batch are picked one by one given the picked.
"""

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.core.problem import Problem
from pymoo.optimize import minimize
from scipy.stats import qmc
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern

from mva_ray.records import Coefficients, Outcome
from mva_ray.search.designs import sobol
from mva_ray.search.ledger import Ledger

Array = NDArray[np.float64]
_SAMPLES = 64
_BOX_POINTS = 2048
_NOISE_FLOOR = 1e-6


class SurrogateProposer:
    """Proposes the references, a few Sobol points, then batches by expected hypervolume improvement.

    Args:
        ledger: references and budget; references are proposed outside the bounds too.
        bounds: (lower, upper) of each coefficient.
        n_values: number of rewards.
        population: how many to propose at once after the first.
        seed: of the design, the posterior samples and the search over the posterior.
    """

    def __init__(
        self, ledger: Ledger, bounds: Sequence[tuple[float, float]], n_values: int, population: int, seed: int
    ) -> None:
        self._ledger = ledger
        self._n_values = n_values
        self._lower, self._upper = np.array(bounds, dtype=float).T
        self._population = population
        self._seed = seed

    def ask(self) -> list[Coefficients]:
        """See `Proposer.ask`."""
        self._ledger.check_all_told()
        if not self._ledger.left:
            return []
        if references := self._ledger.references():
            return self._ledger.ask(references)
        known = self._ledger.succeeded
        wanted = min(self._ledger.left, self._population)
        improving = self._improving(known, wanted) if len(known) > len(self._lower) else []
        return self._ledger.ask(improving or self._space_filling(wanted))

    def tell(self, outcomes: Sequence[Outcome]) -> None:
        """See `Proposer.tell`."""
        self._ledger.tell(outcomes)

    def _space_filling(self, count: int) -> list[Coefficients]:
        """Sobol points that are new; every call goes on in the same sequence."""
        bounds = list(zip(self._lower, self._upper, strict=True))
        return self._new(sobol(bounds, 2 * count, len(self._ledger.told), self._seed))[:count]

    def _improving(self, known: Sequence[Outcome], count: int) -> list[Coefficients]:
        rows = [outcome.coefficients for outcome in known]
        rewards = np.array([outcome.rewards for outcome in known])
        errors = np.array([outcome.errors or np.zeros(rewards.shape[1]) for outcome in known])
        model = Posterior(np.array(rows), rewards, errors)
        rng = np.random.default_rng([self._seed, len(self._ledger.told)])
        pool = self._pool(model, rng)
        if not pool:
            return []
        samples = model.sample(np.array([*rows, *pool]), _SAMPLES, rng)
        return [pool[i] for i in pick_batch(samples[:, : len(known)], samples[:, len(known) :], count, rng)]

    def _pool(self, model: "Posterior", rng: np.random.Generator) -> list[Coefficients]:
        """New candidates worth a look: NSGA-II's fronts of a plain and an optimistic posterior, and random ones."""
        rows = [rng.uniform(self._lower, self._upper, (128, len(self._lower)))]
        for optimism in (0.0, 1.0):
            problem = _PosteriorProblem(model, optimism, self._n_values, self._lower, self._upper)
            found = minimize(problem, NSGA2(pop_size=64), ("n_gen", 30), seed=int(rng.integers(2**31)))
            rows.append(np.atleast_2d(found.X))
        return self._new(np.vstack(rows))

    def _new(self, rows: Array) -> list[Coefficients]:
        return self._ledger.new(np.clip(rows, self._lower, self._upper))


class Posterior:
    """Independent Gaussian processes, one a value: Matérn 5/2 with a length scale a coefficient, given noise.

    Args:
        coefficients: [n, d].
        rewards: [n, k], higher is better.
        errors: [n, k] standard errors of the rewards; they are the noise, and no other is fitted.
    """

    def __init__(self, coefficients: Array, rewards: Array, errors: Array) -> None:
        self._center = coefficients.mean(axis=0)
        self._width = np.maximum(np.ptp(coefficients, axis=0), 1e-9)
        self._mean = rewards.mean(axis=0)
        self._scale = np.where(np.ptp(rewards, axis=0) > 0, rewards.std(axis=0), 1.0)
        inputs = self._inputs(coefficients)
        targets = (rewards - self._mean) / self._scale
        noise = np.maximum((errors / self._scale) ** 2, _NOISE_FLOOR)
        self._processes = [_fit(inputs, targets[:, i], noise[:, i]) for i in range(rewards.shape[1])]

    def predict(self, coefficients: Array) -> tuple[Array, Array]:
        """Mean and standard deviation [m, k] of the true rewards."""
        means, deviations = zip(
            *(process.predict(self._inputs(coefficients), return_std=True) for process in self._processes), strict=True
        )
        return np.stack(means, 1) * self._scale + self._mean, np.stack(deviations, 1) * self._scale

    def sample(self, coefficients: Array, count: int, rng: np.random.Generator) -> Array:
        """Joint draws of the true rewards [count, m, k]."""
        draws = [
            process.sample_y(self._inputs(coefficients), count, random_state=int(rng.integers(2**31))).T
            for process in self._processes
        ]
        return np.asarray(np.stack(draws, 2) * self._scale + self._mean)

    def _inputs(self, coefficients: Array) -> Array:
        return np.asarray((coefficients - self._center) / self._width)


def _fit(inputs: Array, targets: Array, noise: Array) -> GaussianProcessRegressor:
    kernel = ConstantKernel(1.0, (0.05, 20.0)) * Matern(np.full(inputs.shape[1], 0.5), (0.1, 10.0), nu=2.5)
    process = GaussianProcessRegressor(kernel, alpha=noise, n_restarts_optimizer=2, random_state=0)
    with warnings.catch_warnings():  # a length scale at its bound is an answer: the reward ignores that coefficient
        warnings.simplefilter("ignore", ConvergenceWarning)
        process.fit(inputs, targets)
    return process


class _PosteriorProblem(Problem):
    """Minimises -(mean + optimism * deviation)."""

    def __init__(self, model: Posterior, optimism: float, n_values: int, lower: Array, upper: Array) -> None:
        super().__init__(n_var=len(lower), n_obj=n_values, xl=lower, xu=upper)
        self._model, self._optimism = model, optimism

    def _evaluate(self, x: Array, out: dict[str, Array], *args: object, **kwargs: object) -> None:
        means, deviations = self._model.predict(x)
        out["F"] = -(means + self._optimism * deviations)


def pick_batch(known: Array, pool: Array, count: int, rng: np.random.Generator) -> list[int]:
    """Greedy batch by expected hypervolume improvement, which is what keeps its members apart.

    Hypervolume is the share of random points of a box that some reward vector dominates, so any number of values costs
    the same. The box reaches from the worst known reward to the best that any draw promises.

    Args:
        known: [s, n, k] draws of the rewards of evaluated candidates.
        pool: [s, m, k] draws, jointly with `known`, of those to pick from.
        count: how many to pick.

    Returns:
        at most `count` indices of the pool, the most promising first; fewer where no other improves anything.
    """
    lower = known.mean(axis=0).min(axis=0)
    upper = np.maximum(known.max(axis=(0, 1)), pool.max(axis=(0, 1)))
    points = qmc.Sobol(known.shape[2], seed=rng).random(_BOX_POINTS) * (upper - lower) + lower
    uncovered = np.stack([~_dominated(points, draw).any(axis=0) for draw in known])
    gains = np.stack([_dominated(points, draw) for draw in pool]) & uncovered[:, None]
    picked: list[int] = []
    for _ in range(count):
        improvement = gains.sum(axis=(0, 2))
        best = int(improvement.argmax())
        if not improvement[best]:
            break
        picked.append(best)
        gains &= ~gains[:, best, None]
    return picked


def _dominated(points: Array, rewards: Array) -> NDArray[np.bool_]:
    """[rewards, points]: whether the reward vector is at least as high as the point on every value."""
    result: NDArray[np.bool_] = np.logical_and.reduce(
        [rewards[:, None, i] >= points[None, :, i] for i in range(points.shape[1])]
    )
    return result

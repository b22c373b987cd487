"""Gaussian processes of the rewards, and the batch of candidates that promises most hypervolume.

The acquisition is the noisy expected hypervolume improvement of a batch (Daulton, Balandat, Bakshy, "Parallel Bayesian
Optimization of Multiple Noisy Objectives with Expected Hypervolume Improvement", NeurIPS 2021): the front so far is
uncertain too, so each posterior draw has its own, and candidates of a batch are picked one by one given the picked.
Constraints are drawn with the rewards, and only feasible candidates dominate anything.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from mva_ray.maths.prompt_effects import paired_means
from mva_ray.records import Coefficients, Outcome, Proposal
from mva_ray.search.acquisition import nadir, non_dominated, pick_batch
from mva_ray.search.designs import sobol
from mva_ray.search.gaussian_process import Posterior
from mva_ray.search.ledger import Ledger

Array = NDArray[np.float64]
_SAMPLES = 64
_RANDOM = 256
_GENERATIONS = 12
_PARENTS = 64
_POOL = 160
_MOVES = (0.1, 0.03, 0.01)
"""How far children lie from the line through their parents, as shares of the bounds' width."""

_WORST = 1e9
_SURE = 3.0
"""So many standard deviations apart, one candidate is better than another for sure."""


class SurrogateProposer:
    """Proposes the references, then batches by expected hypervolume improvement, and Sobol points where none is to be.

    After the references several batches may be at work at once, so that nobody waits while the next one is found: it
    reckons with what those that are pending may bring. Where candidates answer some of the prompts alone, the answers
    that are left then go to candidates, known or new, that answer all of them: those that promise most beside others
    that do.

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
        if not self._ledger.left and self._ledger.draws_pending:  # which answer all depends on all that was answered
            return False
        return len(self._ledger.pending) <= self._most_pending and not self._ledger.references_pending

    def ask(self) -> list[Proposal]:
        """See `Proposer.ask`."""
        if not self._ledger.left:
            return self._ledger.complete(self._worth_completing(self._population))
        if references := self._ledger.references():
            return self._ledger.ask(references)
        improving = self._improving(self._population) if self._learns else []
        return self._ledger.ask(improving or self._space_filling(self._population))

    def tell(self, outcomes: Sequence[Outcome]) -> None:
        """See `Proposer.tell`."""
        self._ledger.tell(outcomes)

    def _space_filling(self, count: int) -> list[Coefficients]:
        """Points of one Sobol sequence, as many passed over as candidates are told or pending."""
        passed = len(self._ledger.told) + len(self._ledger.pending)
        return self._ledger.new(sobol(self._bounds.tolist(), 2 * count, passed, self._seed))[:count]

    @property
    def _learns(self) -> bool:
        """Whether enough is known for a model."""
        return len(self._ledger.succeeded) > len(self._bounds)

    def _rng(self) -> np.random.Generator:
        return np.random.default_rng([self._seed, len(self._ledger.told), len(self._ledger.pending)])

    def _improving(self, count: int) -> list[Coefficients]:
        """At most `count` candidates that promise more hypervolume; none where nothing does."""
        pending, rng = self._ledger.pending, self._rng()
        with threadpool_limits(1):  # with more threads sums are rounded otherwise, and proposals would depend on them
            model = Model(self._ledger)
            new = self._pool(model, rng)
            if not new:
                return []
            pool = [*pending, *new]
            known, drawn = model.draw(model.feasible, pool, rng)
            return [pool[i] for i in pick_batch(known, drawn, model.nadir(pool), count, rng, len(pending))]

    def _worth_completing(self, count: int) -> list[Coefficients]:
        """At most `count` candidates, partial or new, that promise most hypervolume beside those with all prompts."""
        pending, partial, rng = self._ledger.pending, self._ledger.partial, self._rng()
        if not self._learns:
            return self._ledger.affordable(partial)[:count]
        with threadpool_limits(1):
            model = Model(self._ledger)
            new = self._ledger.affordable([*partial, *self._pool(model, rng)])
            if not new:
                return []
            pool = [*pending, *new]
            whole = [row for row in model.feasible if row not in partial and row not in pending]
            known, drawn = model.draw(whole, pool, rng)
            return [pool[i] for i in pick_batch(known, drawn, model.nadir(pool), count, rng, len(pending))]

    def _pool(self, model: "Model", rng: np.random.Generator) -> list[Coefficients]:
        """New candidates worth a look: the fronts of the plain and the optimistic posterior, random ones."""
        lower, upper = self._bounds.T
        random = rng.uniform(lower, upper, (_RANDOM, len(lower)))
        fronts = [self._posterior_front(model, optimism, random, rng) for optimism in (0.0, 1.0)]
        new = self._ledger.new(np.vstack([*fronts, random[:_PARENTS]]))
        kept = sorted(rng.permutation(len(new))[:_POOL])
        return [new[index] for index in kept]

    def _posterior_front(self, model: "Model", optimism: float, rows: Array, rng: np.random.Generator) -> Array:
        """The non-dominated of these rows and of what comes of crossing and moving them, generation by generation."""
        lower, upper = self._bounds.T
        judged = model.optimistic(rows, optimism)
        for _ in range(_GENERATIONS):
            best = rng.permutation(np.flatnonzero(non_dominated(judged)))[:_PARENTS]
            rows, judged = rows[best], judged[best]
            first, second = rows[rng.integers(len(rows), size=(2, _PARENTS))]
            between = rng.uniform(-0.25, 1.25, (_PARENTS, 1))
            moves = rng.normal(size=first.shape) * rng.choice(_MOVES, (_PARENTS, 1)) * (upper - lower)
            children = np.clip(first + between * (second - first) + moves, lower, upper)
            rows, judged = np.vstack([rows, children]), np.vstack([judged, model.optimistic(children, optimism)])
        return rows[non_dominated(judged)]


class Model:
    """What is believed of rewards and constraints, given all that was told.

    Failure is a constraint like others: 1 where a candidate failed and -1 where it did not.
    """

    def __init__(self, ledger: Ledger) -> None:
        known = ledger.succeeded
        self._rows = np.array([outcome.coefficients for outcome in known])
        constraints = np.array([outcome.constraints for outcome in known])
        self.feasible = [outcome.coefficients for outcome in known if outcome.is_feasible]
        self._rewards = Posterior(self._rows, *_means(known, ledger.n_prompts))
        self._constraints = [Posterior(self._rows, constraints, None)] if constraints.size else []
        if len(known) < len(ledger.told):
            told = sorted(ledger.told)
            failed = np.array([[1.0 if ledger.told[row].rewards is None else -1.0] for row in told])
            self._constraints.append(Posterior(np.array(told), failed, None))

    def nadir(self, pool: Sequence[Coefficients]) -> Array:
        """[k], see `nadir`; of the feasible candidates, and of what the pool brings if it is a deviation worse.

        What was found alone would say nothing of ends of the front that were not found, and they would never be.
        """
        rewards = self.optimistic(np.array(pool), -1.0)
        known = self._rewards.expect(np.array(self.feasible) if self.feasible else self._rows)
        return nadir(np.vstack([known, rewards[rewards[:, 0] > -_WORST]]))

    def predict(self, rows: Array) -> tuple[Array, Array]:
        """Mean rewards and their standard deviations [n, k]."""
        return self._rewards.predict(rows)

    def optimistic(self, rows: Array, optimism: float) -> Array:
        """Rewards [n, k], so many standard deviations better than expected.

        Where constraints are violated even so, lower than all others, and the lower the more they are.
        """
        violated = np.zeros((len(rows), 1))
        for posterior in self._constraints:
            violated += np.maximum(_shifted(posterior, rows, -optimism), 0).sum(axis=1, keepdims=True)
        return np.where(violated > 0, -_WORST * (1 + violated), _shifted(self._rewards, rows, optimism))

    def draw(
        self, known: Sequence[Coefficients], pool: Sequence[Coefficients], rng: np.random.Generator
    ) -> tuple[Array, Array]:
        """Joint draws of the rewards of those known that may be on the front [s, n, k] and of the pool [s, m, k].

        Rewards are minus infinity in draws where the candidate of the pool is infeasible.
        """
        known = self._contenders(known)
        rewards = self._rewards.sample(np.array([*known, *pool]), _SAMPLES, rng)
        new = rewards[:, len(known) :]
        for posterior in self._constraints:
            infeasible = (posterior.sample(np.array(pool), _SAMPLES, rng) > 0).any(axis=2)
            new[infeasible] = -np.inf
        return rewards[:, : len(known)], new

    def _contenders(self, rows: Sequence[Coefficients]) -> list[Coefficients]:
        """Those that none of the others surely dominates: draws of the rest would cover nothing."""
        if not rows:
            return []
        means, deviations = self._rewards.predict(np.array(rows))
        worst, best = means - _SURE * deviations, means + _SURE * deviations
        dominated = np.any((worst[:, None] > best[None]).all(axis=2), axis=0).tolist()
        return [row for row, is_dominated in zip(rows, dominated, strict=True) if not is_dominated]


def _shifted(posterior: Posterior, rows: Array, deviations: float) -> Array:
    """Means, so many standard deviations higher."""
    if not deviations:
        return posterior.expect(rows)
    means, spreads = posterior.predict(rows)
    return means + deviations * spreads


def _means(known: Sequence[Outcome], n_prompts: int) -> tuple[Array, Array]:
    """Mean rewards and their standard errors [n, k]: paired where it is known what each prompt brought.

    Args:
        n_prompts: of the whole split; at least those that were answered.
    """
    if not all(outcome.answers for outcome in known):
        rewards = np.array([outcome.rewards for outcome in known])
        return rewards, np.array([outcome.errors or np.zeros(rewards.shape[1]) for outcome in known])
    n_values, n_prompts = len(known[0].rewards or ()), max(n_prompts, *(1 + max(told.answers) for told in known))
    table = np.full((n_values, len(known), n_prompts), np.nan)
    for row, outcome in enumerate(known):
        table[:, row, [*outcome.answers]] = np.array([*outcome.answers.values()]).T
    means, errors = zip(*map(paired_means, table), strict=True)
    return np.stack(means, axis=1), np.stack(errors, axis=1)

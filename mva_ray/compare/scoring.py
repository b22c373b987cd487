"""From a method's adapters to its candidates: searched on the search prompts, its front scored on held-out ones."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

from mva_ray.compare.domains import Domain, fixed, searched
from mva_ray.compare.methods import Method
from mva_ray.compare.results import Candidate, Rewards
from mva_ray.config import RunConfig
from mva_ray.constraints import Limits, violation
from mva_ray.maths.pareto import front_mask
from mva_ray.records import Evaluation
from mva_ray.search.proposer import Proposer, make_proposer
from mva_ray.search.results import Reader
from mva_ray.search.rounds import Rounds

Blend = Mapping[str, float]
"""Coefficients by adapter; one that is not named has 0."""


class Evaluate(Protocol):
    """Evaluates blends on a split; rows in the order of the blends, failed ones among them, with generations."""

    def evaluate(self, split: str, blends: Sequence[Blend]) -> list[Evaluation]: ...


@dataclass
class Scored:
    """A method's front on held-out prompts, what failed, and how many models were evaluated on the way.

    `searched` has the means on the search prompts of those that did not fail.
    """

    candidates: list[Candidate] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    evaluations: int = 0
    searched: list[dict[str, float]] = field(default_factory=list)


@dataclass(frozen=True)
class _Choice:
    """One model of a method, as it is evaluated and as the report calls it."""

    label: str
    blend: Blend
    coefficients: Mapping[str, float] = field(default_factory=dict)
    preference: Mapping[str, float] = field(default_factory=dict)


_Found = tuple[_Choice, Evaluation]


class Scoring:
    """Every method gets `compare.candidates` blends at most, or the models it trained.

    Args:
        limits: what a candidate has to keep to be on a front.
    """

    def __init__(self, config: RunConfig, evaluations: Evaluate, limits: Limits) -> None:
        self._config = config
        self._evaluations = evaluations
        self._limits = limits
        self._methods: dict[str, Scored] = {}
        self._held_out: dict[frozenset[tuple[str, float]], Evaluation] = {}

    def search(self, methods: Mapping[str, Method]) -> None:
        """Evaluate every method's models on the search prompts, and those that none dominates on the held-out ones.

        The methods search side by side, a round of each at a time: together they fill the engines, and what two of
        them ask for is evaluated once. None sees another's results.
        """
        found = self._searched(methods)
        best = {name: self._best(self._methods[name], of_method) for name, of_method in found.items()}
        rows = iter(self._score_held_out([choice.blend for of_method in best.values() for choice, _ in of_method]))
        for name, of_method in best.items():
            scored = self._methods[name]
            for (choice, found_by), row in zip(of_method, islice(rows, len(of_method)), strict=True):
                if problem := self._problem(row):
                    scored.failures.append(f"{choice.label}: {problem}")
                else:
                    scored.candidates.append(_candidate(choice, found_by, row))

    def _searched(self, methods: Mapping[str, Method]) -> dict[str, list[_Found]]:
        """What each method evaluated on the search prompts."""
        found: dict[str, list[_Found]] = {name: [] for name in methods}
        self._methods |= {name: Scored() for name in methods}
        walks = {name: self._walk(method, self._methods[name]) for name, method in methods.items()}
        asked = {name: next(walk) for name, walk in walks.items()}
        while asked:
            blends = [choice.blend for choices in asked.values() for choice in choices]
            rows = iter(self._evaluations.evaluate("search", blends))
            following = {}
            for name, choices in asked.items():
                answers = list(islice(rows, len(choices)))
                found[name] += zip(choices, answers, strict=True)
                with suppress(StopIteration):
                    following[name] = walks[name].send(answers)
            asked = following
        return found

    def _best(self, scored: Scored, found: Sequence[_Found]) -> list[_Found]:
        """Those of a method's models that keep the limits and that none of the others dominates."""
        scored.evaluations = len(found)
        scored.failures += [f"{choice.label}: {self._problem(row)}" for choice, row in found if row.failure]
        succeeded = [(choice, row) for choice, row in found if row.status == "ok"]
        scored.searched = [dict(row.reward_mean) for _, row in succeeded]
        feasible = [(choice, row) for choice, row in succeeded if not violation(row, self._limits)]
        if succeeded and not feasible:
            scored.failures.append(f"none of {len(succeeded)} candidates keeps the constraints")
        return self._front(feasible)

    def hold_out(self, methods: Sequence[Method]) -> None:
        """Score the base model and every adapter alone on the held-out prompts."""
        singles: dict[str, Blend] = {
            recipe.directory: {recipe.directory: 1.0} for m in methods for recipe in m.adapters
        }
        self._score_held_out([{}, *singles.values()])

    @property
    def base(self) -> Rewards:
        return rewards_by_value(self._held_out[frozenset()])

    def held_out(self, blend: Blend) -> Evaluation | None:
        """A blend's held-out evaluation, None where it failed or was not asked for."""
        row = self._held_out.get(frozenset(blend.items()))
        return row if row and row.status == "ok" else None

    def of(self, name: str) -> Scored:
        return self._methods.get(name, Scored())

    def _fixed(self, method: Method) -> list[_Choice]:
        """The models of a method that has no coefficients to search."""
        if method.models:
            return [_Choice(m.label, {m.recipe.directory: 1.0}, preference=m.preference) for m in method.models]
        rows = fixed(method.domain, self._config.bounds, self._config.compare.candidates)
        return [self._blend(method, row) for row in rows]

    def _domain(self, method: Method) -> Domain | None:
        """Where a method's coefficients are searched, if they are."""
        search, budget = self._config.search, self._config.compare.candidates
        return searched(method.domain, self._config.bounds, search.convex_partitions, budget)

    def _walk(self, method: Method, scored: Scored) -> Generator[list[_Choice], list[Evaluation]]:
        """A method's models in rounds, for each of which it is sent the evaluations; all at once where no search is.

        That a search stopped early is a failure of the method.
        """
        domain = None if method.models else self._domain(method)
        if not domain:
            yield self._fixed(method)
            return
        rounds, reader = Rounds(self._proposer(domain)), Reader(tuple(self._config.value_names), self._limits)
        while asked := rounds.ask():
            rows = yield [self._blend(method, domain.coefficients(one.coefficients)) for one in asked]
            for proposal, row in zip(asked, rows, strict=True):
                rounds.tell(reader.result(proposal, row))
        if rounds.too_many_failed:
            scored.failures.append(f"the search stopped: {rounds.too_many_failed}")

    def _proposer(self, domain: Domain) -> Proposer:
        search, budget = self._config.search, self._config.compare.candidates
        settings = search.model_copy(update={"candidates": budget, "population": min(search.generation_size, budget)})
        return make_proposer(settings, domain.bounds, len(self._config.values), domain.references, self._config.seed)

    def _blend(self, method: Method, row: Sequence[float]) -> _Choice:
        names, values = [recipe.directory for recipe in method.adapters], self._config.value_names
        label = ", ".join(f"{value} {number:g}" for value, number in zip(values, row, strict=True))
        blend = {name: number for name, number in zip(names, row, strict=True) if number}
        return _Choice(label, blend, coefficients=dict(zip(values, row, strict=True)))

    def _problem(self, row: Evaluation) -> str | None:
        """Why a held-out evaluation is on no front."""
        if row.failure:
            return f"{row.failure}: {row.error}"
        broken = violation(row, self._limits)
        return f"infeasible on the {row.split} prompts: {broken}" if broken else None

    def _front(self, found: Sequence[_Found]) -> list[_Found]:
        if not found:
            return []
        mask = front_mask([[row.reward_mean[value] for value in self._config.value_names] for _, row in found])
        return [pair for pair, on_front in zip(found, mask, strict=True) if on_front]

    def _score_held_out(self, blends: Sequence[Blend]) -> list[Evaluation]:
        rows = self._evaluations.evaluate("held_out", blends)
        self._held_out |= {frozenset(blend.items()): row for blend, row in zip(blends, rows, strict=True)}
        return rows


def rewards_by_value(row: Evaluation) -> Rewards:
    """One number a prompt for every value."""
    return {value: [scored.rewards[value] for scored in row.generations] for value in row.reward_mean}


def _candidate(choice: _Choice, searched: Evaluation, row: Evaluation) -> Candidate:
    return Candidate(
        label=choice.label,
        coefficients=dict(choice.coefficients),
        preference=dict(choice.preference),
        rewards=rewards_by_value(row),
        search_means=searched.reward_mean,
        completions=[scored.generation.completion for scored in row.generations],
        cut_off=row.metrics.get("truncated"),
    )

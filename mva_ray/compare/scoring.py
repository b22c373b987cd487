"""From a method's adapters to its candidates: searched on the search prompts, its front scored on held-out ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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

    def evaluate(self, split: str, blends: Sequence[Blend], what: str) -> list[Evaluation]: ...


@dataclass
class Scored:
    """A method's front on held-out prompts, what failed, and how many models were evaluated on the way."""

    candidates: list[Candidate] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    evaluations: int = 0


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

    def search(self, name: str, method: Method) -> None:
        """Evaluate a method's models on the search prompts, and those that none dominates on the held-out ones."""
        scored = self._methods[name] = Scored()
        domain = None if method.models else self._domain(method)
        found = self._searched(name, method, domain, scored) if domain else self._evaluate(name, self._fixed(method))
        scored.evaluations = len(found)
        scored.failures += [f"{choice.label}: {self._problem(row)}" for choice, row in found if row.failure]
        succeeded = [(choice, row) for choice, row in found if row.status == "ok"]
        feasible = [(choice, row) for choice, row in succeeded if not violation(row, self._limits)]
        if succeeded and not feasible:
            scored.failures.append(f"none of {len(succeeded)} candidates keeps the constraints")
        best = self._front(feasible)
        rows = self._score_held_out([choice.blend for choice, _ in best], name)
        for (choice, found_by), row in zip(best, rows, strict=True):
            if problem := self._problem(row):
                scored.failures.append(f"{choice.label}: {problem}")
            else:
                scored.candidates.append(_candidate(choice, found_by, row))

    def hold_out(self, methods: Sequence[Method]) -> None:
        """Score the base model and every adapter alone on the held-out prompts."""
        singles: dict[str, Blend] = {
            recipe.directory: {recipe.directory: 1.0} for m in methods for recipe in m.adapters
        }
        self._score_held_out([{}, *singles.values()], "single adapters")

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

    def _searched(self, name: str, method: Method, domain: Domain, scored: Scored) -> list[_Found]:
        """What the search of the coefficients evaluated; that it stopped early is a failure of the method."""
        rounds, reader = Rounds(self._proposer(domain)), Reader(tuple(self._config.value_names), self._limits)
        found: list[_Found] = []
        while asked := rounds.ask():
            new = self._evaluate(name, [self._blend(method, domain.coefficients(one.coefficients)) for one in asked])
            for proposal, (_, evaluation) in zip(asked, new, strict=True):
                rounds.tell(reader.result(proposal, evaluation))
            found += new
        if rounds.too_many_failed:
            scored.failures.append(f"the search stopped: {rounds.too_many_failed}")
        return found

    def _proposer(self, domain: Domain) -> Proposer:
        search, budget = self._config.search, self._config.compare.candidates
        settings = search.model_copy(update={"candidates": budget, "population": min(search.generation_size, budget)})
        return make_proposer(settings, domain.bounds, len(self._config.values), domain.references, self._config.seed)

    def _blend(self, method: Method, row: Sequence[float]) -> _Choice:
        names, values = [recipe.directory for recipe in method.adapters], self._config.value_names
        label = ", ".join(f"{value} {number:g}" for value, number in zip(values, row, strict=True))
        blend = {name: number for name, number in zip(names, row, strict=True) if number}
        return _Choice(label, blend, coefficients=dict(zip(values, row, strict=True)))

    def _evaluate(self, name: str, choices: Sequence[_Choice]) -> list[_Found]:
        rows = self._evaluations.evaluate("search", [choice.blend for choice in choices], name)
        return list(zip(choices, rows, strict=True))

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

    def _score_held_out(self, blends: Sequence[Blend], what: str) -> list[Evaluation]:
        rows = self._evaluations.evaluate("held_out", blends, what)
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

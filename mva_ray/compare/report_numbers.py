"""Every number of the report, from the records alone."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from mva_ray.compare.results import NO_PENALTY, Candidate, ComparisonResult, MethodResult, Rewards
from mva_ray.compare.wins import Utilities, choose, judged_wins, prompts_won, reward_wins, utilities
from mva_ray.maths.bootstrap import Interval, Resamples, interval
from mva_ray.maths.pareto import coverage, front_mask, mean_inner_product, spacing
from mva_ray.maths.redundancy import predictability, reliability
from mva_ray.search.references import lattice
from mva_ray.table.cautions import answers_cut_off, redundant_values, some_of, values_by_luck

Floats = NDArray[np.float64]
RESAMPLES = 1000
QUARTERS = (0.25, 0.5, 0.75)
PREFERENCES = 10
"""Partitions of the lattice of preference weights that the inner product is the mean over."""

AIR = 0.1
"""The reference point lies this share of each value's range below the worst mean (see Ishibuchi et al., "How to
Specify a Reference Point in Hypervolume Calculation for Fair Performance Comparison", Evolutionary Computation 2018:
at the worst mean itself the extremes of a front would count for nothing)."""


@dataclass(frozen=True)
class Box:
    """What hypervolumes are shares of: from the reference point `low` to the ideal `high`, one number a value."""

    low: Floats
    high: Floats


@dataclass(frozen=True)
class Difference:
    """A method minus a baseline, over the seeds that both have; `ahead` counts those where the method is higher."""

    interval: Interval
    ahead: int
    seeds: int


@dataclass(frozen=True)
class MethodNumbers:
    """`by_seed` is NaN for a seed without candidates; `front` is the mean number of candidates on it.

    `inner_product` and `spacing` are means over the seeds, of fronts in shares of the box.
    """

    name: str
    title: str
    description: str
    yardstick: bool
    by_seed: list[float]
    hypervolume: Interval
    differences: dict[str, Difference]
    candidates: int
    front: float
    inner_product: float
    spacing: float
    evaluations: int
    training_seconds: float
    failures: list[str]


@dataclass(frozen=True)
class AtEqual:
    """What methods give of `wanted` where `given` is at least `level`, by the name of the method.

    Args:
        most: of `wanted`, mean over the seeds; only methods all of whose seeds reach the level.
        reached: seeds that reach the level.
        differences: against `Numbers.baseline`, where that reaches the level too.
    """

    given: str
    wanted: str
    level: float
    most: dict[str, Interval]
    reached: dict[str, int]
    differences: dict[str, Interval]


@dataclass(frozen=True)
class SingleNumbers:
    """A value's adapter alone on its own value; `difference` is against plain DPO, None for that itself."""

    penalty: str
    value: str
    reward: Interval
    difference: Interval | None


@dataclass(frozen=True)
class AlphaNumbers:
    penalty: str
    alpha: float
    cosine: float
    cka: float
    own: dict[str, Interval]
    hypervolume: Interval | None


class Numbers:
    """All numbers of a comparison. Everything sees the same draws of the bootstrap, so that differences are paired."""

    def __init__(self, result: ComparisonResult) -> None:
        self.result = result
        self.box = box(result)
        self._draws = Resamples.draw(len(result.prompts), len(result.seeds), RESAMPLES)
        self._volumes = {name: self._by_seed(self._run_volumes(name)) for name in result.titles}

    @cached_property
    def outside(self) -> int:
        """Candidates whose means are worse than the reference point, or better than the ideal, in some value."""
        return int(((self._means < self.box.low) | (self._means > self.box.high)).any(axis=1).sum())

    @cached_property
    def _means(self) -> Floats:
        """[candidates of all methods and seeds, values]."""
        return means_table((candidate.rewards for candidate in self.result.candidates), self.result.values)

    @cached_property
    def predicted(self) -> dict[str, float]:
        """R² of each value, predicted from the others over all that was searched; empty while it is too little."""
        means = searched_means(self.result)
        if len(means) <= 2 * len(self.result.values):
            return {}
        return dict(zip(self.result.values, predictability(some_of(means)), strict=True))

    @cached_property
    def reliabilities(self) -> dict[str, float]:
        """Of each value over all candidates, see `reliability`; empty while there are too few to know."""
        table = _answers(self.result)
        return dict(zip(self.result.values, reliability(table), strict=True)) if _enough(table) else {}

    @cached_property
    def methods(self) -> list[MethodNumbers]:
        return [self._method(name) for name in self.result.titles]

    @property
    def baseline(self) -> str:
        """The first baseline that was compared; "" without one."""
        return next((name for name in self.result.baselines if name in self.result.titles), "")

    @cached_property
    def at_equal(self) -> list[AtEqual]:
        """For every pair of two or three values a table at quarters of the given one's range, whatever a third one is;
        nothing for more values, which would be too many tables to read."""
        values = self.result.values
        if not 2 <= len(values) <= 3:
            return []
        means = self._means if len(self._means) else np.zeros((1, len(values)))
        low, span = means.min(axis=0), np.ptp(means, axis=0)
        return [
            self._at_equal(values[given], values[wanted], float(low[given] + share * span[given]))
            for given, wanted in permutations(range(len(values)), 2)
            for share in QUARTERS
        ]

    @cached_property
    def coverage(self) -> Floats:
        """[methods, methods]: the share of the column's front that the row's front covers, mean over common seeds."""
        fronts = {(run.name, run.seed): front(run, self.result.values) for run in self.result.methods if run.candidates}

        def share(first: str, second: str) -> float:
            common = [seed for seed in self.result.seeds if (first, seed) in fronts and (second, seed) in fronts]
            shares = [coverage(fronts[first, seed], fronts[second, seed]) for seed in common if first != second]
            return float(np.mean(shares)) if shares else np.nan

        names = list(self.result.titles)
        return np.array([[share(first, second) for second in names] for first in names])

    @property
    def preferences(self) -> list[dict[str, float]]:
        """The preference weights to show win rates for."""
        return self.result.preferences or [dict.fromkeys(self.result.values, 1.0)]

    @cached_property
    def wins(self) -> Floats:
        """[methods, methods]: win rates by rewards for the first of the preferences."""
        return reward_wins(self.result, self.preferences[0])

    @cached_property
    def wins_over_baseline(self) -> list[dict[str, Interval]]:
        """For each of the preferences: how often each other method wins against `baseline`, NaN without a seed."""
        names = [name for name in self.result.titles if self.baseline and name != self.baseline]
        found = [utilities(self.result, preference) for preference in self.preferences]
        return [{name: self._interval(self._won(name, one)) for name in names} for one in found]

    def _won(self, name: str, found: Utilities) -> Floats:
        def won(seed: int) -> Floats | None:
            prompts = prompts_won(found, name, self.baseline, seed)
            return None if prompts is None else self._draws.prompts @ prompts

        return self._by_seed(won)

    @cached_property
    def answering(self) -> list[tuple[str, Candidate]]:
        """The subject and the baseline with what they put forward for the first preference; [] without both's texts."""
        chosen, seed = choose(self.result, self.preferences[0]), self.result.seeds[0]
        names = [name for name in (self.baseline, self.result.subject) if name]
        found = [(name, chosen[name, seed]) for name in dict.fromkeys(names) if (name, seed) in chosen]
        return found if len(found) > 1 and all(one.completions for _, one in found) else []

    @cached_property
    def judged(self) -> Floats | None:
        return judged_wins(self.result) if self.result.judge else None

    @cached_property
    def singles(self) -> list[SingleNumbers]:
        forms = dict.fromkeys(one.penalty for one in self.result.singles)
        return [self._single(penalty, value) for penalty in forms for value in self.result.values]

    @cached_property
    def alphas(self) -> list[AlphaNumbers]:
        """In the order of the forms, then by alpha."""
        settings = dict.fromkeys((one.penalty, one.alpha) for one in self.result.alphas)
        forms = list(dict.fromkeys(penalty for penalty, _ in settings))
        return [self._alpha(*one) for one in sorted(settings, key=lambda one: (forms.index(one[0]), one[1]))]

    def _method(self, name: str) -> MethodNumbers:
        runs = [run for run in self.result.methods if run.name == name]
        fronts = [front(run, self.result.values) for run in runs if run.candidates]
        shares = [(each - self.box.low) / (self.box.high - self.box.low) for each in fronts]
        even = [one for one in map(spacing, shares) if not np.isnan(one)]
        preferences = np.array(lattice(len(self.result.values), PREFERENCES))
        return MethodNumbers(
            name=name,
            title=runs[0].title,
            description=runs[0].description,
            yardstick=runs[0].yardstick,
            by_seed=self._volumes[name][:, 0].tolist(),
            hypervolume=self._interval(self._volumes[name]),
            differences={
                other: self._difference(name, other)
                for other in self.result.baselines
                if other != name and other in self._volumes
            },
            candidates=sum(len(run.candidates) for run in runs),
            front=float(np.mean([len(each) for each in fronts])) if fronts else np.nan,
            inner_product=(
                float(np.mean([mean_inner_product(each, preferences) for each in shares])) if shares else np.nan
            ),
            spacing=float(np.mean(even)) if even else np.nan,
            evaluations=sum(run.evaluations for run in runs),
            training_seconds=sum(run.training_seconds for run in runs),
            failures=[f"seed {run.seed}: {failure}" for run in runs for failure in run.failures],
        )

    def _at_equal(self, given: str, wanted: str, level: float) -> AtEqual:
        pair = given, wanted
        measures = {name: self._by_seed(self._attained(name, pair, level)) for name in self.result.titles}
        reached = {name: int((~np.isnan(of_seeds[:, 0])).sum()) for name, of_seeds in measures.items()}
        whole = {name: measures[name] for name, seeds in reached.items() if seeds == len(self.result.seeds)}
        others = [name for name in whole if self.baseline in whole and name != self.baseline]
        return AtEqual(
            given=given,
            wanted=wanted,
            level=level,
            most={name: self._interval(of_seeds) for name, of_seeds in whole.items()},
            reached=reached,
            differences={name: self._interval(whole[name] - whole[self.baseline]) for name in others},
        )

    def _attained(self, name: str, values: Sequence[str], level: float) -> Callable[[int], Floats | None]:
        def attained(seed: int) -> Floats | None:
            run = self.result.run(name, seed)
            tables = [[candidate.rewards[value] for value in values] for candidate in run.candidates] if run else []
            return self._draws.attained(np.array(tables).transpose(0, 2, 1), level) if tables else None

        return attained

    def _difference(self, name: str, other: str) -> Difference:
        measures = self._volumes[name] - self._volumes[other]
        known = measures[~np.isnan(measures[:, 0]), 0]
        return Difference(self._interval(measures), int((known > 0).sum()), len(known))

    def _single(self, penalty: str, value: str) -> SingleNumbers:
        own, plain = self._own(penalty, value), self._own(NO_PENALTY, value)
        difference = self._interval(own - plain) if penalty != NO_PENALTY else None
        return SingleNumbers(penalty, value, self._interval(own), difference)

    def _own(self, penalty: str, value: str) -> Floats:
        wanted = [one for one in self.result.singles if (one.penalty, one.value) == (penalty, value)]
        rewards = {one.seed: one.rewards for one in wanted}
        return self._by_seed(lambda seed: self._mean(rewards.get(seed), value))

    def _alpha(self, penalty: str, alpha: float) -> AlphaNumbers:
        found = {one.seed: one for one in self.result.alphas if (one.penalty, one.alpha) == (penalty, alpha)}

        def volume(seed: int) -> Floats | None:
            return self._candidates_volume(found[seed].candidates) if seed in found else None

        def own(value: str) -> Interval:
            return self._interval(
                self._by_seed(lambda seed: self._mean(found[seed].own if seed in found else None, value))
            )

        with_fronts = any(one.candidates for one in found.values())
        return AlphaNumbers(
            penalty,
            alpha,
            cosine=float(np.mean([one.cosine for one in found.values()])),
            cka=float(np.mean([one.cka for one in found.values()])),
            own={value: own(value) for value in self.result.values},
            hypervolume=self._interval(self._by_seed(volume)) if with_fronts else None,
        )

    def _run_volumes(self, name: str) -> Callable[[int], Floats | None]:
        def volume(seed: int) -> Floats | None:
            run = self.result.run(name, seed)
            return self._candidates_volume(run.candidates) if run else None

        return volume

    def _candidates_volume(self, candidates: Sequence[Candidate]) -> Floats | None:
        if not candidates:
            return None
        tables = [[candidate.rewards[value] for value in self.result.values] for candidate in candidates]
        return self._draws.hypervolumes(np.array(tables).transpose(0, 2, 1), self.box.low, self.box.high)

    def _mean(self, rewards: Rewards | None, value: str) -> Floats | None:
        return None if rewards is None else self._draws.prompts @ np.array(rewards[value])

    def _by_seed(self, measure: Callable[[int], Floats | None]) -> Floats:
        """[seeds, 1 + resamples], NaN where the measure has nothing for a seed."""
        nothing = np.full(len(self._draws.prompts), np.nan)
        return np.stack([nothing if (one := measure(seed)) is None else one for seed in self.result.seeds])

    def _interval(self, measures: Floats) -> Interval:
        known = int((~np.isnan(measures[:, 0])).sum())
        return interval(self._draws.over_seeds(measures), known)


def box(result: ComparisonResult) -> Box:
    """That of the config; else of all means on the held-out prompts, the base model's too, with `AIR` below."""
    if result.box:
        return Box(*np.array([result.box[value] for value in result.values]).T)
    means = means_table([result.base, *(candidate.rewards for candidate in result.candidates)], result.values)
    low, high = means.min(axis=0), means.max(axis=0)
    span = np.where(high > low, high - low, 1.0)
    return Box(low - AIR * span, np.where(high > low, high, low + span))


def cautions(result: ComparisonResult) -> list[str]:
    """Sentences on what misleads: values that are one over all candidates, or luck, and answers that are cut off."""
    table = _answers(result)
    if not len(table):
        return []
    errors = table.std(axis=1) / np.sqrt(table.shape[1])
    lines = redundant_values(searched_means(result), errors, result.values)
    if _enough(table):
        lines += values_by_luck(reliability(table), table.shape[1], result.values)
    return [f"{line}." for line in [*lines, *answers_cut_off(cut_off(result) or 0.0, "held-out")]]


def searched_means(result: ComparisonResult) -> Floats:
    """[models, values]: means on the search prompts of all that was evaluated there, each once.

    Methods share models, and one that is there twice would be predicted by itself. Of results that have them not, means
    on held-out prompts of the methods' fronts; they make values look more like functions of each other than they are,
    since a front is a surface of one dimension less.
    """
    searched = [[row[value] for value in result.values] for run in result.methods for row in run.searched]
    means = np.array(searched) if searched else means_table((one.rewards for one in result.candidates), result.values)
    _, first = np.unique(means, axis=0, return_index=True)
    return np.asarray(means[np.sort(first)])


def _answers(result: ComparisonResult) -> Floats:
    """[candidates of all methods and seeds, prompts, values]."""
    rewards = [[row[value] for value in result.values] for row in (one.rewards for one in result.candidates)]
    return np.moveaxis(np.array(rewards), 1, 2) if rewards else np.zeros((0, len(result.prompts), len(result.values)))


def _enough(answers: Floats) -> bool:
    """Whether there are candidates and prompts to compare."""
    candidates, prompts, values = answers.shape
    return bool(candidates > 2 * values and prompts > 1)


def cut_off(result: ComparisonResult) -> float | None:
    """The share of all candidates' held-out answers that the token limit ended; None where no candidate has it."""
    shares = [candidate.cut_off for candidate in result.candidates if candidate.cut_off is not None]
    return float(np.mean(shares)) if shares else None


def front(run: MethodResult, values: Sequence[str]) -> Floats:
    """[candidates on the front, values]: their means on the held-out prompts."""
    means = means_table((candidate.rewards for candidate in run.candidates), values)
    return means[front_mask(means)]


def means_table(rewards: Iterable[Mapping[str, Sequence[float]]], values: Sequence[str]) -> Floats:
    """[rows, values]."""
    return np.array([[np.mean(row[value]) for value in values] for row in rewards]).reshape(-1, len(values))

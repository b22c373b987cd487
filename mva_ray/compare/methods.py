"""The methods that are compared: which adapters each one trains, on what, and which models it makes of them.

A recipe is one adapter to train. Recipes with the same content have the same key, so methods share adapters: SOUP
and MVA without HSIC blend the very same ones.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mva_ray.adapters.hashes import delta_hash
from mva_ray.compare.domains import DomainName
from mva_ray.config.training import PENALTY_WEIGHTS, PenaltySettings, Training
from mva_ray.errors import RunError
from mva_ray.maths.consistency import consistency
from mva_ray.maths.dpo import modpo_margin, modpo_scale
from mva_ray.records import Coefficients, PreferencePair
from mva_ray.training.job import TrainingJob

NO_PENALTY = PenaltySettings(kind="none", weight=0.0)
SMALLEST_WEIGHT = 0.05
"""MODPO divides by the preference weight of the value it trains on; a smaller one counts as this."""


@dataclass(frozen=True)
class Recipe:
    """One adapter to train, fresh or from `start`, penalised against `earlier`; or one of the directory `brought`."""

    name: str
    pairs: tuple[PreferencePair, ...]
    training: Training
    seed: int
    earlier: tuple["Recipe", ...] = ()
    start: "Recipe | None" = None
    brought: Path | None = None

    @cached_property
    def key(self) -> str:
        """A hash of everything the adapter depends on, besides the base model and the system prompt."""
        if self.brought:
            return delta_hash(self.brought)[:12]
        parts: list[Any] = [
            [pair.content() for pair in self.pairs],
            self.training.model_dump() | self.training.marks,
            self.seed,
            [recipe.key for recipe in self.earlier],
            self.start.key if self.start else None,
        ]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def directory(self) -> str:
        return f"{self.name}-{self.key}"

    def needed(self) -> Iterator["Recipe"]:
        """This recipe after all that it depends on."""
        for recipe in (*self.earlier, *((self.start,) if self.start else ())):
            yield from recipe.needed()
        yield self

    def job(self, adapters: str, base_model: str, system_prompt: str | None) -> TrainingJob:
        """Its training into the directory `adapters`, where what it depends on is or will be."""
        return TrainingJob(
            name=self.directory,
            base_model=base_model,
            system_prompt=system_prompt,
            pairs=self.pairs,
            earlier=tuple(f"{adapters}/{recipe.directory}" for recipe in self.earlier),
            training=self.training.for_pairs(len(self.pairs)),
            seed=self.seed,
            output=f"{adapters}/{self.directory}",
            start=f"{adapters}/{self.start.directory}" if self.start else None,
        )


@dataclass(frozen=True)
class Model:
    """One model that is trained rather than blended: its adapter at coefficient 1."""

    label: str
    recipe: Recipe
    preference: Mapping[str, float]


@dataclass(frozen=True)
class Method:
    """Either one adapter a value to blend in a `domain`, or `models` that were trained for a preference each."""

    adapters: tuple[Recipe, ...] = ()
    domain: DomainName = "box"
    models: tuple[Model, ...] = ()

    @property
    def recipes(self) -> list[Recipe]:
        return [*self.adapters, *(model.recipe for model in self.models)]


@dataclass(frozen=True)
class Ingredients:
    """What one seed's methods are made of.

    Args:
        pairs: of each value, in the order of the config; none of those whose adapter is brought.
        gaps: [pairs, values] of each value's pairs: reward of chosen minus rejected in standard deviations; may be
            left out where no method is made by them.
        weights: the preference weights to train for, a simplex lattice.
        consistency: VC-Soup's threshold.
        brought: the adapters of values that are not trained: all methods blend them as they are.
    """

    pairs: Mapping[str, tuple[PreferencePair, ...]]
    gaps: Mapping[str, NDArray[np.float64]]
    training: Training
    seed: int
    weights: Sequence[Coefficients]
    consistency: float
    brought: Mapping[str, Path] = field(default_factory=dict)

    @property
    def values(self) -> list[str]:
        return list(self.pairs)

    def adapters(
        self, penalty: PenaltySettings | None = None, pairs: Mapping[str, tuple[PreferencePair, ...]] | None = None
    ) -> tuple[Recipe, ...]:
        """One adapter a value, in order, each penalised against those before it; by plain DPO without a penalty.

        What is brought counts as trained before all others.
        """
        plain = self.training.model_copy(update={"penalty": NO_PENALTY})
        done = {name: Recipe(name, (), plain, self.seed, brought=path) for name, path in self.brought.items()}
        for place, (value, of_value) in enumerate((pairs or self.pairs).items()):
            if value in done:
                continue
            earlier = tuple(done.values()) if penalty and penalty.kind != "none" else ()
            form = penalty if penalty and earlier else NO_PENALTY
            training = self.training.model_copy(update={"penalty": form})
            name = value if form.kind == "none" else f"{value}_{form.kind}"
            done[value] = Recipe(name, of_value, training, seed_of(self.seed, place), earlier)
        return tuple(done[value] for value in self.values)

    def trained(self, recipe: Callable[[Coefficients], Recipe]) -> Method:
        """A model for each preference; where it wants one value alone, that value's plain DPO adapter."""
        plain = self.adapters()
        models = []
        for weights in self.weights:
            made = plain[weights.index(1.0)] if 1.0 in weights else recipe(weights)
            models.append(Model(written(weights), made, dict(zip(self.values, weights, strict=True))))
        return Method(models=tuple(models))


def seed_of(seed: int, place: int) -> int:
    """Of the value at a place: no other place of any other seed of the comparison has it, so no lora_A is met twice."""
    return int(np.random.SeedSequence((seed, place)).generate_state(1)[0])


def written(weights: Sequence[float]) -> str:
    return "/".join(f"{weight:.2g}" for weight in weights)


def _mva(penalty: PenaltySettings | None = None, domain: DomainName = "box") -> Callable[[Ingredients], Method]:
    return lambda of: Method(of.adapters(penalty or of.training.penalty), domain)


def _vc_soup(domain: DomainName) -> Callable[[Ingredients], Method]:
    return lambda of: Method(_consistent(of), domain)


def _consistent(of: Ingredients) -> tuple[Recipe, ...]:
    """VC-Soup's adapters, on the pairs whose values agree."""
    kept = {
        value: tuple(
            pair for pair, score in zip(pairs, consistency(of.gaps[value]), strict=True) if score >= of.consistency
        )
        for value, pairs in of.pairs.items()
    }
    for value, pairs in kept.items():
        if len(pairs) < of.training.pairs_per_step:
            raise RunError(
                f"{len(pairs)} of {len(of.pairs[value])} pairs of '{value}' have a consistency of at least "
                f"{of.consistency:g}, fewer than training.pairs_per_step ({of.training.pairs_per_step}): "
                "lower compare.consistency"
            )
    return of.adapters(pairs=kept)


def _dpo_lw(of: Ingredients) -> Method:
    """sum_i w_i L_i over the pooled pairs: a pair's weight makes up for the sizes of the values' sets."""
    total = sum(map(len, of.pairs.values()))

    def recipe(weights: Coefficients) -> Recipe:
        pooled = tuple(
            replace(pair, weight=weight * total / len(pairs))
            for weight, pairs in zip(weights, of.pairs.values(), strict=True)
            for pair in pairs
        )
        changes = {"steps": of.training.steps * len(of.pairs), "penalty": NO_PENALTY}
        return Recipe(f"dpo_lw_{_slug(weights)}", pooled, of.training.model_copy(update=changes), of.seed)

    return of.trained(recipe)


def _modpo(of: Ingredients) -> Method:
    """The pairs of the value that is wanted most, with the others' rewards as margin."""

    def recipe(weights: Coefficients) -> Recipe:
        index = weights.index(max(weights))
        value = of.values[index]
        margins = modpo_margin(weights, of.gaps[value], index, SMALLEST_WEIGHT)
        pairs = tuple(
            replace(pair, margin=float(margin)) for pair, margin in zip(of.pairs[value], margins, strict=True)
        )
        changes = {
            "beta": of.training.beta * modpo_scale(weights, index, SMALLEST_WEIGHT),
            "penalty": NO_PENALTY,
        }
        return Recipe(f"modpo_{_slug(weights)}", pairs, of.training.model_copy(update=changes), of.seed)

    return of.trained(recipe)


def _dpo_seqt(of: Ingredients) -> Method:
    """Every rotation of the order of the values: one model each."""
    plain = of.adapters()
    models = []
    for first in range(len(plain)):
        order = [*plain[first:], *plain[:first]]
        recipe = order[0]
        for stage in order[1:]:
            recipe = replace(stage, name=f"{recipe.name}_then_{stage.name}", start=recipe)
        models.append(Model(" then ".join(stage.name for stage in order), recipe, {}))
    return Method(models=tuple(models))


def _slug(weights: Sequence[float]) -> str:
    return "_".join(f"{weight:.2f}" for weight in weights)


class Named(NamedTuple):
    """How people see a method, how it is made, and whether that takes the reward gaps of its pairs."""

    title: str
    description: str
    make: Callable[[Ingredients], Method]
    by_gaps: bool = False


METHODS: dict[str, Named] = {
    "mva": Named("MVA", "decorrelated adapters (training.penalty), free coefficients", _mva()),
    "mva_paper": Named(
        "MVA, paper's HSIC",
        "the paper's penalty exactly (RBF of bandwidth 1 on lora_A, weight 10), free coefficients",
        _mva(PenaltySettings(kind="paper", weight=PENALTY_WEIGHTS["paper"])),
    ),
    "mva_orthogonal": Named(
        "MVA, orthogonal",
        "orthogonality in place of HSIC, free coefficients",
        _mva(PenaltySettings(kind="orthogonal", weight=PENALTY_WEIGHTS["orthogonal"])),
    ),
    "mva_no_hsic": Named("MVA without HSIC", "plain DPO adapters, free coefficients", _mva(NO_PENALTY)),
    "mva_c1": Named(
        "MVA, C = 1", "decorrelated adapters, coefficients from 0 to 1 as the paper's", _mva(domain="unit")
    ),
    "mva_no_extrapolation": Named(
        "MVA without extrapolation",
        "decorrelated adapters, convex coefficients that are searched as MVA's are",
        _mva(domain="simplex"),
    ),
    "soup": Named(
        "SOUP",
        "rewarded soups (arXiv 2306.04488): plain DPO adapters, a lattice of convex coefficients",
        _mva(NO_PENALTY, "lattice"),
    ),
    "soup_scaled": Named(
        "SOUP, scaled",
        "plain DPO adapters, a lattice of convex coefficients, and the same times the upper bound; no search",
        _mva(NO_PENALTY, "scaled lattice"),
    ),
    "vc_soup": Named(
        "VC-Soup",
        "plain DPO on the pairs whose values agree (arXiv 2603.18113), a lattice of convex coefficients",
        _vc_soup("lattice"),
        by_gaps=True,
    ),
    "vc_soup_free": Named(
        "VC-Soup, free",
        "plain DPO on the pairs whose values agree, free coefficients",
        _vc_soup("box"),
        by_gaps=True,
    ),
    "dpo_lw": Named("DPO-LW", "one model a preference, on the weighted sum of the values' losses", _dpo_lw),
    "dpo_seqt": Named("DPO-SeqT", "one model, the values in turn, for every rotation of their order", _dpo_seqt),
    "modpo": Named(
        "MODPO",
        "one model a preference, the other values' rewards as margin (arXiv 2310.03708)",
        _modpo,
        by_gaps=True,
    ),
}
"""By the name in the config. Every adapter and stage trains as `training` says; DPO-LW as long for each value."""

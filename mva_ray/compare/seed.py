"""One seed of a comparison: its pairs, the adapters of all methods, and the evaluation of each method's models."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mva_ray.adapters.hashes import delta_hash
from mva_ray.adapters.prompting import plain_text
from mva_ray.compare.interference import interference, means
from mva_ray.compare.methods import METHODS, NO_PENALTY, Ingredients, Method, Recipe
from mva_ray.compare.ray_blends import Evaluations
from mva_ray.compare.results import AdapterInterference, AlphaResult, Candidate, MethodResult, Rewards, SingleResult
from mva_ray.compare.scoring import Scoring, rewards_by_value
from mva_ray.compare.yardsticks import yardsticks
from mva_ray.config import RunConfig
from mva_ray.errors import NoRoom, RunError
from mva_ray.evaluation.evaluate import EvaluationSetting
from mva_ray.evaluation.ray_direct import scoring
from mva_ray.maths.consistency import reward_gaps
from mva_ray.plan.keys import key, make_plan
from mva_ray.records import JUDGING, AdapterRef, PreferencePair
from mva_ray.run_dir.layout import RunDirectory
from mva_ray.run_dir.place import joined
from mva_ray.run_dir.store import Directory
from mva_ray.run_dir.stores import directory_at
from mva_ray.search.references import lattice
from mva_ray.stages.adapters import bring, train_with_progress
from mva_ray.stages.pairs import preference_pairs
from mva_ray.stages.run import Run
from mva_ray.table import ParetoTable


@dataclass
class SeedResult:
    """What one seed adds to the comparison; the base model's rewards are the same for all."""

    prompts: list[str]
    prompts_hash: str
    base: Rewards = field(default_factory=dict)
    methods: list[MethodResult] = field(default_factory=list)
    singles: list[SingleResult] = field(default_factory=list)
    interference: list[AdapterInterference] = field(default_factory=list)
    alphas: list[AlphaResult] = field(default_factory=list)


def compare_seed(config: RunConfig, seed: int, directory: RunDirectory) -> SeedResult:
    """Everything of one seed, kept under `directory`.

    Raises:
        RunError: where there are no pairs to train on. A method that fails is a failure in the result.
    """
    return _Seed(config.model_copy(update={"seed": seed}), directory).compare()


class _Seed:
    def __init__(self, config: RunConfig, directory: RunDirectory) -> None:
        self._config = config
        self._plan = make_plan(config)
        self._directory = directory
        self._own = directory.seed(config.seed)
        self._run = Run(config, self._plan, self._own, lambda: None, common=directory)
        self._broken: dict[str, str] = {}

    def compare(self) -> SeedResult:
        print(f"comparison, seed {self._config.seed}")
        ingredients = self._ingredients()
        methods, failures = self._methods(ingredients)
        alphas = self._alphas(ingredients)
        recipes = _distinct(recipe for method in (*methods.values(), *alphas.values()) for recipe in method.recipes)
        seconds = self._train(_distinct(needed for recipe in recipes for needed in recipe.needed()))
        for name, method in list(methods.items()):
            if problem := self._problem(method):
                failures[name] = problem
                del methods[name]
        alphas = {alpha: method for alpha, method in alphas.items() if not self._problem(method)}
        settings = self._settings([recipe for recipe in recipes if recipe.key not in self._broken])
        adapters = [
            AdapterRef(name, self._adapter(name).place, sha) for name, sha in settings["search"].adapters.items()
        ]
        result = SeedResult(list(settings["held_out"].prompts), settings["held_out"].prompts_hash)
        with Evaluations(self._run.shared, adapters, settings, ParetoTable(self._directory.place)) as evaluations:
            scoring = Scoring(self._config, evaluations, self._plan.constraints)
            scoring.search(methods)
            every_pair = list(ingredients.pairs.values())
            blended = {
                name: one for name, one in methods.items() if [recipe.pairs for recipe in one.adapters] == every_pair
            }
            scoring.hold_out([*blended.values(), *alphas.values()])
        result.base = scoring.base
        for name in self._config.compare.methods:
            result.methods.append(self._method_result(name, methods.get(name), failures.get(name), scoring, seconds))
        for method in blended.values():
            self._add_adapters(result, method, scoring)
        for alpha, method in alphas.items():
            same = (name for name, one in blended.items() if (one.adapters, one.domain) == (method.adapters, "box"))
            candidates = next((scoring.of(name).candidates for name in same), [])
            result.alphas.append(self._alpha_result(alpha, method, candidates, scoring))
        result.methods += yardsticks(self._run, self._directory)
        return result

    def _ingredients(self) -> Ingredients:
        pairs = preference_pairs(self._run)
        pairs = {value: pairs.get(value, ()) for value in self._config.value_names}
        return Ingredients(
            pairs=pairs,
            gaps=self._gaps(pairs) if any(METHODS[name].by_gaps for name in self._config.compare.methods) else {},
            training=self._config.training,
            seed=self._config.seed,
            weights=lattice(len(pairs), self._config.compare.weight_partitions),
            consistency=self._config.compare.consistency,
            brought={value.name: Path(value.adapter) for value in self._config.values if value.adapter},
        )

    def _gaps(self, pairs: Mapping[str, Sequence[PreferencePair]]) -> dict[str, NDArray[np.float64]]:
        """Every value's reward gap of every pair, [pairs, values] for each value's pairs."""
        files = {
            value: self._own.pair_scores(value, key(of_value, list(self._plan.rewards.items())))
            for value, of_value in self._plan.pairs.items()
        }
        tables: dict[str, Any] = {value: file.read_list() for value, file in files.items()}
        missing = [value for value, table in tables.items() if table is None]
        if missing:
            with scoring(self._run.shared, list(pairs), "the preference pairs") as score:
                for value in missing:
                    prompts = [plain_text(pair.prompt) for pair in pairs[value]]
                    sides = ([pair.chosen for pair in pairs[value]], [pair.rejected for pair in pairs[value]])
                    tables[value] = [[score(name, prompts, side) for name in pairs] for side in sides]
                    files[value].write_json(tables[value])
        return {value: reward_gaps(*(np.array(side).T for side in table)) for value, table in tables.items()}

    def _methods(self, ingredients: Ingredients) -> tuple[dict[str, Method], dict[str, str]]:
        methods: dict[str, Method] = {}
        failures: dict[str, str] = {}
        for name in self._config.compare.methods:
            try:
                methods[name] = METHODS[name].make(ingredients)
            except RunError as error:
                failures[name] = str(error)
        return methods, failures

    def _alphas(self, ingredients: Ingredients) -> dict[float, Method]:
        """No penalty, the config's weight and those to try beside it; nothing where there are none to try."""
        penalty, more = self._config.training.penalty, self._config.compare.alphas
        return {
            alpha: Method(ingredients.adapters(penalty.model_copy(update={"weight": alpha}) if alpha else NO_PENALTY))
            for alpha in (sorted({0.0, penalty.weight, *more}) if more else ())
        }

    def _adapter(self, directory: str) -> Directory:
        return directory_at(joined(self._own.adapters, directory))

    def _train(self, recipes: Sequence[Recipe]) -> dict[str, float]:
        """Train what is missing, seconds by directory; a recipe that fails is kept from the others."""
        seconds: dict[str, float] = self._own.training_seconds.read_object() or {}
        for recipe in recipes:
            if recipe.brought:
                bring(recipe.brought, self._adapter(recipe.directory))
        missing = list(filter(self._is_missing, recipes))
        print(f"adapters: {len(recipes) - len(missing)} of {len(recipes)} are there, {len(missing)} to train")
        while missing:
            jobs = [
                recipe.job(self._own.adapters, self._run.shared.base_model, self._config.generation.system_prompt)
                for recipe in missing
            ]
            try:
                seconds |= train_with_progress(jobs, self._own.ray, self._config.resources_timeout)
            except NoRoom:
                raise
            except RunError as error:
                self._broken[next(recipe.key for recipe in missing if self._is_missing(recipe))] = str(error)
            self._own.training_seconds.write_json(seconds)
            missing = list(filter(self._is_missing, recipes))
        return seconds

    def _is_missing(self, recipe: Recipe) -> bool:
        return not self._adapter(recipe.directory).exists() and not self._problem(Method((recipe,)))

    def _problem(self, method: Method) -> str | None:
        """Why a method cannot be evaluated: the first adapter it builds on that could not be trained."""
        needed = (recipe for outer in method.recipes for recipe in outer.needed())
        return next((self._broken[recipe.key] for recipe in needed if recipe.key in self._broken), None)

    def _settings(self, recipes: Sequence[Recipe]) -> dict[str, EvaluationSetting]:
        plan = self._plan
        context = key(plan.generator, dict(plan.rewards))
        adapters = {recipe.directory: delta_hash(self._adapter(recipe.directory).fetch()) for recipe in recipes}
        return {
            split: EvaluationSetting(
                context=context,
                split=split,
                prompts=plan.prompts[split],
                values=tuple(self._config.value_names),
                base_model=f"{self._config.base_model} {plan.base_hash[:12]}",
                adapters=adapters,
                rewards=plan.rewards,
                seed=self._config.seed,
                generator=plan.generator,
                constraints=plan.constraints,
            )
            for split in JUDGING
        }

    def _method_result(
        self, name: str, method: Method | None, failure: str | None, scoring: Scoring, seconds: Mapping[str, float]
    ) -> MethodResult:
        recipes = _distinct(needed for recipe in method.recipes for needed in recipe.needed()) if method else []
        scored = scoring.of(name)
        return MethodResult(
            name=name,
            title=METHODS[name].title,
            description=METHODS[name].description,
            seed=self._config.seed,
            candidates=scored.candidates,
            failures=[failure] if failure else scored.failures,
            training_seconds=sum(seconds.get(recipe.directory, 0.0) for recipe in recipes),
            evaluations=scored.evaluations,
            searched=scored.searched,
        )

    def _add_adapters(self, result: SeedResult, method: Method, scoring: Scoring) -> None:
        """Each adapter alone, and what the adapters of two values share."""
        kinds, values = {recipe.training.penalty.kind for recipe in method.adapters}, self._config.value_names
        penalty = next(iter(kinds - {NO_PENALTY.kind}), NO_PENALTY.kind)
        if penalty in {single.penalty for single in result.singles}:
            return
        for value, recipe in zip(values, method.adapters, strict=True):
            if row := scoring.held_out({recipe.directory: 1.0}):
                single = SingleResult(
                    penalty=penalty, value=value, seed=self._config.seed, rewards=rewards_by_value(row)
                )
                result.singles.append(single)
        for (first, one), (second, other) in combinations(zip(values, method.adapters, strict=True), 2):
            shared = interference(self._adapter(one.directory).fetch(), self._adapter(other.directory).fetch())
            result.interference.append(
                AdapterInterference(penalty=penalty, seed=self._config.seed, first=first, second=second, modules=shared)
            )

    def _alpha_result(self, alpha: float, method: Method, candidates: list[Candidate], scoring: Scoring) -> AlphaResult:
        pairs = combinations([self._adapter(recipe.directory).fetch() for recipe in method.adapters], 2)
        cosine, cka = means(module for one, other in pairs for module in interference(one, other))
        own = {}
        for value, recipe in zip(self._config.value_names, method.adapters, strict=True):
            if row := scoring.held_out({recipe.directory: 1.0}):
                own[value] = rewards_by_value(row)[value]
        return AlphaResult(
            penalty=self._config.training.penalty.kind,
            alpha=alpha,
            seed=self._config.seed,
            cosine=cosine,
            cka=cka,
            own=own,
            candidates=candidates,
        )


def _distinct(recipes: Iterable[Recipe]) -> list[Recipe]:
    return list({recipe.key: recipe for recipe in recipes}.values())

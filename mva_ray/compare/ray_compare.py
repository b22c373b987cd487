"""Methods x seeds on one config: train what they need, evaluate alike, write one report. Resumable at every step."""

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import ray
from numpy.typing import NDArray
from tqdm.auto import tqdm

from mva_ray.adapters.hashes import adapter_hash
from mva_ray.compare.interference import interference, mean_interference
from mva_ray.compare.methods import METHODS, Ingredients, Method, Recipe, written
from mva_ray.compare.ray_evaluations import Blend, Evaluations
from mva_ray.compare.report import write_comparison
from mva_ray.compare.results import (
    NO_PENALTY,
    AdapterInterference,
    AlphaResult,
    Candidate,
    ComparisonResult,
    MethodResult,
    Rewards,
    SingleResult,
    write_result,
)
from mva_ray.compare.wins import judge_methods
from mva_ray.config import RunConfig, check_writable
from mva_ray.data.check import load_checked_config
from mva_ray.errors import ConfigError, RunError
from mva_ray.evaluation.evaluate import EvaluationSetting
from mva_ray.evaluation.ray_evaluation import start_rewards
from mva_ray.files import read_json, write_json
from mva_ray.maths.consistency import reward_gaps
from mva_ray.maths.pareto import front_mask
from mva_ray.pipeline import Run, find_models
from mva_ray.plan import key, make_plan
from mva_ray.ray_session import ray_session
from mva_ray.records import AdapterRef, Coefficients, Evaluation, PreferencePair
from mva_ray.search.designs import convex_candidates, reference_candidates
from mva_ray.search.nsga2 import Nsga2Proposer
from mva_ray.table import ParetoTable
from mva_ray.training.ray_training import train_on_ray

EVALUATED = ("search", "held_out")


def compare(config_path: Path, directory: Path | None = None) -> Path:
    """Run the comparison of a config; what an earlier one in the same directory finished is kept.

    Args:
        config_path: a YAML file, see `RunConfig` and its `compare` section.
        directory: `runs/<name of the config>_compare` unless given.

    Returns:
        the directory, with `report.html`, `README.md` and `comparison.json.gz`.

    Raises:
        ConfigError: with everything that is wrong with the config.
        RunError: where nothing can be compared; what was computed until then is kept.
    """
    config = load_checked_config(config_path)
    _check_comparable(config, config_path)
    directory = (directory or Path("runs") / f"{config.name}_compare").absolute()
    check_writable(directory)
    find_models(config, config_path)
    with ray_session(config):
        seeds = [_Seed(config, seed, directory).compare() for seed in config.compare.seeds]
    result = _result(config, seeds)
    write_result(result, directory / "comparison.json.gz")
    if config.compare.judge:
        result = _judged(result, config, directory)
    write_comparison(result, directory)
    return directory


@dataclass
class _SeedResult:
    """What one seed adds to the comparison."""

    base: Evaluation
    methods: list[MethodResult] = field(default_factory=list)
    singles: list[SingleResult] = field(default_factory=list)
    interference: list[AdapterInterference] = field(default_factory=list)
    alphas: list[AlphaResult] = field(default_factory=list)


class _Seed:
    """One seed: its pairs, its adapters, its evaluations."""

    def __init__(self, config: RunConfig, seed: int, directory: Path) -> None:
        self._config = config.model_copy(update={"seed": seed})
        self._plan = make_plan(self._config)
        self._directory = directory
        self._own = directory / f"seed-{seed}"
        self._adapters = self._own / "adapters"
        self._failed: dict[str, str] = {}

    def compare(self) -> _SeedResult:
        print(f"seed {self._config.seed}")
        ingredients = self._ingredients()
        methods, impossible = self._methods(ingredients)
        alphas = self._alphas(ingredients)
        recipes = [recipe for made in (*methods.values(), *alphas.values()) for recipe in made.recipes]
        seconds = self._train(recipes)
        trained = [recipe for recipe in _distinct(recipes) if recipe.key not in self._failed]
        refs = [self._reference(recipe) for recipe in trained]
        settings = {split: self._setting(split, refs) for split in EVALUATED}
        with Evaluations(self._config, refs, settings, ParetoTable(self._directory)) as evaluations:
            scored = _Scored(self._config, evaluations)
            for name, method in methods.items():
                if problem := self._problem(method):
                    impossible[name] = problem
                else:
                    scored.search(name, method)
            singles = {made: method for made, method in methods.items() if not method.convex and method.adapters}
            scored.hold_out([*singles.values(), *alphas.values()])
            result = _SeedResult(scored.base())
            for name in self._config.compare.methods:
                result.methods.append(self._method_result(name, methods.get(name), scored, seconds, impossible))
        for method in singles.values():
            self._add_singles(result, method, scored)
        for alpha, method in alphas.items():
            if not self._problem(method):
                result.alphas.append(self._alpha_result(alpha, method, scored))
        return result

    def _ingredients(self) -> Ingredients:
        run = Run(self._config, self._plan, self._own)
        pairs = run.preference_pairs()
        return Ingredients(
            pairs={value: pairs[value] for value in self._config.value_names},
            gaps=self._gaps(pairs),
            training=self._config.training,
            seed=self._config.seed,
            weights=convex_candidates(len(pairs), self._config.compare.weight_partitions),
            consistency=self._config.compare.consistency,
        )

    def _gaps(self, pairs: Mapping[str, Sequence[PreferencePair]]) -> dict[str, NDArray[np.float64]]:
        """Every value's reward gap of every pair, [pairs, values] for each value's pairs."""
        actors = start_rewards(self._config)
        gaps = {}
        for value, of_value in pairs.items():
            path = self._own / "scores" / f"pairs-{value}-{key(self._plan.pairs[value], self._plan.rewards)}.json"
            table = read_json(path)
            if table is None:
                prompts = [pair.prompt_text for pair in of_value]
                sides = [[pair.chosen for pair in of_value], [pair.rejected for pair in of_value]]
                columns = [
                    [_scores(name, ray.get(actor.score.remote(prompts, side))) for name, actor in actors.items()]
                    for side in sides
                ]
                table = np.array(columns).transpose(0, 2, 1).tolist()
                write_json(path, table)
            gaps[value] = reward_gaps(*np.array(table))
        for actor in actors.values():
            ray.kill(actor)
        return gaps

    def _methods(self, ingredients: Ingredients) -> tuple[dict[str, Method], dict[str, str]]:
        methods, impossible = {}, {}
        for name in self._config.compare.methods:
            try:
                methods[name] = METHODS[name][2](ingredients)
            except RunError as error:
                impossible[name] = str(error)
        return methods, impossible

    def _alphas(self, ingredients: Ingredients) -> dict[float, Method]:
        penalty = self._config.training.penalty
        return {
            alpha: Method(ingredients.adapters(penalty.model_copy(update={"weight": alpha})))
            for alpha in self._config.compare.alphas
        }

    def _train(self, recipes: Sequence[Recipe]) -> dict[str, float]:
        """Train what is missing; a recipe that fails takes those with it that build on it. Seconds, by key."""
        path = self._own / "training_seconds.json"
        seconds: dict[str, float] = read_json(path) or {}
        wanted = _distinct(recipe for outer in recipes for recipe in outer.needed())
        jobs = {
            recipe.key: recipe.job(str(self._adapters), self._config.base_model, self._config.generation.system_prompt)
            for recipe in wanted
        }
        while missing := [
            recipe for recipe in wanted if not Path(jobs[recipe.key].output).is_dir() and not self._broken(recipe)
        ]:
            by_name = {jobs[recipe.key].output: recipe.key for recipe in missing}
            with tqdm(total=len(missing), desc="adapters", unit="adapter") as bar:
                try:
                    spent = train_all([jobs[recipe.key] for recipe in missing], self._own / "ray", bar)
                except RunError as error:
                    spent = {}
                    culprit = next(recipe for recipe in missing if not Path(jobs[recipe.key].output).is_dir())
                    self._failed[culprit.key] = str(error)
            seconds |= {by_name[output]: time for output, time in spent.items()}
            write_json(path, seconds)
        return seconds

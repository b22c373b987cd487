"""Evaluations that each search method needs to reach 99 % of the hypervolume of the paper's grid.

python benchmarks/search_methods.py --seeds 20 --output out.json

The paper evaluates the grid {0.1, ..., 1.0}^k (10 levels for two values, 6 for three). Every method here searches
[0, 1.5]^k, is told rewards with noise as large as their standard errors, and is judged by the true rewards of what it
evaluated. Hypervolume is taken from the worst of the grid on each value.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from pathlib import Path

import numpy as np
import optuna
from numpy.typing import NDArray
from pymoo.indicators.hv import HV
from tqdm.auto import tqdm

from mva_ray.config_search import Search
from mva_ray.maths.pareto import front_mask
from mva_ray.records import Coefficients, rounded
from mva_ray.search.proposer import make_proposer

Array = NDArray[np.float64]
Surface = Callable[[Array], Array]
UPPER = 1.5
NOISE = 0.02
"""Standard error of a mean reward, as a share of the grid's range."""
OURS = ("surrogate", "nsga2", "nsga3", "unsga3", "sms_emoa", "rvea", "ctaea", "grid", "random", "sobol")


def saturating(w: Array) -> Array:
    """Values that oppose each other and saturate, and lose where the coefficients together go too far."""
    others = w.sum(axis=1, keepdims=True) - w
    return np.asarray(np.tanh(1.4 * w - 0.9 * others) - 0.08 * w.sum(axis=1, keepdims=True) ** 2)


def distances(w: Array) -> Array:
    """Value i is best at 0.9 of its own adapter alone; the front is the hull of those points, known in closed form."""
    best = 0.9 * np.eye(w.shape[1])
    return np.asarray(-((w[:, None, :] - best[None]) ** 2).sum(axis=2))


def collapse(w: Array) -> Array:
    """Rewards that rise with the coefficients until the model breaks, beyond a length of 1.2."""
    length = np.sqrt((w**2).sum(axis=1, keepdims=True))
    others = w.sum(axis=1, keepdims=True) - w
    return np.asarray(w - 0.5 * others - 3 * np.maximum(0, length - 1.2) ** 2)


SURFACES: dict[str, Surface] = {"saturating": saturating, "distances": distances, "collapse": collapse}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--values", type=int, nargs="+", default=[2, 3])
    parser.add_argument("--budget", type=int, default=100)
    parser.add_argument("--methods", nargs="+", default=[*OURS, "optuna_nsga2", "optuna_gp"])
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    results = []
    for k, (name, surface) in product(arguments.values, SURFACES.items()):
        judge = Judge(surface, k)
        for method in arguments.methods:
            started, needed = time.monotonic(), []
            for seed in tqdm(range(arguments.seeds), desc=f"{name}, {k} values, {method}", leave=False):
                needed.append(evaluations_needed(method, surface, judge, k, arguments.budget, seed))
            seconds = (time.monotonic() - started) / arguments.seeds
            results.append({"values": k, "surface": name, "method": method, "needed": needed, "seconds": seconds})
            print_row(results[-1], arguments.budget)
    if arguments.output:
        arguments.output.write_text(json.dumps({"noise": NOISE, "budget": arguments.budget, "results": results}))


class Judge:
    """When a set of candidates has reached 99 % of the paper's grid, by true rewards."""

    def __init__(self, surface: Surface, k: int) -> None:
        levels = np.linspace(0.1, 1.0, {2: 10}.get(k, 6))
        rewards = surface(np.array(list(product(levels, repeat=k))))
        self._low, self.range = rewards.min(axis=0), np.ptp(rewards, axis=0)
        self._hypervolume = HV(ref_point=np.zeros(k))
        self.target = 0.99 * self.hypervolume(rewards)

    def hypervolume(self, rewards: Array) -> float:
        scaled = (rewards - self._low) / self.range
        above = scaled[(scaled > 0).all(axis=1)]
        return float(self._hypervolume(-above[front_mask(above)])) if len(above) else 0.0


def evaluations_needed(method: str, surface: Surface, judge: Judge, k: int, budget: int, seed: int) -> int | None:
    """How many candidates, in the order proposed, until the target; None where the budget does not reach it."""
    noise = np.random.default_rng([seed, 1])
    errors = NOISE * judge.range

    def measure(rows: Sequence[Coefficients]) -> list[list[float]]:
        true = surface(np.array(rows))
        found.extend(true)
        noisy: list[list[float]] = (true + errors * noise.normal(size=true.shape)).tolist()
        return noisy

    found: list[Array] = []
    batches = optuna_batches if method.startswith("optuna") else our_batches
    for before in batches(method, measure, errors.tolist(), k, budget, seed):
        if judge.hypervolume(np.array(found)) >= judge.target:
            counts = range(before + 1, len(found) + 1)
            return next(count for count in counts if judge.hypervolume(np.array(found[:count])) >= judge.target)
    return None


Measure = Callable[[Sequence[Coefficients]], list[list[float]]]


def our_batches(method: str, measure: Measure, errors: list[float], k: int, budget: int, seed: int) -> Iterator[int]:
    """How many were evaluated before each batch, which is evaluated now."""
    population = 4 if method == "surrogate" else 8
    settings = Search(method=method, candidates=budget, population=population, convex_partitions=2)  # type: ignore[arg-type]
    proposer = make_proposer(settings, [(0, UPPER)] * k, seed)
    done = 0
    while rows := proposer.ask():
        proposer.tell(rows, measure(rows), [errors] * len(rows))
        yield done
        done += len(rows)


def optuna_batches(method: str, measure: Measure, errors: list[float], k: int, budget: int, seed: int) -> Iterator[int]:
    sampler = (
        optuna.samplers.NSGAIISampler(population_size=8, seed=seed)
        if method == "optuna_nsga2"
        else optuna.samplers.GPSampler(seed=seed)
    )
    study = optuna.create_study(directions=["maximize"] * k, sampler=sampler)
    for done in range(budget):
        trial = study.ask()
        row = rounded([trial.suggest_float(f"w{i}", 0, UPPER) for i in range(k)])
        study.tell(trial, measure([row])[0])
        yield done


def print_row(result: dict[str, object], budget: int) -> None:
    needed = result["needed"]
    assert isinstance(needed, list)
    counts = np.array([np.inf if count is None else count for count in needed])
    quartiles = np.percentile(counts, [25, 50, 75], method="nearest")
    low, middle, high = (f"{number:.0f}" if np.isfinite(number) else f">{budget}" for number in quartiles)
    print(
        f"{result['values']} values  {result['surface']:12} {result['method']:14} "
        f"median {middle:>5}  quartiles {low:>5} to {high:>5}  {result['seconds']:6.1f} s a search"
    )


if __name__ == "__main__":
    main()

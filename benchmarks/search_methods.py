"""Evaluations that each search method needs to reach 99 % of the hypervolume of the paper's grid.

python benchmarks/search_methods.py --seeds 20 --output docs/results/search_methods.json

The paper evaluates a grid of 100 candidates. Every method here searches wider bounds, is told measured rewards with
their standard errors, and is judged by the true rewards of what it evaluated: how many candidates, the references
among them, until the front of their true rewards has the hypervolume. It is taken from the worst of the grid on each
value. Surfaces: benchmarks/reward_surfaces.py. The `oracle` knows the true rewards and takes, after the references,
what adds most hypervolume: about the least that any search can need. `surrogate_3` is the surrogate with three batches
at work at once, as where one does not fill the machine. `surrogate_answers` is the surrogate with a budget in answers:
each candidate answers four prompts of the split, where those of all other methods answer all. `answers` counts them, up
to the same point; what it takes that the members of the front answer all is in benchmarks/search_answers.py.
"""

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch
from botorch import fit_gpytorch_mll
from botorch.acquisition.multi_objective.logei import qLogNoisyExpectedHypervolumeImprovement
from botorch.models.gp_regression import SingleTaskGP
from botorch.models.model_list_gp_regression import ModelListGP
from botorch.models.transforms.input import Normalize
from botorch.models.transforms.outcome import Standardize
from botorch.optim.optimize import optimize_acqf
from botorch.sampling.normal import SobolQMCNormalSampler
from gpytorch.mlls.sum_marginal_log_likelihood import SumMarginalLogLikelihood
from numpy.typing import NDArray
from reward_surfaces import NOISE, SURFACES, Array, Surface, Synthetic, paper_grid, read_recorded
from tqdm.auto import tqdm

from mva_ray.config.search import FEWEST_PROMPTS, POPULATIONS, Search
from mva_ray.maths.pareto import front_mask, hypervolume
from mva_ray.records import Coefficients, Outcome, Proposal, rounded
from mva_ray.search.proposer import DESIGNS, make_proposer
from mva_ray.search.references import reference_candidates
from mva_ray.search.results import Result
from mva_ray.search.rounds import Rounds

OURS = (*POPULATIONS, *DESIGNS)
OVERLAPPING = "surrogate_3"
BUYING = "surrogate_answers"
OPTUNA = ("optuna_nsga2", "optuna_gp")
BOTORCH = "botorch_qlognehvi"
ORACLE = "oracle"
RECORDED = "smollm2"
FILES = {2: "surface_smollm2.json.gz", 3: "surface_smollm2_three.json.gz"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--values", type=int, nargs="+", default=[2, 3])
    parser.add_argument("--surfaces", nargs="+", default=[*SURFACES, RECORDED])
    parser.add_argument("--budget", type=int, default=100)
    parser.add_argument("--methods", nargs="+", default=[ORACLE, *OURS, OVERLAPPING, BUYING, *OPTUNA, BOTORCH])
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    results = []
    print("| values | surface | method | candidates | quartiles | answers | seconds a search |")
    print("|---|---|---|---|---|---|---|")
    for surface in surfaces(arguments.values, arguments.surfaces):
        for method in arguments.methods:
            results.append(search_often(method, surface, seeds, arguments.budget))
            print(as_row(results[-1], arguments.budget), flush=True)
    if arguments.output:
        record = {"noise": NOISE, "budget": arguments.budget, "results": results}
        arguments.output.write_text(json.dumps(record, indent=1) + "\n")


def surfaces(numbers: Sequence[int], names: Sequence[str]) -> Iterator[Surface]:
    for n_values in numbers:
        yield from (Synthetic(SURFACES[name], n_values) for name in names if name in SURFACES)
        path = Path(__file__).with_name(FILES[n_values])
        if RECORDED in names and path.exists():
            yield read_recorded(path)
        elif RECORDED in names:
            print(f"skipped: there is no {path} (benchmarks/surface.py records it)")


class Judge:
    """When a set of candidates has reached 99 % of the paper's grid, by true rewards."""

    def __init__(self, surface: Surface) -> None:
        rewards = surface.true(paper_grid(len(surface.bounds)))
        self._low, self._range = rewards.min(axis=0), np.ptp(rewards, axis=0)
        self._target = 0.99 * self.hypervolume(rewards)

    def scaled(self, rewards: Array) -> Array:
        return np.asarray((rewards - self._low) / self._range)

    def hypervolume(self, rewards: Array) -> float:
        scaled = self.scaled(rewards)
        return float(hypervolume(scaled[front_mask(scaled)], np.zeros(scaled.shape[1])))

    def share(self, rewards: Array) -> float:
        """Of the grid's hypervolume."""
        return 0.99 * self.hypervolume(rewards) / self._target

    def satisfied(self, rewards: Array) -> bool:
        return self.hypervolume(rewards) >= self._target


def search_often(method: str, surface: Surface, seeds: Sequence[int], budget: int) -> dict[str, Any]:
    judge, started = Judge(surface), time.process_time()
    searches = tqdm(seeds, desc=f"{surface.name}, {len(surface.bounds)} values, {method}", leave=False)
    needed = [evaluations_needed(method, surface, judge, budget, seed) for seed in searches]
    return {
        "values": len(surface.bounds),
        "surface": surface.name,
        "method": method,
        "seeds": [*seeds],
        "needed": needed,
        "prompts": prompts_each(method, surface),
        "answers": [None if count is None else count * prompts_each(method, surface) for count in needed],
        "seconds": round((time.process_time() - started) / len(needed), 3),
    }


def prompts_each(method: str, surface: Surface) -> int:
    """How many prompts of the split a candidate answers."""
    return FEWEST_PROMPTS if method == BUYING else surface.n_prompts


def evaluations_needed(method: str, surface: Surface, judge: Judge, budget: int, seed: int) -> int | None:
    """How many candidates, in the order proposed, until the judge is satisfied; None where the budget ends first."""
    found: list[Coefficients] = []
    for batch in proposals(method, surface, judge, budget, seed):
        before = len(found)
        found += batch
        rewards = surface.true(np.array(found))
        if judge.satisfied(rewards):
            return next(n for n in range(before + 1, len(found) + 1) if judge.satisfied(rewards[:n]))
    return None


def proposals(method: str, surface: Surface, judge: Judge, budget: int, seed: int) -> Iterator[list[Coefficients]]:
    """The candidates that a method evaluates, a batch at a time, for as long as there is a next one asked for."""
    if method == ORACLE:
        return oracle_batches(surface, judge, budget, seed)
    if method == BUYING:
        return (
            [asked.coefficients for asked in batch]
            for batch, _ in buying(surface, budget, FEWEST_PROMPTS * budget, seed)
        )
    if method == BOTORCH:
        return botorch_batches(surface, judge, budget, seed)
    search = optuna_batches if method in OPTUNA else our_batches
    return search(method, surface, budget, seed)


def oracle_batches(surface: Surface, judge: Judge, budget: int, seed: int) -> Iterator[list[Coefficients]]:
    """Greedy over random candidates, some of them on the faces, by the share of random points of the front's box."""
    rng, n_values = np.random.default_rng(seed), len(surface.bounds)
    references = reference_candidates(n_values, 2)
    yield references
    lower, upper = np.array(surface.bounds).T
    pool = rng.uniform(lower, upper, (3000, n_values)) * (rng.random((3000, n_values)) > 0.2)
    rewards = judge.scaled(surface.true(pool))
    pool, rewards = pool[front_mask(rewards)], rewards[front_mask(rewards)]
    points = rng.uniform(0, rewards.max(axis=0), (4000, n_values))
    known = judge.scaled(surface.true(np.array(references)))
    points = points[~dominated(points, known).any(axis=0)]
    gains = dominated(points, rewards)
    for _ in range(budget - len(references)):
        best = int(gains.sum(axis=1).argmax())
        yield [rounded(pool[best])]
        gains &= ~gains[best]


def dominated(points: Array, rewards: Array) -> NDArray[np.bool_]:
    """[rewards, points]: whether the reward vector is at least as high as the point on every value."""
    return np.asarray((rewards[:, None] >= points[None]).all(axis=2))


def our_batches(method: str, surface: Surface, budget: int, seed: int) -> Iterator[list[Coefficients]]:
    n_values, measured = len(surface.bounds), surface.measured(seed)
    name, pending = ("surrogate", 4) if method == OVERLAPPING else (method, 0)
    settings = Search(method=name, candidates=budget)  # type: ignore[arg-type]
    references = reference_candidates(n_values, 2)
    rounds = Rounds(make_proposer(settings, surface.bounds, n_values, references, seed, pending))
    while asked := [proposal.coefficients for proposal in rounds.ask()]:
        yield asked
        w = np.array(asked)
        for row, means, errors in zip(asked, measured(w).tolist(), surface.errors(w).tolist(), strict=True):
            rounds.tell(Result(Outcome(row, tuple(means), tuple(errors))))


def buying(surface: Surface, budget: int, answers: int, seed: int) -> Iterator[tuple[list[Proposal], list[Outcome]]]:
    """What the surrogate with a budget in answers asks for, batch by batch, and all that it was told before."""
    n_values, answered = len(surface.bounds), surface.answers(seed)
    settings = Search(candidates=budget, answers=answers)
    references = reference_candidates(n_values, 2)
    proposer = make_proposer(settings, surface.bounds, n_values, references, seed, n_prompts=surface.n_prompts)
    rounds, told = Rounds(proposer), list[Outcome]()
    while asked := rounds.ask():
        yield asked, told
        for proposal in asked:
            row, places = proposal.coefficients, proposal.prompts or tuple(range(surface.n_prompts))
            rewards = answered(row, places)
            errors = tuple(rewards.std(axis=0, ddof=1) / np.sqrt(len(rewards)))
            by_place = dict(zip(places, map(tuple, rewards), strict=True))
            told.append(Outcome(row, tuple(rewards.mean(axis=0)), errors, (), by_place))
            rounds.tell(Result(told[-1]))


def optuna_batches(method: str, surface: Surface, budget: int, seed: int) -> Iterator[list[Coefficients]]:
    sampler = (
        optuna.samplers.NSGAIISampler(population_size=8, seed=seed)
        if method == "optuna_nsga2"
        else optuna.samplers.GPSampler(seed=seed)
    )
    study = optuna.create_study(directions=["maximize"] * len(surface.bounds), sampler=sampler)
    measured = surface.measured(seed)
    for _ in range(budget):
        trial = study.ask()
        row = rounded(trial.suggest_float(f"w{i}", *bounds) for i, bounds in enumerate(surface.bounds))
        yield [row]
        study.tell(trial, measured(np.array([row]))[0].tolist())


def botorch_batches(surface: Surface, judge: Judge, budget: int, seed: int) -> Iterator[list[Coefficients]]:
    """qLogNEHVI (Ament et al., NeurIPS 2023) in batches of two after our references, as BoTorch's tutorial has it.

    Told the same measured rewards and standard errors as ours; the reference point is where the judge begins.
    """
    torch.manual_seed(seed)
    n_values, measured = len(surface.bounds), surface.measured(seed)
    bounds, found = torch.tensor(surface.bounds, dtype=torch.float64).T, reference_candidates(n_values, 2)
    yield found
    rewards = judge.scaled(measured(np.array(found)))
    while len(found) < budget:
        errors = judge.scaled(surface.errors(np.array(found))) - judge.scaled(np.zeros(n_values))
        acquisition = qLogNoisyExpectedHypervolumeImprovement(
            model=botorch_model(np.array(found), rewards, errors, bounds),
            ref_point=[0.0] * n_values,
            X_baseline=torch.tensor(found, dtype=torch.float64),
            sampler=SobolQMCNormalSampler(torch.Size([128]), seed=seed),
            prune_baseline=True,
        )
        options: dict[str, bool | float | int | str] = {"batch_limit": 5, "maxiter": 200}
        picked, _ = optimize_acqf(
            acquisition, bounds, q=2, num_restarts=10, raw_samples=512, sequential=True, options=options
        )
        batch = [rounded(row) for row in picked.tolist()]
        yield batch
        found = [*found, *batch]
        rewards = np.vstack([rewards, judge.scaled(measured(np.array(batch)))])


def botorch_model(w: Array, rewards: Array, errors: Array, bounds: torch.Tensor) -> ModelListGP:
    """BoTorch's own defaults, one Gaussian process a value, with the standard errors as its noise."""
    inputs, targets, noise = (torch.tensor(each, dtype=torch.float64) for each in (w, rewards, errors**2))
    models = [
        SingleTaskGP(
            inputs,
            targets[:, [value]],
            noise[:, [value]],
            input_transform=Normalize(len(bounds.T), bounds=bounds),
            outcome_transform=Standardize(1),
        )
        for value in range(targets.shape[1])
    ]
    model = ModelListGP(*models)
    fit_gpytorch_mll(SumMarginalLogLikelihood(model.likelihood, model))
    return model


def as_row(result: dict[str, Any], budget: int) -> str:
    low, middle, high = quartiles(result["needed"], budget)
    answers = quartiles(result["answers"], budget * result["prompts"])[1]
    named = (result["values"], result["surface"], result["method"])
    return "| " + " | ".join(map(str, (*named, middle, f"{low} to {high}", answers, result["seconds"]))) + " |"


def quartiles(numbers: Sequence[int | None], most: int) -> list[str]:
    counts = sorted(np.inf if count is None else count for count in numbers)
    chosen = (counts[len(counts) * quarter // 4] for quarter in (1, 2, 3))
    return [f"{number:g}" if np.isfinite(number) else f"> {most}" for number in chosen]


if __name__ == "__main__":
    main()

"""What a budget in answers brings where the members of the front have to answer all prompts, and what it rests on.

python benchmarks/search_answers.py --seeds 20 --output docs/results/search_answers.json

Three tables. `front`: the hypervolume of the true rewards, as a share of that of the grid, of the candidates that have
all prompts when so many answers are spent: by the surrogate whose candidates all answer all, and by the one that has
candidates answer few prompts and completes the best. `calibration`: the share of true means over the split that lie
inside the posterior's central intervals, at random candidates and those proposed, over all proposals of a search.
`seconds`: of CPU for one proposal with so many candidates told.
"""

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from reward_surfaces import Array, Recorded, Surface
from scipy.stats import norm
from search_methods import BUYING, RECORDED, Judge, buying, surfaces
from tqdm.auto import tqdm

from mva_ray.config.search import FEWEST_PROMPTS, Search, most_on_few
from mva_ray.records import Coefficients, Outcome, rounded
from mva_ray.search.draws import Draws
from mva_ray.search.ledger import Ledger
from mva_ray.search.proposer import make_proposer
from mva_ray.search.references import reference_candidates
from mva_ray.search.results import Result
from mva_ray.search.rounds import Rounds
from mva_ray.search.surrogate import Model

LEVELS = (0.5, 0.8, 0.95)
TOLD = (10, 30, 100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--values", type=int, nargs="+", default=[2, 3])
    parser.add_argument("--surfaces", nargs="+", default=[RECORDED])
    parser.add_argument(
        "--full", type=int, nargs="+", default=[12, 18, 24], help="budgets, in candidates on all prompts"
    )
    parser.add_argument("--tables", nargs="+", default=["front", "calibration", "seconds"])
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    tables = {"front": front, "calibration": calibration, "seconds": seconds}
    results = []
    for surface in surfaces(arguments.values, arguments.surfaces):
        for name in arguments.tables:
            for row in tables[name](surface, range(arguments.seeds), arguments.full):
                results.append({"table": name, "values": len(surface.bounds), "surface": surface.name, **row})
                print(json.dumps(results[-1]), flush=True)
    if arguments.output:
        arguments.output.write_text(json.dumps(results, indent=1) + "\n")


def front(surface: Surface, seeds: Sequence[int], budgets: Sequence[int]) -> list[dict[str, Any]]:
    judge = Judge(surface)
    rows = []
    for candidates in budgets:
        answers = candidates * surface.n_prompts
        for method, search in (("surrogate", all_prompts), (BUYING, few_prompts)):
            found = [search(surface, candidates, seed) for seed in tqdm(seeds, leave=False)]
            shares = [judge.share(surface.true(np.array(complete))) for complete in found]
            quartiles = [round(float(share), 4) for share in np.quantile(shares, (0.25, 0.5, 0.75))]
            complete = float(np.median([len(rows) for rows in found]))
            rows.append({"method": method, "answers": answers, "hypervolume": quartiles, "complete": complete})
    return rows


def all_prompts(surface: Surface, candidates: int, seed: int) -> list[Coefficients]:
    """Told the means of the same answers as the search that buys them."""
    answered, rows = surface.answers(seed), list[Coefficients]()
    settings, references = Search(candidates=candidates), reference_candidates(len(surface.bounds), 2)
    rounds = Rounds(make_proposer(settings, surface.bounds, len(surface.bounds), references, seed))
    while asked := [proposal.coefficients for proposal in rounds.ask()]:
        rows += asked
        for row in asked:
            rounds.tell(Result(outcome(row, answered(row, range(surface.n_prompts)))))
    return rows


def outcome(row: Coefficients, rewards: Array) -> Outcome:
    errors = rewards.std(axis=0, ddof=1) / np.sqrt(len(rewards))
    return Outcome(row, tuple(rewards.mean(axis=0)), tuple(errors))


def few_prompts(surface: Surface, candidates: int, seed: int) -> list[Coefficients]:
    """Of a search whose budget is that of so many candidates on all prompts."""
    answers = candidates * surface.n_prompts
    asked = [batch for batch, _ in buying(surface, most_on_few(answers), answers, seed)]
    return [proposal.coefficients for batch in asked for proposal in batch if proposal.prompts is None]


def calibration(surface: Surface, seeds: Sequence[int], budgets: Sequence[int]) -> list[dict[str, Any]]:
    if not isinstance(surface, Recorded):
        return []
    inside = np.concatenate([shares(surface, seed) for seed in tqdm(seeds, leave=False)]).mean(axis=0)
    return [{"intervals": LEVELS, "inside": [round(float(share), 3) for share in inside]}]


def shares(surface: Recorded, seed: int) -> Array:
    """[proposals, levels]: at 20 random candidates and those proposed so far."""
    rng, found, split = np.random.default_rng(seed), [], surface.measured(seed)
    for _, told in buying(surface, 40, FEWEST_PROMPTS * 40, seed):
        if told:
            low, high = np.array(surface.bounds, dtype=np.float64).T
            random = rng.uniform(low, high, (20, len(surface.bounds)))
            rows = np.vstack([random, [outcome.coefficients for outcome in told]])
            means, deviations = Model(ledger_of(told, surface.n_prompts)).predict(rows)
            scaled = np.abs(split(rows) - means) / deviations
            found.append([(scaled < norm.ppf((1 + level) / 2)).mean() for level in LEVELS])
    return np.array(found)


def ledger_of(told: Sequence[Outcome], n_prompts: int) -> Ledger:
    ledger = Ledger([], 0, Draws(n_prompts, FEWEST_PROMPTS, 0))
    ledger.tell(told)
    return ledger


def seconds(surface: Surface, seeds: Sequence[int], budgets: Sequence[int]) -> list[dict[str, Any]]:
    return [
        {"told": n, "seconds": round(min(proposal_seconds(surface, n, seed) for seed in range(3)), 3)} for n in TOLD
    ]


def proposal_seconds(surface: Surface, told: int, seed: int) -> float:
    """Of CPU, for a batch of two, after so many random candidates."""
    bounds, n_values = surface.bounds, len(surface.bounds)
    low, high = np.array(bounds, dtype=np.float64).T
    rows = np.random.default_rng(seed).uniform(low, high, (told, n_values))
    known = zip(rows, surface.measured(seed)(rows), surface.errors(rows), strict=True)
    proposer = make_proposer(Search(candidates=1000), bounds, n_values, [], seed)
    proposer.tell([Outcome(rounded(row), tuple(means), tuple(errors)) for row, means, errors in known])
    started = time.process_time()
    proposer.ask()
    return time.process_time() - started


if __name__ == "__main__":
    main()

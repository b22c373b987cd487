"""What racing saves, what it costs, and whether its error rate holds.

python benchmarks/racing.py --seeds 20 --output out.json

Three tables, each with the error rate asked for and the one that was measured:

- boundary: one candidate just outside what its opponents dominate, in an inner corner of their front, where a wrong
  stop is likeliest. Rates over `--trials` draws.
- synthetic: whole searches over surfaces whose completions change from cell to cell.
- recorded: whole searches over the rewards that benchmarks/surface.py recorded of SmolLM2-135M, if they are there.

`wrong` is the share of the raced candidates of the final front (by all prompts, of all that were proposed) that were
stopped. `saved` is the share of tokens, of all candidates and of the raced ones alone; `hypervolume` is that of the
candidates that were not stopped, as a share of the same search without racing.
"""

import argparse
import gzip
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from reward_surfaces import SURFACES, UPPER
from tqdm.auto import tqdm

from mva_ray.config.search import Search
from mva_ray.maths.pareto import front_mask, hypervolume
from mva_ray.records import Coefficients, Outcome, Proposal
from mva_ray.search.proposer import make_proposer
from mva_ray.search.racing import Race
from mva_ray.search.references import reference_candidates
from mva_ray.search.results import Result
from mva_ray.search.rounds import Rounds

Array = NDArray[np.float64]
Answer = Callable[[Coefficients], tuple[Array, Array]]
"""From coefficients to the rewards [N, k] and the tokens [N] of each prompt."""
BLOCK = 8
CELLS = 20
SURFACE = Path(__file__).with_name("surface_smollm2.json.gz")


def gaussian(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return rng.normal(size=shape)


def skewed(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Log-normal: a few prompts with very high rewards."""
    return np.asarray(rng.lognormal(size=shape) / 2.16)


def tied(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Zero on nine prompts of ten, as where most completions are identical."""
    return np.asarray(3.3 * (rng.random(shape) < 0.1))


def counts(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return np.asarray(rng.poisson(1.0, shape), dtype=float)


NOISES = {"gaussian": gaussian, "skewed": skewed, "skewed down": lambda *a: -skewed(*a), "tied": tied, "counts": counts}


def voronoi(surface: str, noise: str, k: int, prompts: int, scale: float, rng: np.random.Generator) -> Answer:
    """Rewards of prompts whose greedy completion changes from cell to cell of the space of coefficients.

    Each prompt has `CELLS` completions, each at a random place and given wherever that is the nearest: the surface
    there, plus the prompt's level and the completion's noise, both of the size `scale`. Nearby candidates so have many
    completions in common, as real ones do.
    """
    places = rng.uniform(0, UPPER, (prompts, CELLS, k))
    rewards = SURFACES[surface](places.reshape(-1, k)).reshape(places.shape)
    rewards = rewards + scale * (rng.normal(size=(prompts, 1, k)) + NOISES[noise](rng, places.shape))

    def answer(row: Coefficients) -> tuple[Array, Array]:
        completion = ((places - np.array(row)) ** 2).sum(axis=2).argmin(axis=1)
        return rewards[np.arange(prompts), completion], np.ones(prompts)

    return answer


def boundary_rate(noise: str, k: int, prompts: int, error_rate: float, trials: int) -> float:
    """How often a candidate is stopped that no opponent dominates, by next to nothing."""
    rng = np.random.default_rng(0)
    return float(np.mean([stopped_at_boundary(noise, k, prompts, error_rate, rng) for _ in range(trials)]))


def stopped_at_boundary(noise: str, k: int, prompts: int, error_rate: float, rng: np.random.Generator) -> bool:
    answer = voronoi("saturating", noise, k, prompts, 0.5, rng)
    rows: list[Coefficients] = [tuple(row) for row in rng.uniform(0, UPPER, (16, k)).tolist()]
    known = {row: answer(row)[0] for row in rows}
    race = Race(prompts, BLOCK, error_rate)
    race.admit({row: rewards.tolist() for row, rewards in known.items()}, rows)
    candidate = tuple(rng.uniform(0, UPPER, k).tolist())
    race.enter([candidate])
    rewards = answer(candidate)[0]
    rewards = rewards + inner_corner(np.array([r.mean(axis=0) for r in known.values()]), rng) - rewards.mean(axis=0)
    return any(race.dominating(candidate, rewards[:look].tolist()) for look in race.looks)


def inner_corner(means: Array, rng: np.random.Generator) -> Array:
    """A point that no row dominates, 1e-9 above one that is as far inside the dominated region as its edge goes."""
    front = means[front_mask(means)]
    for _ in range(1000):
        chosen = rng.choice(len(front), min(means.shape[1], len(front)), replace=False)
        corner = np.asarray(front[chosen].min(axis=0) + 1e-9)
        if not (front >= corner).all(axis=1).any():
            return corner
    return np.asarray(front[0] + 1e-9)


@dataclass
class Record:
    """What became of one candidate: its rewards and tokens on all prompts, and how many prompts it was given."""

    rewards: Array
    tokens: Array
    given: int
    raced: bool

    @property
    def stopped(self) -> bool:
        return self.given < len(self.rewards)


def search(method: str, budget: int, k: int, seed: int, answer: Answer, race: Race) -> dict[Coefficients, Record]:
    """A search as runs have it; a race without looks stops nobody."""
    settings = Search(method=method, candidates=budget, population=8)  # type: ignore[arg-type]
    proposer = make_proposer(settings, [(0, UPPER)] * k, k, reference_candidates(k, 4), seed)
    rounds, records = Rounds(proposer, race=race), dict[Coefficients, Record]()
    while asked := rounds.ask():
        for proposal in asked:
            record = records[proposal.coefficients] = evaluate(proposal, answer, race)
            rounds.tell(result(proposal.coefficients, record))
    return records


def evaluate(proposal: Proposal, answer: Answer, race: Race) -> Record:
    row = proposal.coefficients
    rewards, tokens = answer(row)
    looks = [look for look in proposal.looks if look is not None]
    stops = (look for look in looks if race.dominating(row, rewards[:look].tolist()) is not None)
    return Record(rewards, tokens, next(stops, len(rewards)), bool(looks))


def result(row: Coefficients, record: Record) -> Result:
    seen = record.rewards[: record.given]
    outcome = Outcome(row, tuple(seen.mean(axis=0)), tuple(seen.std(axis=0, ddof=1) / np.sqrt(len(seen))))
    return Result(outcome, seen.tolist(), not record.stopped)


def compare(method: str, budget: int, k: int, seed: int, answer: Answer, race: Race) -> dict[str, float]:
    """One search with the race and one without."""
    plain = search(method, budget, k, seed, answer, Race(BLOCK, BLOCK, 0.5))
    records = search(method, budget, k, seed, answer, race)
    means = np.array([record.rewards.mean(axis=0) for record in records.values()])
    stopped, raced = (np.array([getattr(r, name) for r in records.values()]) for name in ("stopped", "raced"))
    front = front_mask(means) & raced
    everything = np.array([record.rewards.mean(axis=0) for record in plain.values()])
    reference = np.vstack([means, everything]).min(axis=0)
    return {
        "front": int(front.sum()),
        "wrong": int((front & stopped).sum()),
        "stopped": float(stopped.mean()),
        "saved": saved(list(records.values())),
        "saved_of_raced": saved([record for record in records.values() if record.raced]),
        "hypervolume": float(hypervolume(means[~stopped], reference) / hypervolume(everything, reference)),
    }


def saved(records: Sequence[Record]) -> float:
    given = sum(record.tokens[: record.given].sum() for record in records)
    return float(1 - given / sum(record.tokens.sum() for record in records))


def recorded(path: Path, seed: int) -> tuple[Answer, int, int]:
    """The nearest recorded candidate's rewards, prompts in an order of the seed; numbers of values and of prompts.

    Coefficients between the recorded ones so have the same rewards as these, as have many of a real search.
    """
    candidates = json.loads(gzip.decompress(path.read_bytes()))["candidates"]
    rows = np.array([candidate["w"] for candidate in candidates])
    rewards = np.array([candidate["rewards"] for candidate in candidates])
    tokens = np.array([candidate["tokens"] for candidate in candidates])
    order = np.random.default_rng(seed).permutation(rewards.shape[1])

    def answer(row: Coefficients) -> tuple[Array, Array]:
        nearest = int(((rows - np.array(row)) ** 2).sum(axis=1).argmin())
        return rewards[nearest, order], tokens[nearest, order]

    return answer, rewards.shape[2], rewards.shape[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--budget", type=int, default=100)
    parser.add_argument("--error-rate", type=float, default=0.05)
    parser.add_argument("--surface", type=Path, default=SURFACE)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    results = [
        *boundary_table(arguments.error_rate, arguments.trials),
        *synthetic_table(arguments.error_rate, arguments.seeds, arguments.budget),
        *recorded_table(arguments.surface, arguments.error_rate, arguments.seeds, arguments.budget),
    ]
    if arguments.output:
        arguments.output.write_text(json.dumps(results, indent=1) + "\n")


def boundary_table(error_rate: float, trials: int) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for k, prompts in ((2, 32), (3, 32), (2, 80)):
        for noise in NOISES:
            rate = boundary_rate(noise, k, prompts, error_rate, trials)
            print(f"boundary   {k} values {prompts} prompts {noise:12} wrong {rate:.3f} of {error_rate}", flush=True)
            rows.append({"table": "boundary", "values": k, "prompts": prompts, "noise": noise, "wrong": rate})
    return rows


def synthetic_table(error_rate: float, seeds: int, budget: int) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for surface, noise, k, prompts, scale in (
        ("saturating", "gaussian", 2, 32, 0.5),
        ("saturating", "gaussian", 2, 32, 0.1),
        ("saturating", "gaussian", 2, 200, 0.5),
        ("saturating", "tied", 2, 80, 0.5),
        ("collapse", "skewed", 2, 80, 0.5),
        ("collapse", "counts", 3, 80, 0.5),
    ):
        searches = []
        for seed in tqdm(range(seeds), leave=False):
            answer = voronoi(surface, noise, k, prompts, scale, np.random.default_rng(seed))
            searches.append(compare("nsga2", budget, k, seed, answer, Race(prompts, BLOCK, error_rate)))
        name = f"{surface}, {noise}, {k} values, {prompts} prompts, scale {scale}"
        rows.append({"table": "synthetic", "name": name, "method": "nsga2", **summary(searches)})
        print_row(rows[-1])
    return rows


def recorded_table(path: Path, error_rate: float, seeds: int, budget: int) -> list[dict[str, object]]:
    if not path.is_file():
        print(f"recorded   left out: {path.name} is not there (see benchmarks/surface.py)")
        return []
    rows: list[dict[str, object]] = []
    for method in ("nsga2", "surrogate"):
        searches = []
        for seed in tqdm(range(seeds), leave=False):
            answer, k, prompts = recorded(path, seed)
            searches.append(compare(method, budget, k, seed, answer, Race(prompts, BLOCK, error_rate)))
        rows.append({"table": "recorded", "name": path.name, "method": method, **summary(searches)})
        print_row(rows[-1])
    return rows


def summary(searches: Sequence[Mapping[str, float]]) -> dict[str, object]:
    """Over all searches: the rate of wrongly stopped members of the fronts, and means of the rest."""
    front, wrong = (sum(int(search[name]) for search in searches) for name in ("front", "wrong"))
    means = {
        name: float(np.mean([search[name] for search in searches]))
        for name in ("stopped", "saved", "saved_of_raced", "hypervolume")
    }
    lowest = min(search["hypervolume"] for search in searches)
    return {"front": front, "wrong": wrong / max(front, 1), **means, "hypervolume_lowest": lowest}


def print_row(row: Mapping[str, object]) -> None:
    print(
        f"{row['table']:10} {row['name']:52} {row['method']:9} wrong {row['wrong']:.3f} of {row['front']:5}  "
        f"stopped {row['stopped']:.2f}  saved {row['saved']:.3f} (of raced {row['saved_of_raced']:.3f})  "
        f"hypervolume {row['hypervolume']:.4f} (lowest {row['hypervolume_lowest']:.4f})",
        flush=True,
    )


if __name__ == "__main__":
    main()

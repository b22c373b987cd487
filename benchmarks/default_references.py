"""How much of a default search's budget are references, where they lie, and whether the search leaves them.

python benchmarks/default_references.py --seeds 3
python benchmarks/default_references.py --run        runs whole jobs too, on a tiny model with random adapters

For each number of values a line: the budget, how many of it are references and their share; `balance`, the least and
the greatest sum of one value's coefficients over the references; how many candidates the search adds; how far from the
nearest reference these are, in the median; the hypervolume of the references' front and of all candidates', as a share
of the box that holds all; and the failures.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray
from reward_surfaces import NOISE, SURFACES, UPPER, Rewards

from mva_ray.config.search import Search
from mva_ray.maths.pareto import front_mask, hypervolume
from mva_ray.records import Outcome
from mva_ray.search.proposer import make_proposer
from mva_ray.search.references import most_references, reference_candidates
from mva_ray.search.results import Result
from mva_ray.search.rounds import Rounds
from mva_ray.table import ParetoTable

Array = NDArray[np.float64]
HEAD = ("on", "values", "budget", "references", "share", "balance", "searched", "distance", "volume", "failures")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--values", type=int, nargs="+", default=[2, 3, 4, 5, 8])
    parser.add_argument("--surface", choices=list(SURFACES), default="saturating")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--run", action="store_true", help="run whole jobs, too")
    arguments = parser.parse_args()
    print(f"| {' | '.join(HEAD)} |\n|{'---|' * len(HEAD)}")
    for n_values in arguments.values:
        for seed in range(arguments.seeds):
            rows, rewards = searched(SURFACES[arguments.surface], n_values, seed)
            print_line(f"{arguments.surface}, seed {seed}", rows, rewards, 0)
    for n_values in arguments.values if arguments.run else ():
        with tempfile.TemporaryDirectory() as directory:
            print_line("a tiny model", *whole_run(Path(directory), n_values))


def searched(surface: Rewards, n_values: int, seed: int) -> tuple[Array, Array]:
    """The candidates of a default search in the order of proposal, [n, k], and their true rewards."""
    settings, rng = Search(), np.random.default_rng([seed, 1])
    references = reference_candidates(n_values, settings.convex_partitions, most_references(settings.candidates))
    rounds = Rounds(make_proposer(settings, [(0, UPPER)] * n_values, n_values, references, seed))
    error = NOISE * np.ptp(surface(np.array(references)), axis=0)
    while asked := [proposal.coefficients for proposal in rounds.ask()]:
        measured = surface(np.array(asked)) + error * rng.normal(size=(len(asked), n_values))
        for row, means in zip(asked, measured.tolist(), strict=True):
            rounds.tell(Result(Outcome(row, tuple(means), tuple(error))))
    rows = np.array([proposal.coefficients for proposal in rounds.proposals])
    return rows, surface(rows)


def whole_run(directory: Path, n_values: int) -> tuple[Array, Array, int]:
    """A default search of adapters that are brought, as a user starts it: candidates, mean rewards and failures."""
    command = [sys.executable, "-m", "mva_ray.explore", "--config", str(write_config(directory, n_values))]
    subprocess.run([*command, "--run", str(directory / "run")], check=True, capture_output=True, text=True)
    evaluations = ParetoTable(directory / "run").evaluations(split="search")
    ok = [row for row in evaluations if row.status == "ok"]
    names = list(ok[0].reward_mean)
    coefficients = np.array([[row.coefficients[name] for name in names] for row in ok])
    rewards = np.array([[row.reward_mean[name] for name in names] for row in ok])
    return coefficients, rewards, len(evaluations) - len(ok)


def write_config(directory: Path, n_values: int) -> Path:
    from tests.support.tiny import make_llama, random_adapter

    model = make_llama(directory / "model")
    for split in ("train", "search", "held_out"):
        rows = [{"prompt": f"{split}: why is number {number} blue?"} for number in range(6)]
        (directory / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (directory / "letters.py").write_text(
        "".join(
            f"def of_{letter}(prompts, completions, **kwargs):\n"
            f"    return [float(completion.count({letter!r})) for completion in completions]\n"
            for letter in "aeiostrn"
        )
    )
    values = [
        {
            "name": f"value_{letter}",
            "reward": f"letters:of_{letter}",
            "adapter": str(random_adapter(directory / letter, model, seed, r=2, alpha=4)),
        }
        for seed, letter in enumerate("aeiostrn"[:n_values])
    ]
    path = directory / "default.yaml"
    config = {
        "name": "default",
        "base_model": str(model),
        "prompts": {split: {"path": f"{split}.jsonl"} for split in ("train", "search", "held_out")},
        "generation": {"max_new_tokens": 8, "batch_size": 8},
        "values": values,
    }
    path.write_text(yaml.safe_dump(config))
    return path


def print_line(name: str, rows: Array, rewards: Array, failures: int) -> None:
    settings, n_values = Search(), rows.shape[1]
    references = reference_candidates(n_values, settings.convex_partitions, most_references(settings.candidates))
    is_reference = np.array([tuple(row) in set(references) for row in rows.tolist()])
    load = np.array(references).sum(axis=0)
    print(f"| {' | '.join(cells(name, rows, rewards, is_reference, load))} | {failures} |", flush=True)


def cells(name: str, rows: Array, rewards: Array, is_reference: NDArray[np.bool_], load: Array) -> Iterator[str]:
    later = rows[~is_reference]
    nearest = np.sqrt(((later[:, None] - rows[is_reference]) ** 2).sum(axis=2)).min(axis=1)
    before, after = (volume(some, rewards) for some in (rewards[is_reference], rewards))
    yield from (name, str(rows.shape[1]), str(Search().candidates), str(is_reference.sum()))
    yield f"{is_reference.sum() / Search().candidates:.0%}"
    yield f"{load.min():.2f} to {load.max():.2f}"
    yield from (str(len(later)), f"{np.median(nearest):.2f}", f"{before:.3f} to {after:.3f}")


def volume(some: Array, every: Array) -> float:
    """The hypervolume of the front of some rewards as a share of the box that holds all."""
    scaled = (some - every.min(axis=0)) / np.maximum(np.ptp(every, axis=0), 1e-9)
    return float(hypervolume(scaled[front_mask(scaled)], np.zeros(scaled.shape[1])))


if __name__ == "__main__":
    main()

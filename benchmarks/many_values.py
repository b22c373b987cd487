"""What searches with five and eight values find with sixty candidates.

python benchmarks/many_values.py --output docs/results/many_values.json

The surface is `distances` of benchmarks/reward_surfaces.py, whose front is known: the hull of the values' best
coefficients. Hypervolume of the true rewards of all candidates, as a share of that of 4,000 random members of the
front, by 131,072 random points of the front's box. `seconds` are of CPU, a candidate.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch
from numpy.typing import NDArray
from reward_surfaces import Array, Synthetic, distances
from search_methods import OPTUNA, dominated, optuna_batches, our_batches
from tqdm.auto import tqdm

METHODS = ("surrogate", "sobol", "nsga2", "optuna_gp")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--values", type=int, nargs="+", default=[5, 8])
    parser.add_argument("--budget", type=int, default=60)
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    results = []
    for n_values in arguments.values:
        surface, share = Synthetic(distances, n_values), Share(n_values)
        for method in arguments.methods:
            results.append(searched(method, surface, share, arguments.budget, arguments.seeds))
            print(json.dumps(results[-1]), flush=True)
    if arguments.output:
        arguments.output.write_text(json.dumps({"budget": arguments.budget, "results": results}, indent=1) + "\n")


class Share:
    """Of the hypervolume of the front of `distances`."""

    def __init__(self, n_values: int) -> None:
        rng = np.random.default_rng(0)
        front = distances(0.9 * rng.dirichlet(np.ones(n_values), 4000))
        points = rng.uniform(front.min(axis=0), np.zeros(n_values), (131_072, n_values))
        self._points = points[covered(points, front)]

    def of(self, rewards: Array) -> float:
        return float(covered(self._points, rewards).mean())


def covered(points: Array, rewards: Array) -> NDArray[np.bool_]:
    """[points]: whether some reward vector dominates the point."""
    return np.asarray(np.any([dominated(points, part).any(axis=0) for part in np.array_split(rewards, 40)], axis=0))


def searched(method: str, surface: Synthetic, share: Share, budget: int, seeds: int) -> dict[str, Any]:
    found, started = [], time.process_time()
    for seed in tqdm(range(seeds), desc=method, leave=False):
        batches = (optuna_batches if method in OPTUNA else our_batches)(method, surface, budget, seed)
        rows = [row for batch in batches for row in batch]
        found.append(round(share.of(surface.true(np.array(rows))), 4))
    seconds = (time.process_time() - started) / seeds / budget
    return {"values": len(surface.bounds), "method": method, "hypervolume": found, "seconds": round(seconds, 3)}


if __name__ == "__main__":
    main()

"""Which recipe of a reward model is right most often, by cross-validation inside the pairs that it may be trained on.

python -m benchmarks.test_beds.reward_recipes runs/hh/helpful/reward.jsonl runs/hh/harmless/reward.jsonl \
    --held-out 0.3333 --output docs/results/hh/reward_recipes.json

What `mva-ray reward train --held-out 0.3333` would hold out is set aside first: the pairs that a model is judged by
have no part in the choice. The rest falls into folds by prompt; each fold is judged by a model of the others, and the
recipe that is right on most pairs of all files together is the one to take.
"""

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from hashlib import sha256
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mva_ray.adapters.base_model import load_tokenizer
from mva_ray.adapters.fetch import SMOLLM2
from mva_ray.config.values import PairSource
from mva_ray.data.source import read_pairs
from mva_ray.records import PreferencePair
from mva_ray.reward_model.judged import Judged, cross_calibrated, judge
from mva_ray.reward_model.train import Recipe, fitted, lengths_of, margins_of, split_by_prompt, tokenise

Outcome = tuple[NDArray[np.float64], NDArray[np.int64]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", nargs="+", type=Path)
    parser.add_argument("--held-out", type=float, default=0.2)
    parser.add_argument("--base", default=SMOLLM2)
    parser.add_argument("--epochs", nargs="+", type=float, default=[1, 3])
    parser.add_argument("--learning-rates", nargs="+", type=float, default=[1e-4, 3e-4])
    parser.add_argument("--max-length", type=int, default=256)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--processes", type=int, default=1, help="at once")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    recipes = [
        Recipe(options.base, epochs=epochs, learning_rate=rate, max_length=options.max_length)
        for epochs, rate in product(options.epochs, options.learning_rates)
    ]
    started = time.perf_counter()
    tasks = list(product(recipes, options.pairs, range(options.folds)))
    outcomes: dict[tuple[Recipe, Path], list[Outcome]] = defaultdict(list)
    with ProcessPoolExecutor(options.processes, mp_context=get_context("spawn")) as pool:
        found = pool.map(partial(judged_fold, options.held_out, options.folds), *zip(*tasks, strict=True))
        for (recipe, pairs, fold), outcome in zip(tasks, found, strict=True):
            outcomes[recipe, pairs].append(outcome)
            print(f"{described(recipe)}, {pairs}, fold {fold}: {judged([outcome])}", flush=True)
    rows: list[dict[str, Any]] = [
        {
            "recipe": described(recipe),
            "all": asdict(judged([one for pairs in options.pairs for one in outcomes[recipe, pairs]])),
            "files": {str(pairs): asdict(judged(outcomes[recipe, pairs])) for pairs in options.pairs},
        }
        for recipe in recipes
    ]
    rows.sort(key=lambda row: -row["all"]["accuracy"])
    for row in rows:
        print(json.dumps(row))
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        result = {"folds": options.folds, "seconds": time.perf_counter() - started, "recipes": rows}
        options.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def judged_fold(held_out: float, folds: int, recipe: Recipe, pairs: Path, fold: int) -> Outcome:
    """The margins of a fold's pairs by a model of the others, and their lengths, as `judge` takes them."""
    own, _ = split_by_prompt(read_pairs(PairSource(path=str(pairs))), held_out)
    tokenizer = load_tokenizer(recipe.base_model)
    parts = ([pair for pair in own if (fold_of(pair, folds) == fold) is unseen] for unseen in (False, True))
    rows, unseen_rows = (tokenise(tokenizer, part, recipe.max_length) for part in parts)
    model = fitted(tokenizer, rows, recipe)
    margins = margins_of(model, unseen_rows, tokenizer.pad_token_id, recipe.pairs_per_step)
    return margins, lengths_of(unseen_rows)


def judged(outcomes: Sequence[Outcome]) -> Judged:
    """Of several folds together."""
    margins, lengths = (np.concatenate(part) for part in zip(*outcomes, strict=True))
    return judge(cross_calibrated(margins), lengths)


def fold_of(pair: PreferencePair, folds: int) -> int:
    """By the prompt, and by other bits of it than the split that set pairs aside."""
    return int.from_bytes(sha256(json.dumps(["fold", pair.prompt]).encode()).digest()[:8]) % folds


def described(recipe: Recipe) -> str:
    return f"--epochs {recipe.epochs:g} --learning-rate {recipe.learning_rate:g} --max-length {recipe.max_length}"


if __name__ == "__main__":
    main()

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
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from hashlib import sha256
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from scipy.stats import binomtest

from mva_ray.adapters.base_model import load_tokenizer
from mva_ray.adapters.fetch import SMOLLM2
from mva_ray.config.values import PairSource
from mva_ray.data.source import read_pairs
from mva_ray.records import PreferencePair
from mva_ray.reward_model.train import Recipe, fitted, margins_of, split_by_prompt, tokenise


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
    tasks = list(product(range(len(recipes)), options.pairs, range(options.folds)))
    right: Counter[tuple[int, Path]] = Counter()
    judged: Counter[tuple[int, Path]] = Counter()
    with ProcessPoolExecutor(options.processes, mp_context=get_context("spawn")) as pool:
        found = pool.map(
            rights,
            [recipes[place] for place, _, _ in tasks],
            [pairs for _, pairs, _ in tasks],
            [fold for _, _, fold in tasks],
            [(options.held_out, options.folds)] * len(tasks),
        )
        for (place, pairs, fold), outcome in zip(tasks, found, strict=True):
            right[place, pairs] += sum(outcome)
            judged[place, pairs] += len(outcome)
            print(f"{described(recipes[place])}, {pairs}, fold {fold}: {sum(outcome)} of {len(outcome)}", flush=True)
    rows: list[dict[str, Any]] = []
    for place, recipe in enumerate(recipes):
        of_files = {str(pairs): accuracy(right[place, pairs], judged[place, pairs]) for pairs in options.pairs}
        both = [sum(count[place, pairs] for pairs in options.pairs) for count in (right, judged)]
        rows.append({"recipe": described(recipe), "all": accuracy(*both), "files": of_files})
    rows.sort(key=lambda row: -row["all"]["accuracy"])
    for row in rows:
        print(json.dumps(row))
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        result = {"folds": options.folds, "seconds": time.perf_counter() - started, "recipes": rows}
        options.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def rights(recipe: Recipe, pairs: Path, fold: int, split: tuple[float, int]) -> list[bool]:
    """[pairs of the fold] whether the chosen answer has the higher reward."""
    held_out, folds = split
    own, _ = split_by_prompt(read_pairs(PairSource(path=str(pairs))), held_out)
    tokenizer = load_tokenizer(recipe.base_model)
    parts = ([pair for pair in own if (fold_of(pair, folds) == fold) is unseen] for unseen in (False, True))
    rows, unseen_rows = (tokenise(tokenizer, part, recipe.max_length) for part in parts)
    model = fitted(tokenizer, rows, recipe)
    margins: Sequence[Any] = margins_of(model, unseen_rows, tokenizer.pad_token_id, recipe.pairs_per_step).tolist()
    return [margin > 0 for margin in margins]


def fold_of(pair: PreferencePair, folds: int) -> int:
    """By the prompt, and by other bits of it than the split that set pairs aside."""
    return int.from_bytes(sha256(json.dumps(["fold", pair.prompt]).encode()).digest()[:8]) % folds


def accuracy(right: int, judged: int) -> dict[str, Any]:
    """With Wilson's interval of 95 %."""
    interval = binomtest(right, judged).proportion_ci(method="wilson")
    return {"pairs": judged, "accuracy": right / judged, "interval": [interval.low, interval.high]}


def described(recipe: Recipe) -> str:
    return f"--epochs {recipe.epochs:g} --learning-rate {recipe.learning_rate:g} --max-length {recipe.max_length}"


if __name__ == "__main__":
    main()

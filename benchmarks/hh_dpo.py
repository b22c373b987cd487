"""One DPO run on Anthropic's HH pairs: preference accuracy on held-out pairs before and after. One command:

    python benchmarks/hh_dpo.py hh-rlhf-harmless-base/pairs.jsonl.gz [--model HuggingFaceTB/SmolLM2-135M-Instruct]

Preference accuracy is the share of pairs whose chosen answer has the higher log-probability, summed over its tokens;
no prompt is on both sides of the split.
"""

import argparse
import json
import os
import random
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from math import sqrt
from pathlib import Path

import torch
from peft import PeftModel
from tqdm.auto import tqdm

from mva_ray.adapters.base_model import allow_bfloat16_products, load_base_model, load_tokenizer
from mva_ray.config.training import Training
from mva_ray.config.values import PairSource
from mva_ray.data.source import read_pairs
from mva_ray.records import PreferencePair
from mva_ray.training.dpo import tokenise
from mva_ray.training.job import TrainingJob
from mva_ray.training.packing import completion_logps, pack
from mva_ray.training.train import train_adapter

BATCH = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", type=Path)
    parser.add_argument("--model", default="HuggingFaceTB/SmolLM2-135M-Instruct")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--learning-rate", type=float, default=2e-4)
    parser.add_argument("--held-out", type=int, default=250, help="pairs")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(os.cpu_count() or 1)
    allow_bfloat16_products()
    train, held_out = split(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        output = f"{scratch}/adapter"
        training = Training(steps=arguments.steps, learning_rate=arguments.learning_rate, max_length=384)
        job = TrainingJob("hh", arguments.model, None, tuple(train), (), training, arguments.seed, output)
        with tqdm(total=arguments.steps, desc="training") as bar:
            train_adapter(job, lambda row: bar.update())
        before, after = (margins(job, held_out, adapter) for adapter in (None, output))
    report(before, after, len(train))


def split(arguments: argparse.Namespace) -> tuple[list[PreferencePair], list[PreferencePair]]:
    """Pairs of other prompts on each side, at random."""
    pairs = read_pairs(PairSource(path=str(arguments.pairs), max_bad_share=0.01))
    prompts = list(dict.fromkeys(pair.prompt for pair in pairs))
    random.Random(arguments.seed).shuffle(prompts)
    chosen = set(prompts[: arguments.held_out])
    return [pair for pair in pairs if pair.prompt not in chosen], [pair for pair in pairs if pair.prompt in chosen]


@torch.no_grad()
def margins(job: TrainingJob, pairs: Sequence[PreferencePair], adapter: str | None) -> list[float]:
    """log p(chosen) - log p(rejected) of every pair that fits, in nats."""
    tokenizer, model = load_tokenizer(job.base_model), load_base_model(job.base_model)
    if adapter:
        model = PeftModel.from_pretrained(model, adapter)
    rows = tokenise(replace(job, pairs=tuple(pairs)), tokenizer)
    found: list[float] = []
    for start in tqdm(range(0, len(rows), BATCH), desc="trained model" if adapter else "base model"):
        batch = pack(rows[start : start + BATCH])
        chosen, rejected = completion_logps(model, model.get_output_embeddings(), batch)
        found += (chosen - rejected).tolist()
    return found


def report(before: list[float], after: list[float], trained_on: int) -> None:
    n = len(before)
    gained = sum(old <= 0 < new for old, new in zip(before, after, strict=True))
    lost = sum(new <= 0 < old for old, new in zip(before, after, strict=True))
    rise = (gained - lost) / n
    error = sqrt((gained + lost) / n - rise**2) / sqrt(n - 1)
    moved = sum(new > old for old, new in zip(before, after, strict=True)) / n
    result = {
        "pairs trained on": trained_on,
        "held-out pairs": n,
        "base accuracy": sum(margin > 0 for margin in before) / n,
        "trained accuracy": sum(margin > 0 for margin in after) / n,
        "rise": rise,
        "paired s.e.": error,
        "margin rose (accuracy of the implicit reward)": moved,
    }
    for name, number in result.items():
        print(f"{name:48}{number:8.3f}" if isinstance(number, float) else f"{name:48}{number:8d}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()

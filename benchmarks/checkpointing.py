"""What it costs to compute activations again: seconds a DPO step, and the peak of memory, on a GPU.

python -m benchmarks.checkpointing PAIRS.jsonl --output docs/results/checkpointing.json

Training does so where memory is short (`mva_ray/adapters/memory.py: must_checkpoint`). Here it is told to, and not to.
"""

import argparse
import json
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import torch

from mva_ray.adapters.fetch import SMOLLM2
from mva_ray.config.training import Training
from mva_ray.config.values import PairSource
from mva_ray.data.source import read_pairs
from mva_ray.training.job import TrainingJob
from mva_ray.training.train import train_adapter


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", type=Path)
    parser.add_argument("--model", default=SMOLLM2)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--pairs-per-step", type=int, default=8)
    parser.add_argument("--max-length", type=int, default=384)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    training = Training(steps=options.steps, pairs_per_step=options.pairs_per_step, max_length=options.max_length)
    pairs = tuple(read_pairs(PairSource(path=str(options.pairs))))
    with tempfile.TemporaryDirectory() as scratch:
        job = TrainingJob("step", options.model, None, pairs, (), training, 0, f"{scratch}/adapter")
        ways = {"computed again": measured(job, True), "kept": measured(job, False)}
    result = {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__, "activations": ways}
    print(json.dumps(result))
    if options.output:
        options.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def measured(job: TrainingJob, again: bool) -> dict[str, Any]:
    """Median seconds between steps (the first two left out), the peak in bytes, and some losses."""
    times: list[float] = []
    losses: list[float] = []

    def said(row: Any) -> None:
        times.append(time.perf_counter())
        losses.append(row["loss"])

    torch.cuda.reset_peak_memory_stats()
    with patch("mva_ray.training.train._checkpoints_activations", lambda job, gpus: again):
        train_adapter(job, said, gpus=1)
    return {
        "seconds a step": median(after - before for before, after in pairwise(times[2:])),
        "peak bytes": torch.cuda.max_memory_allocated(),
        "first and last losses": [*losses[:2], *losses[-2:]],
    }


if __name__ == "__main__":
    main()

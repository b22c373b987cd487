"""Seconds a DPO step on this machine: TRL's trainer as it comes, with what it offers, and ours. One command:

    python benchmarks/dpo_step.py runs/quickstart/pairs/positive-*.jsonl

The pairs are those of a finished run, or any file of pairs. Every trainer has a process of its own (the allocator's
settings are in the environment), the same pairs, LoRA and learning rate; batches differ, since ours groups by length.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

from mva_ray.config.values import PairSource
from mva_ray.data.source import read_pairs

KEPT_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40), "MALLOC_TOP_PAD_": str(1 << 28)}
WAYS: dict[str, dict[str, Any]] = {
    "TRL as it comes": {"trainer": "trl", "precompute": False},
    "+ precomputed reference": {"trainer": "trl", "precompute": True},
    "+ allocator keeps memory": {"trainer": "trl", "precompute": True, "environment": KEPT_MEMORY},
    "packed pairs, few logits (ours)": {"trainer": "ours", "environment": KEPT_MEMORY},
    "+ float32 products by oneDNN": {"trainer": "ours", "environment": KEPT_MEMORY, "onednn": True},
    "+ bfloat16 products (ours, used)": {"trainer": "ours", "environment": KEPT_MEMORY, "onednn": True, "native": True},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="HuggingFaceTB/SmolLM2-135M-Instruct")
    parser.add_argument("pairs", type=Path)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--way", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.way:
        train(WAYS[arguments.way], arguments)
        return
    results = {way: measure(way, arguments) for way in WAYS}
    first = results["TRL as it comes"]["seconds"]
    print(f"{'':34}{'s/step':>8}{'ratio':>8}{'first loss':>12}{'last loss':>11}")
    for way, row in results.items():
        ratio = first / row["seconds"]
        print(f"{way:34}{row['seconds']:8.2f}{ratio:7.1f}x{row['losses'][0]:12.4f}{row['losses'][-1]:11.4f}")
    print(json.dumps(results))


def measure(way: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Median seconds between steps (the first left out) and the losses."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    command = [sys.executable, __file__, "--way", way, "--model", arguments.model, str(arguments.pairs)]
    command += ["--steps", str(arguments.steps)]
    done = subprocess.run(
        command, env=plain | WAYS[way].get("environment", {}), stdout=subprocess.PIPE, text=True, check=True
    )
    steps = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"time"')]
    times = [step["time"] for step in steps]
    pauses = [after - before for before, after in pairwise(times[1:])]
    return {"seconds": median(pauses), "losses": [step["loss"] for step in steps]}


def train(way: dict[str, Any], arguments: argparse.Namespace) -> None:
    import torch

    from mva_ray.adapters.base_model import allow_bfloat16_products

    torch.set_num_threads(os.cpu_count() or 1)
    if way.get("onednn"):
        allow_bfloat16_products()
    with tempfile.TemporaryDirectory() as output:
        if way["trainer"] == "ours":
            _train_ours(arguments, output, native=way.get("native", False))
        else:
            _train_trl(arguments, output, way["precompute"])


def _say(loss: float) -> None:
    print(json.dumps({"time": time.perf_counter(), "loss": loss}), flush=True)


def _train_ours(arguments: argparse.Namespace, output: str, native: bool) -> None:
    from mva_ray.config.training import Training
    from mva_ray.training.job import TrainingJob
    from mva_ray.training.train import train_adapter

    pairs = read_pairs(PairSource(path=str(arguments.pairs)))
    job = TrainingJob("step", arguments.model, None, pairs, (), Training(steps=arguments.steps), 0, f"{output}/adapter")
    in_float32 = nullcontext() if native else patch("mva_ray.training.train.trains_in_bfloat16", lambda on_gpu: on_gpu)
    with in_float32:
        train_adapter(job, lambda row: _say(row["loss"]))


def _train_trl(arguments: argparse.Namespace, output: str, precompute: bool) -> None:
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import TrainerCallback
    from trl import DPOConfig, DPOTrainer

    from mva_ray.adapters.base_model import load_base_model, load_tokenizer
    from mva_ray.config.training import Training

    class Say(TrainerCallback):
        def on_log(self, *_: Any, logs: dict[str, float], **__: Any) -> None:
            if "rewards/margins" in logs:
                _say(logs["loss"])

    ours = Training()
    roles = (("prompt", "user"), ("chosen", "assistant"), ("rejected", "assistant"))
    rows = [
        {name: [{"role": role, "content": getattr(pair, name)}] for name, role in roles}
        for pair in read_pairs(PairSource(path=str(arguments.pairs)))
    ]
    trainer = DPOTrainer(
        model=load_base_model(arguments.model),
        args=DPOConfig(
            output_dir=output,
            max_steps=arguments.steps,
            per_device_train_batch_size=ours.pairs_per_step,
            learning_rate=ours.learning_rate,
            beta=ours.beta,
            max_length=ours.max_length,
            precompute_ref_log_probs=precompute,
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=load_tokenizer(arguments.model),
        peft_config=LoraConfig(
            r=ours.lora.r,
            lora_alpha=ours.lora.alpha,
            target_modules=list(ours.lora.target_modules),
            task_type="CAUSAL_LM",
        ),
        callbacks=[Say()],
    )
    trainer.train()


if __name__ == "__main__":
    main()

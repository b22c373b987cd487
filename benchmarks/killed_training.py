"""Kill a training worker at a random step, again and again: is the adapter that of an undisturbed run?

python -m benchmarks.killed_training --kills 10
python -m benchmarks.killed_training --kills 10 --model path/to/model --pairs runs/quickstart/pairs/brief-….jsonl
"""

import argparse
import json
import random
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import ray
import torch
from safetensors.torch import load_file

from mva_ray.adapters.hashes import WEIGHTS_FILE
from mva_ray.config.training import Lora, Training
from mva_ray.config.values import PairSource
from mva_ray.data.source import read_pairs
from mva_ray.records import PreferencePair
from mva_ray.training import log, ray_training
from mva_ray.training.job import METRICS_FILE, TrainingJob
from tests.support.kill import checkpoint_step, kill_training_worker
from tests.support.tiny import make_llama

OnStep = Callable[[str, Mapping[str, float]], None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--checkpoint-steps", type=int, default=7)
    parser.add_argument("--model", type=Path, help="a model directory; a tiny one is made where there is none")
    parser.add_argument("--pairs", type=Path, help="JSONL with prompt, chosen, rejected")
    arguments = parser.parse_args()
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
    log.POLL_S = 0.02
    with tempfile.TemporaryDirectory() as directory:
        compare(arguments, Path(directory))


def compare(arguments: argparse.Namespace, directory: Path) -> None:
    model = arguments.model or make_llama(directory / "model")
    pairs = read_pairs(PairSource(path=str(arguments.pairs))) if arguments.pairs else made_up_pairs()
    training = Training(
        steps=arguments.steps,
        checkpoint_steps=arguments.checkpoint_steps,
        learning_rate=1e-3,
        lora=Lora(r=4, alpha=8, dropout=0.1),
    )

    def train(name: str, on_step: OnStep) -> Path:
        output = directory / name
        job = TrainingJob(name, str(model), None, pairs, (), training, 0, str(output))
        ray_training.train_on_ray([job], directory / "ray", on_step)
        return output

    undisturbed = train("undisturbed", lambda name, row: None)
    print("killed at  resumed at  metrics differ by  weights differ by")
    for number in range(arguments.kills):
        killer = Killer(random.randrange(1, arguments.steps - 2), directory / "ray")
        output = train(f"killed-{number}", killer)
        differences = f"{difference(metrics(undisturbed), metrics(output)):17.2e}  "
        differences += f"{difference(weights(undisturbed), weights(output)):17.2e}"
        print(f"{killer.killed_at:9}  {killer.resumed_at:10}  {differences}", flush=True)


class Killer:
    """Kills the worker once the driver has heard of a step."""

    def __init__(self, step: int, storage: Path) -> None:
        self._step = step
        self._storage = storage
        self.killed_at = self.resumed_at = 0

    def __call__(self, name: str, row: Mapping[str, float]) -> None:
        if row["step"] >= self._step and not self.killed_at:
            kill_training_worker()
            self.killed_at = int(row["step"])
            self.resumed_at = checkpoint_step(self._storage)


def made_up_pairs() -> tuple[PreferencePair, ...]:
    things = ("bread", "the sky", "a friend", "red light", "the stove", "time", "air", "home", "an oven", "a pan")
    return tuple(PreferencePair(f"Why is {thing} blue?", "Say yes.", "Because air scatters") for thing in things)


def metrics(output: Path) -> dict[str, torch.Tensor]:
    rows = [json.loads(line) for line in (output / METRICS_FILE).read_text().splitlines()]
    return {name: torch.tensor([row[name] for row in rows], dtype=torch.double) for name in rows[0]}


def weights(output: Path) -> dict[str, torch.Tensor]:
    return load_file(output / WEIGHTS_FILE)


def difference(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> float:
    """The largest of all; tensors of another shape or name are an error."""
    return max((one[name] - other[name]).abs().max().item() for name in one.keys() | other.keys())


if __name__ == "__main__":
    main()

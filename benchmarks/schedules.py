"""All values at once against one after the other: seconds, what the adapters share, and their held-out rewards.

python benchmarks/schedules.py --config tune_configs/quickstart.yaml --pairs runs/quickstart/pairs --output out

`out/schedules.json` holds all numbers, `out/<schedule>/<value>` the adapters.
"""

import argparse
import os
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import ray

from mva_ray.adapters.fetch import local_directory
from mva_ray.adapters.hashes import adapter_hash
from mva_ray.adapters.lora import load_factors
from mva_ray.config import RunConfig, load_config
from mva_ray.config.values import PairSource
from mva_ray.data.files import split_prompts
from mva_ray.data.source import read_pairs
from mva_ray.evaluation.local import LocalGenerator
from mva_ray.evaluation.reward import load_reward, score
from mva_ray.maths.interference import delta_cka, delta_cosine
from mva_ray.records import AdapterRef, Generation
from mva_ray.run_dir.store import File
from mva_ray.run_dir.stores import store_at
from mva_ray.stages.ray_session import ENVIRONMENT
from mva_ray.training.job import TrainingJob
from mva_ray.training.ray_training import train_on_ray


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--model", help="in place of the config's base_model")
    parser.add_argument("--pairs", type=Path, help="a run's pairs/, for values that have none in the config")
    parser.add_argument("--max-staleness", type=int, default=0)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    config = load_config(arguments.config)
    model = str(local_directory(arguments.model or config.base_model))
    values = len(config.values)
    os.environ.update(ENVIRONMENT)
    results = {}
    for name, schedule, cores in (
        ("sequential, 1 core", "sequential", 1),
        (f"sequential, {values} cores", "sequential", values),
        (f"concurrent, {values} cores", "concurrent", values),
    ):
        output = (arguments.output / name.replace(", ", "-").replace(" ", "-")).absolute()
        jobs = make_jobs(config, model, arguments, schedule, output)
        results[name] = measure(jobs, cores, output) | interference(jobs) | {"rewards": own_rewards(config, jobs)}
    print_table(results)
    print_rewards(results)
    File(store_at(arguments.output), "schedules.json").write_json(results)


def make_jobs(
    config: RunConfig, model: str, arguments: argparse.Namespace, schedule: str, output: Path
) -> list[TrainingJob]:
    changes = {"schedule": schedule, "max_staleness": arguments.max_staleness if schedule == "concurrent" else 0}
    training = config.training.model_copy(update=changes)
    outputs = [str(output / value) for value in config.value_names]
    return [
        TrainingJob(
            name=value.name,
            base_model=model,
            system_prompt=config.generation.system_prompt,
            pairs=read_pairs(value.pairs or PairSource(path=str(next(arguments.pairs.glob(f"{value.name}-*.jsonl"))))),
            earlier=tuple(outputs[:place]) if schedule == "sequential" else (),
            training=training,
            seed=config.seed + place,
            output=outputs[place],
        )
        for place, value in enumerate(config.values)
    ]


def measure(jobs: Sequence[TrainingJob], cores: int, output: Path) -> dict[str, Any]:
    """Seconds of the whole, and of each value's steps but the first, which waits for Ray, model and reference."""
    times: dict[str, list[float]] = defaultdict(list)
    ray.init(num_cpus=cores, include_dashboard=False, log_to_driver=False)
    started = time.monotonic()
    train_on_ray(jobs, output / "ray", lambda name, row: times[name].append(time.monotonic()))
    whole = time.monotonic() - started
    ray.shutdown()
    return {
        "seconds": whole,
        "first_step_after": {name: seen[0] - started for name, seen in times.items()},
        "done_after": {name: seen[-1] - started for name, seen in times.items()},
        "seconds_of_steps": {name: seen[-1] - seen[0] for name, seen in times.items()},
        "adapters": {job.name: job.output for job in jobs},
    }


def interference(jobs: Sequence[TrainingJob]) -> dict[str, float]:
    """Means over modules and pairs of values; of the cosine, of its absolute."""
    factors = [load_factors(Path(job.output)) for job in jobs]
    pairs = [
        ((one.a[module], one.b[module]), (other.a[module], other.b[module]))
        for one, other in combinations(factors, 2)
        for module in one.a
    ]
    return {
        "mean_absolute_cosine": fmean(delta_cosine(*pair).abs().item() for pair in pairs),
        "mean_cka": fmean(delta_cka(*pair).item() for pair in pairs),
    }


def own_rewards(config: RunConfig, jobs: Sequence[TrainingJob]) -> dict[str, list[float]]:
    """Every value's reward of its own adapter's greedy answer to each held-out prompt, higher is better."""
    prompts = split_prompts(config.prompts, "held_out")
    found = {}
    for job, value in zip(jobs, config.values, strict=True):
        adapter = AdapterRef(job.name, job.output, adapter_hash(Path(job.output)))
        generator = LocalGenerator(job.base_model, [adapter], config.generation)
        answers = generator.answer([((1.0,), text) for text in prompts])
        completions = [answer.completion for answer in answers if isinstance(answer, Generation)]
        found[job.name] = score(load_reward(value.reward), prompts, completions)
    return found


def print_rewards(results: Mapping[str, Mapping[str, Any]]) -> None:
    """Means with standard errors; differences from the first schedule are paired by prompt."""
    first, *_ = results.values()
    for name, result in results.items():
        for value, rewards in result["rewards"].items():
            differences = [new - old for new, old in zip(rewards, first["rewards"][value], strict=True)]
            print(f"{name:22} {value:12} {_mean(rewards)}   minus the first schedule's {_mean(differences)}")


def _mean(numbers: Sequence[float]) -> str:
    return f"{fmean(numbers):7.3f} ±{stdev(numbers) / len(numbers) ** 0.5:.3f}"


def print_table(results: Mapping[str, Mapping[str, Any]]) -> None:
    alone = next(iter(next(iter(results.values()))["seconds_of_steps"].values()))
    print(f"{'schedule':22} {'whole':>8} {'of steps':>9} {'to one value alone':>19} {'|cosine|':>9} {'CKA':>7}")
    for name, result in results.items():
        steps = result["seconds_of_steps"].values()
        seconds = max(steps) if name.startswith("concurrent") else sum(steps)
        print(
            f"{name:22} {result['seconds']:6.1f} s {seconds:7.1f} s {seconds / alone:18.2f}x "
            f"{result['mean_absolute_cosine']:9.4f} {result['mean_cka']:7.4f}"
        )


if __name__ == "__main__":
    main()

"""Does it pay to keep two values' adapters apart? Every way to, on one fixed design of coefficients, without a search.

    mva-ray explore --config CONFIG   # for its preference pairs, or those of any run with the same values
    python -m benchmarks.decorrelation CONFIG --pairs runs/NAME/pairs --seeds 8 --output decorrelation

A seed trains one value's adapter, and then the other's six times: with the same random lora_A or another one, without
a penalty, with HSIC and with the paper's. Even seeds train in the config's order, odd ones in the other. All of a
seed's blends answer the held-out prompts. `decorrelation/seed_N.json` has what was measured, the last line what it
means; a seed that is there is not measured again.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.penalty_forms import training_pairs
from mva_ray.adapters.fetch import local_directory
from mva_ray.adapters.hashes import delta_hash
from mva_ray.compare.interference import interference
from mva_ray.compare.methods import seed_of
from mva_ray.compare.report_verdict import ranged
from mva_ray.config import RunConfig, load_config
from mva_ray.config.training import PenaltySettings
from mva_ray.data.files import split_prompts
from mva_ray.evaluation.local import LocalGenerator
from mva_ray.evaluation.reward import load_reward, score
from mva_ray.maths.bootstrap import Interval, Resamples, interval
from mva_ray.records import AdapterRef, Coefficients, Generation
from mva_ray.training.job import TrainingJob
from mva_ray.training.setup import prepare_torch
from mva_ray.training.train import train_adapter

Floats = NDArray[np.float64]
STARTS = ("another", "same")
PENALTIES = ("none", "hsic", "paper")
ARMS = tuple(product(STARTS, PENALTIES))
ALONE, OTHER_ALONE, NONE, BOTH = (1.0, 0.0), (0.0, 1.0), (0.0, 0.0), (1.0, 1.0)
DESIGN: tuple[Coefficients, ...] = (
    *(NONE, ALONE, OTHER_ALONE, (1.5, 0.0), (0.0, 1.5)),
    *((0.5, 0.5), BOTH, (1.5, 1.5), (0.5, 1.5), (1.5, 0.5)),
)
"""Coefficients of the value trained first and of the other; sums from 0 to 3."""


@dataclass(frozen=True)
class Arm:
    """One way to train the second value.

    Attributes:
        cosine, absolute_cosine, cka: of the two deltas, means over the modules.
        rewards: [points of the design][prompts][values], values in the order of the config.
    """

    start: str
    penalty: str
    cosine: float
    absolute_cosine: float
    cka: float
    rewards: list[list[list[float]]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, help="two values")
    parser.add_argument("--pairs", type=Path, required=True, help="a run's pairs/, for values that bring none")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    config = load_config(options.config)
    if len(config.values) != 2:
        parser.error(f"{options.config} has {len(config.values)} values; two are compared")
    options.output.mkdir(parents=True, exist_ok=True)
    prepare_torch(torch.get_num_threads())
    seeds = [measured(config, options.pairs, seed, options.output) for seed in range(options.seeds)]
    found = summary(seeds, config.value_names)
    (options.output / "summary.json").write_text(json.dumps(found, indent=1) + "\n")
    print_summary(found)


def measured(config: RunConfig, pairs: Path, seed: int, output: Path) -> list[Arm]:
    file = output / f"seed_{seed}.json"
    if not file.exists():
        jobs = train(config, pairs, seed, output / f"adapters_{seed}")
        file.write_text(json.dumps([asdict(arm) for arm in evaluate(config, jobs)]) + "\n")
        print(f"seed {seed}: {file}", flush=True)
    return [Arm(**arm) for arm in json.loads(file.read_text())]


def order(seed: int) -> tuple[int, int]:
    """Places of the two values in the order of training."""
    return (1, 0) if seed % 2 else (0, 1)


def train(config: RunConfig, pairs: Path, seed: int, folder: Path) -> dict[tuple[str, str], TrainingJob]:
    """The adapter of the first value under ("", ""), and of the second one for every arm."""
    first, second = (config.values[place] for place in order(seed))

    def job(name: str, value: Any, penalty: str, earlier: tuple[str, ...], place: int) -> TrainingJob:
        of_value = training_pairs(value, pairs.parent)
        training = config.training.model_copy(update={"penalty": PenaltySettings.model_validate(penalty)})
        return TrainingJob(
            name=name,
            base_model=str(local_directory(config.base_model)),
            system_prompt=config.generation.system_prompt,
            pairs=of_value,
            earlier=earlier,
            training=training.for_pairs(len(of_value)),
            seed=seed_of(seed, place),
            output=str(folder / name),
        )

    begun = job("first", first, "none", (), 0)
    jobs = {("", ""): begun}
    for start, penalty in ARMS:
        earlier = () if penalty == "none" else (begun.output,)
        jobs[start, penalty] = job(f"{start}_{penalty}", second, penalty, earlier, STARTS.index(start) ^ 1)
    for one in jobs.values():
        if not one.is_done:
            train_adapter(one, lambda row: None)
    return jobs


def evaluate(config: RunConfig, jobs: Mapping[tuple[str, str], TrainingJob]) -> list[Arm]:
    begun = next(iter(jobs.values()))
    adapters = [AdapterRef(one.name, one.output, delta_hash(Path(one.output))) for one in jobs.values()]
    places = {arm: place for place, arm in enumerate(jobs)}

    def row(arm: tuple[str, str], w: Coefficients) -> Coefficients:
        of_first, of_second = w
        found = [0.0] * len(adapters)
        found[0], found[places[arm]] = of_first, of_second
        return tuple(found)

    generator = LocalGenerator(begun.base_model, adapters, config.generation)
    prompts = split_prompts(config.prompts, "held_out")
    rows = {(arm, w): row(arm, w) for arm in ARMS for w in DESIGN}
    asked = [(one, prompt) for one in dict.fromkeys(rows.values()) for prompt in prompts]
    answers = dict(zip(asked, generator.answer(asked), strict=True))
    rewards = [load_reward(value.reward) for value in config.values]

    def scored(one: Coefficients) -> list[list[float]]:
        completions = [completion(answers[one, prompt]) for prompt in prompts]
        by_value = [score(reward, prompts, completions) for reward in rewards]
        return [list(of_prompt) for of_prompt in zip(*by_value, strict=True)]

    arms = []
    for arm in ARMS:
        modules = interference(Path(begun.output), Path(jobs[arm].output))
        arms.append(
            Arm(
                *arm,
                cosine=fmean(module.cosine for module in modules),
                absolute_cosine=fmean(abs(module.cosine) for module in modules),
                cka=fmean(module.cka for module in modules),
                rewards=[scored(rows[arm, w]) for w in DESIGN],
            )
        )
    return arms


def completion(answer: Any) -> str:
    if not isinstance(answer, Generation):
        raise SystemExit(f"error: no answer: {answer}")
    return answer.completion


def summary(seeds: Sequence[Sequence[Arm]], values: Sequence[str]) -> dict[str, Any]:
    """What each arm measures, and by how much more than plain training from another lora_A, paired by seed and prompt.

    Rewards are in standard deviations over all answers of the value. `own`: what the value trained second has by its
    adapter alone. `blends`: the mean over the values and the blends of the design. `interaction`: what (1, 1) does
    beyond the sum of what each adapter does alone, mean over the values. `hypervolume`: of the whole design, as the
    share of the box of all arms and seeds. Higher is better.
    """
    rewards = np.array([[arm.rewards for arm in arms] for arms in seeds])  # [seeds, arms, points, prompts, values]
    units = rewards / rewards.std(axis=(0, 1, 2, 3))
    means = units.mean(axis=3)
    low, high = means.min(axis=(0, 1, 2)), means.max(axis=(0, 1, 2))
    resamples = Resamples.draw(rewards.shape[3], len(seeds))
    plain = ARMS.index(("another", "none"))

    def draws(seed: int, arm: int) -> dict[str, Floats]:
        points: Floats = units[seed, arm]
        at = {w: resamples.prompts @ points[place] for place, w in enumerate(DESIGN)}  # [1 + resamples, values]
        _, second = order(seed)
        return {
            "own": at[OTHER_ALONE][:, second],
            "blends": np.mean([at[w] for w in DESIGN if min(w) > 0], axis=(0, 2)),
            "interaction": (at[BOTH] - at[ALONE] - at[OTHER_ALONE] + at[NONE]).mean(axis=1),
            "hypervolume": resamples.hypervolumes(points, low, high),
        }

    of_seeds = [[draws(seed, arm) for arm in range(len(ARMS))] for seed in range(len(seeds))]

    def over_seeds(tables: Sequence[Floats]) -> dict[str, float]:
        return asdict(interval(resamples.over_seeds(tables), len(seeds)))

    arms = []
    for place, (start, penalty) in enumerate(ARMS):
        mine = [of_seed[place] for of_seed in seeds]
        arms.append(
            {"start": start, "penalty": penalty}
            | {name: fmean(getattr(arm, name) for arm in mine) for name in ("cosine", "absolute_cosine", "cka")}
            | {name: over_seeds([one[place][name] for one in of_seeds]) for name in of_seeds[0][place]}
            | {
                f"{name} minus plain": over_seeds([one[place][name] - one[plain][name] for one in of_seeds])
                for name in of_seeds[0][place]
            }
        )
    return {"values": list(values), "seeds": len(seeds), "prompts": rewards.shape[3], "design": DESIGN, "arms": arms}


def print_summary(found: Mapping[str, Any]) -> None:
    """A line an arm: differences from plain training from another lora_A, with intervals of 95 %."""
    names = ("own", "blends", "interaction", "hypervolume")
    print(f"{found['seeds']} seeds, {found['prompts']} prompts; minus plain training from another lora_A:")
    print(f"{'lora_A':8} {'penalty':7} {'cosine':>7} {'|cosine|':>8} {'CKA':>6}", *(f"{name:>24}" for name in names))
    for arm in found["arms"]:
        shared = f"{arm['cosine']:7.3f} {arm['absolute_cosine']:8.3f} {arm['cka']:6.3f}"
        print(
            f"{arm['start']:8} {arm['penalty']:7} {shared}",
            *(f"{ranged(Interval(**arm[f'{name} minus plain'])):>24}" for name in names),
        )


if __name__ == "__main__":
    main()

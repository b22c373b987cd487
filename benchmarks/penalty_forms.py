"""What each form of the penalty does to the last value's adapter of a finished run: trains it anew with every form.

    make quickstart && .venv/bin/python benchmarks/penalty_forms.py tune_configs/quickstart.yaml runs/quickstart

CKA is that of the deltas with the earlier adapters', debiased: 0 for independent ones, 1 for equal ones; the cosine is
that of the deltas too. Loss, accuracy and margin are DPO's, the means of the last four steps; the penalty is before its
weight and at the second step, since B = 0 at the first.
"""

import argparse
import json
import tempfile
from pathlib import Path
from statistics import fmean
from typing import Any

from mva_ray.adapters.fetch import local_directory
from mva_ray.adapters.lora import LoraFactors, load_factors
from mva_ray.config import RunConfig, load_config
from mva_ray.config.training import PenaltySettings
from mva_ray.config.values import Value
from mva_ray.data.source import read_pairs
from mva_ray.maths.interference import delta_cka, delta_cosine
from mva_ray.records import PreferencePair
from mva_ray.training.job import METRICS_FILE, TrainingJob
from mva_ray.training.train import train_adapter

FORMS: dict[str, Any] = {
    "none (hsic, weight 0)": {"weight": 0.0},
    "paper": "paper",
    "orthogonal": "orthogonal",
    "hsic": "hsic",
    "hsic, weight 0.01": {"weight": 0.01},
    "hsic, weight 0.03": {"weight": 0.03},
    "hsic, rbf on delta": {"kernel": "rbf"},
    "hsic, linear on lora_a": {"on": "lora_a"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("run", type=Path)
    arguments = parser.parse_args()
    config = load_config(arguments.config)
    for form, settings in FORMS.items():
        with tempfile.TemporaryDirectory() as directory:
            job = make_job(config, arguments.run, PenaltySettings.model_validate(settings), f"{directory}/adapter")
            train_adapter(job, lambda row: None)
            print(f"{form:24}", *(f"{name} {number:.4g}" for name, number in outcome(job).items()), flush=True)


def make_job(config: RunConfig, run: Path, penalty: PenaltySettings, output: str) -> TrainingJob:
    """The training of the run's last value, with another penalty."""
    *earlier, last = config.value_names
    directories = json.loads((run / "adapters.json").read_text())
    pairs = training_pairs(config.values[-1], run)
    return TrainingJob(
        name=last,
        base_model=str(local_directory(config.base_model)),
        system_prompt=config.generation.system_prompt,
        pairs=pairs,
        earlier=tuple(directories[value] for value in earlier),
        training=config.training.for_pairs(len(pairs)).model_copy(update={"penalty": penalty}),
        seed=config.seed + len(earlier),
        output=output,
    )


def training_pairs(value: Value, run: Path) -> tuple[PreferencePair, ...]:
    """A value's own pairs, or those that the run made last."""
    if value.pairs:
        return read_pairs(value.pairs)
    made = max((run / "pairs").glob(f"{value.name}-*.jsonl"), key=lambda path: path.stat().st_mtime)
    return tuple(PreferencePair(**json.loads(line)) for line in made.read_text().splitlines())


def outcome(job: TrainingJob) -> dict[str, float]:
    """Figures of one training, by the name they are printed under."""
    rows = [json.loads(line) for line in (Path(job.output) / METRICS_FILE).read_text().splitlines()]
    trained, earlier = load_factors(Path(job.output)), [load_factors(Path(path)) for path in job.earlier]
    return {
        "penalty": rows[1]["hsic"],
        "at the end": rows[-1]["hsic"],
        **{f"CKA {kind}": number for kind, number in alignment(trained, earlier).items()},
        "cosine": fmean(cosines(trained, earlier)),
        "|A|": sum(factor.square().sum().item() for factor in trained.a.values()) ** 0.5,
        "|delta|": trained.scaling * sum(delta_squares(trained)) ** 0.5,
        **{
            shown: fmean(row[name] for row in rows[-4:])
            for shown, name in (("loss", "loss"), ("accuracy", "reward_accuracy"), ("margin", "reward_margin"))
        },
    }


def alignment(trained: LoraFactors, earlier: list[LoraFactors]) -> dict[str, float]:
    """Mean CKA with the earlier adapters' deltas over the modules of each kind, such as `q_proj`."""
    kinds: dict[str, list[float]] = {}
    for module in trained.a:
        kind = module.rpartition(".")[2]
        kinds.setdefault(kind, []).extend(delta_cka(*both(module, trained, other)).item() for other in earlier)
    return {kind: fmean(values) for kind, values in kinds.items()}


def cosines(trained: LoraFactors, earlier: list[LoraFactors]) -> list[float]:
    return [delta_cosine(*both(module, trained, other)).item() for other in earlier for module in trained.a]


def both(module: str, trained: LoraFactors, other: LoraFactors) -> Any:
    return (trained.a[module], trained.b[module]), (other.a[module], other.b[module])


def delta_squares(factors: LoraFactors) -> list[float]:
    return [((factors.b[module].T @ factors.b[module]) * (a @ a.T)).sum().item() for module, a in factors.a.items()]


if __name__ == "__main__":
    main()

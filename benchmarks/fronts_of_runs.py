"""The held-out fronts of finished runs of two searches side by side: answers bought, hypervolume, difference.

python benchmarks/fronts_of_runs.py --all runs/all1 runs/all2 --answers runs/answers1 runs/answers2

The runs of both lists answer the same held-out prompts and are seeds in their order. Box and intervals are those of a
comparison's report: over seeds and prompts, paired.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from mva_ray.compare.report_numbers import Numbers
from mva_ray.compare.report_verdict import ranged
from mva_ray.compare.results import Candidate, ComparisonResult, MethodResult
from mva_ray.compare.scoring import rewards_by_value
from mva_ray.records import Evaluation
from mva_ray.table import ParetoTable

KINDS = {"all": "every candidate answers all", "answers": "answers are bought"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for kind, meaning in KINDS.items():
        parser.add_argument(f"--{kind}", type=Path, nargs="+", required=True, help=meaning)
    options = parser.parse_args()
    runs = {kind: getattr(options, kind) for kind in KINDS}
    methods = [of_run(kind, seed, run) for kind, found in runs.items() for seed, run in enumerate(found)]
    result = as_comparison(methods, held_out(runs["all"][0]))
    numbers = Numbers(result)
    for method in numbers.methods:
        print(f"{method.title}: {method.evaluations} answers to search prompts, {method.front:.1f} on a front")
        print(f"  hypervolume {ranged(method.hypervolume)}, of the runs {[round(one, 3) for one in method.by_seed]}")
        for found in method.differences.values():
            print(f"  minus the other: {ranged(found.interval)}, ahead {found.ahead}/{found.seeds}")
    print(json.dumps({value: [low, high] for value, low, high in zip(result.values, *corners(numbers), strict=True)}))


def corners(numbers: Numbers) -> tuple[list[float], list[float]]:
    return numbers.box.low.round(4).tolist(), numbers.box.high.round(4).tolist()


def of_run(kind: str, seed: int, run: Path) -> MethodResult:
    return MethodResult(
        name=kind,
        title=KINDS[kind],
        description="",
        seed=seed,
        candidates=[Candidate(label=row.candidate, rewards=rewards_by_value(row)) for row in held_out(run)],
        evaluations=sum(row.n_prompts for row in ParetoTable(run).current("search")),
    )


def held_out(run: Path) -> list[Evaluation]:
    return [row for row in ParetoTable(run).current("held_out", with_generations=True) if row.status == "ok"]


def as_comparison(methods: Sequence[MethodResult], rows: Sequence[Evaluation]) -> ComparisonResult:
    """With the first of the rows in the place of the base model, which these runs have not all evaluated."""
    return ComparisonResult(
        name="fronts",
        base_model=rows[0].base_model,
        command="",
        values=list(rows[0].reward_mean),
        seeds=sorted({method.seed for method in methods}),
        prompts=[scored.generation.prompt for scored in rows[0].generations],
        prompts_hash=rows[0].prompts_hash,
        subject="answers",
        baselines=["all"],
        base=rewards_by_value(rows[0]),
        methods=list(methods),
    )


if __name__ == "__main__":
    main()

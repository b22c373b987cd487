"""The runs that a config names to start from."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from mva_ray.config import RunConfig
from mva_ray.records import Evaluation
from mva_ray.run_dir.files import publish
from mva_ray.stages.run import Run
from mva_ray.table import ParetoTable


def take_over(run: Run) -> Iterator[str]:
    """Copy what the plan's stages would compute again from the runs to start from: samples, scores and adapters.

    Their names end with the key that hashes everything they depend on. Yields what was copied, a line a run.
    """
    for directory in map(Path, run.config.warm_start):
        copied = [name for name, path in _results(run).items() if _copy(directory, path)]
        if copied:
            yield (f"taken over from {directory}: {', '.join(copied)}")


def _results(run: Run) -> dict[str, Path]:
    """What each stage leaves in the run directory."""
    plan, own = run.plan, run.directory
    results = {"samples": own.samples(plan.samples).path}
    results |= {f"scores '{value}'": own.scores(value, key).path for value, key in plan.scores.items()}
    return results | {f"adapter '{value}'": own.adapter(value, key) for value, key in plan.adapters.items()}


def _copy(earlier: Path, target: Path) -> bool:
    """Copy the result of the same kind and key, under whatever name of a value, whole or not at all."""
    key = target.name.rpartition("-")[2]
    source = next(iter(sorted((earlier / target.parent.name).glob(f"*{key}"))), None)
    if source is None or target.exists():
        return False
    scratch = target.with_name(f"{target.name}.partial")
    shutil.rmtree(scratch, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    (shutil.copytree if source.is_dir() else shutil.copyfile)(source, scratch)
    publish(scratch, target)
    return True


def earlier_runs(config: RunConfig) -> dict[str, list[Evaluation]]:
    """Every evaluation of the runs to start from, by directory, oldest first, with its generations."""
    return {directory: ParetoTable(directory).evaluations(with_generations=True) for directory in config.warm_start}

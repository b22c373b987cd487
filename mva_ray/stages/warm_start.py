"""The runs that a config names to start from."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from mva_ray.config import RunConfig
from mva_ray.records import Evaluation
from mva_ray.run_dir.store import Directory, File, Store
from mva_ray.run_dir.stores import store_at
from mva_ray.stages.run import Run
from mva_ray.table import ParetoTable


def take_over(run: Run) -> Iterator[str]:
    """Copy what the plan's stages would compute again from the runs to start from: samples, scores and adapters.

    Their names end with the key that hashes everything they depend on. Yields what was copied, a line a run.
    """
    for place in run.config.warm_start:
        earlier = store_at(place)
        copied = [name for name, result in _results(run).items() if _copy(earlier, result)]
        if copied:
            yield (f"taken over from {place}: {', '.join(copied)}")


def _results(run: Run) -> dict[str, File | Directory]:
    """What each stage leaves in the run directory."""
    plan, own = run.plan, run.directory
    results: dict[str, File | Directory] = {"samples": own.samples(plan.samples).file}
    results |= {f"scores '{value}'": own.scores(value, key) for value, key in plan.scores.items()}
    return results | {f"adapter '{value}'": own.adapter(value, key) for value, key in plan.adapters.items()}


def _copy(earlier: Store, target: File | Directory) -> bool:
    """Copy the result of the same kind and key, under whatever name of a value, whole or not at all."""
    folder, _, own_name = target.name.rpartition("/")
    key = own_name.rpartition("-")[2]
    sources = [f"{folder}/{name}" for name in earlier.names(folder) if name.endswith(key)]
    if not sources:
        return False
    if isinstance(target, Directory):
        return _copy_directory(earlier, sources[0], target)
    return _copy_file(earlier, sources[0], target)


def _copy_file(earlier: Store, source: str, target: File) -> bool:
    content = earlier.read(source)
    if content is None or target.read() is not None:
        return False
    target.write(content)
    return True


def _copy_directory(earlier: Store, source: str, target: Directory) -> bool:
    if target.exists() or not earlier.exists(source):
        return False
    shutil.rmtree(target.scratch, ignore_errors=True)
    target.publish(Path(shutil.copytree(earlier.fetch(source), target.scratch)))
    return True


def earlier_runs(config: RunConfig) -> dict[str, list[Evaluation]]:
    """Every evaluation of the runs to start from, by directory, oldest first, with its generations."""
    return {directory: ParetoTable(directory).evaluations(with_generations=True) for directory in config.warm_start}

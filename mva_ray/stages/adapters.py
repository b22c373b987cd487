"""Stage 2, value adapters: brought with the config, or trained against those before them."""

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tqdm.auto import tqdm

from mva_ray.adapters.hashes import delta_hash
from mva_ray.placement.needs import training_needs
from mva_ray.records import AdapterRef
from mva_ray.run_dir.spending import TRAINING
from mva_ray.run_dir.store import Directory
from mva_ray.stages.pairs import Pairs
from mva_ray.stages.run import Run
from mva_ray.training.job import TrainingJob


def value_adapters(run: Run, pairs: Pairs) -> list[AdapterRef]:
    """One adapter a value, in the order of the config.

    Raises:
        RunError: where a job failed; the outputs of those before it are kept.
    """
    directories = {name: run.directory.adapter(name, run.plan.adapters[name]) for name in run.config.value_names}
    for value in run.config.values:
        if value.adapter:
            bring(Path(value.adapter), directories[value.name])
    jobs = _training_jobs(run, pairs, directories)
    if not all(job.is_done for job in jobs):
        run.start_ray()
        with run.meter.reserved(TRAINING, training_needs(run.config)) as clock:
            took = train_with_progress(jobs, run.directory.ray, run.config.resources_timeout, clock.look)
        for name, seconds in took.items():
            run.add_time(f"adapter '{name}'", seconds)
    adapters = [AdapterRef(name, each.place, delta_hash(each.fetch())) for name, each in directories.items()]
    run.directory.adapter_paths.write_json({ref.value: ref.path for ref in adapters})
    return adapters


def bring(adapter: Path, place: Directory) -> None:
    """Copy an adapter that is not trained into a run, where it is not there yet."""
    if not place.exists():
        from mva_ray.adapters.lora import copy_adapter  # torch takes seconds to import, and may not be needed

        place.publish(copy_adapter(adapter, place.scratch))


def _training_jobs(run: Run, pairs: Pairs, directories: Mapping[str, Directory]) -> list[TrainingJob]:
    config = run.config
    return [
        TrainingJob(
            name=value.name,
            base_model=run.shared.base_model,
            system_prompt=config.generation.system_prompt,
            pairs=pairs[value.name],
            earlier=tuple(directories[other.name].place for other in config.frozen_before(value)),
            training=config.training.for_pairs(len(pairs[value.name])),
            seed=config.seed + place,
            output=directories[value.name].place,
        )
        for place, value in enumerate(config.training_order)
        if not value.adapter
    ]


def train_with_progress(
    jobs: Sequence[TrainingJob],
    storage: Path | str,
    patience: float,
    on_look: Callable[[bool], None] = lambda waiting: None,
) -> dict[str, float]:
    """Train what is missing, in order. Seconds by job: a step's time since the step before belongs to its job.

    Raises:
        RunError: where a job failed; the outputs of those before it are kept.
    """
    from mva_ray.training.ray_training import train_on_ray

    seconds: dict[str, float] = defaultdict(float)
    before = time.monotonic()
    steps = sum(job.training.steps for job in jobs if not job.is_done)
    with tqdm(total=steps, desc="training", unit="step") as bar:

        def on_step(name: str, row: Mapping[str, float]) -> None:
            nonlocal before
            bar.set_description(f"training '{name}'")
            bar.set_postfix({metric: f"{number:.2f}" for metric, number in row.items() if metric != "step"})
            bar.update()
            now = time.monotonic()
            seconds[name] += now - before
            before = now

        train_on_ray(jobs, storage, on_step, patience, on_look)
    return dict(seconds)

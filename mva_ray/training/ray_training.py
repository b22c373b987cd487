"""Value adapters on Ray Train: one `TorchTrainer` run for all jobs of a schedule, on one or more workers."""

import os
import shutil
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
import ray.train
from ray.actor import ActorHandle
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from mva_ray.errors import RunError, last_line
from mva_ray.training.job import TrainingJob

OnStep = Callable[[str, Mapping[str, float]], None]
_POLL_S = 0.5
_QUIET = {"RAY_TRAIN_ENABLE_PRINT_PATCH": "0", "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2"}


def train_on_ray(jobs: Sequence[TrainingJob], storage: Path, on_step: OnStep) -> None:
    """Train the jobs whose output is missing, in order, in one Ray Train run: a GPU a worker where there are as many.

    Every output appears complete, as soon as its job is done.

    Args:
        jobs: what to train; the `training.num_workers` of the first, equal in all, share each step's pairs.
        storage: where Ray Train keeps its own files.
        on_step: called on this process with the job's name and each step's metrics.

    Raises:
        RunError: where a worker failed, with the cause; the outputs of jobs before it are kept.
    """
    missing = [job for job in jobs if not Path(job.output).is_dir()]
    if not missing:
        return
    os.environ.update(_QUIET)
    available, workers = ray.cluster_resources(), jobs[0].training.num_workers
    steps = ray.remote(_StepLog).options(num_cpus=0).remote(missing[0].name)
    trainer = TorchTrainer(
        _train_worker,
        train_loop_config={
            "jobs": missing,
            "steps": steps,
            "threads": max(1, int(available.get("CPU", 1)) // workers),
        },
        scaling_config=ScalingConfig(num_workers=workers, use_gpu=available.get("GPU", 0) >= workers),
        run_config=RunConfig(
            name=f"training-{uuid.uuid4().hex[:8]}",
            storage_path=str(storage),
            failure_config=FailureConfig(max_failures=1),
        ),
    )
    with _Follower(steps, on_step):
        try:
            trainer.fit()
        except Exception as error:
            name = ray.get(steps.current.remote())
            raise RunError(f"training of '{name}' failed: {_cause(error)}") from error


class _StepLog:
    """Collects the first worker's metrics; `since` hands out the rows not seen yet, each with its job's name."""

    def __init__(self, name: str) -> None:
        self._current = name
        self._rows: list[tuple[str, dict[str, float]]] = []

    def start(self, name: str) -> None:
        self._current = name

    def current(self) -> str:
        """The job that is trained, or was when training ended."""
        return self._current

    def add(self, row: dict[str, float]) -> None:
        self._rows.append((self._current, row))

    def since(self, seen: int) -> list[tuple[str, dict[str, float]]]:
        return self._rows[seen:]


class _Follower:
    """Calls `on_step` for the rows of a `_StepLog` while training blocks the main thread."""

    def __init__(self, steps: ActorHandle, on_step: OnStep) -> None:
        self._steps = steps
        self._on_step = on_step
        self._done = threading.Event()
        self._seen = 0
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._thread.join()
        self._drain()

    def _follow(self) -> None:
        while not self._done.wait(_POLL_S):
            self._drain()

    def _drain(self) -> None:
        for name, row in ray.get(self._steps.since.remote(self._seen)):
            self._seen += 1
            self._on_step(name, row)


def _train_worker(config: dict[str, Any]) -> None:
    import torch

    from mva_ray.adapters.base_model import allow_bfloat16_products

    torch.set_num_threads(config["threads"])
    allow_bfloat16_products()
    for job in config["jobs"]:
        if not Path(job.output).is_dir():
            _train_job(job, config["steps"])
            torch.distributed.barrier()


def _train_job(job: TrainingJob, steps: ActorHandle) -> None:
    """Train into a scratch directory, which the first worker renames when it is complete."""
    from mva_ray.training.dpo import train_adapter

    partial = Path(f"{job.output}.partial")
    first = ray.train.get_context().get_world_rank() == 0
    if first:
        shutil.rmtree(partial, ignore_errors=True)
        steps.start.remote(job.name)

    def on_step(row: Mapping[str, float]) -> None:
        if first:
            steps.add.remote(dict(row))

    train_adapter(replace(job, output=str(partial)), on_step)
    if first:
        partial.rename(job.output)


def _cause(error: BaseException) -> str:
    """The innermost message: Ray wraps a worker's exception several times."""
    inner = getattr(error, "worker_failures", None)
    if inner:
        return _cause(next(iter(inner.values())))
    cause = getattr(error, "cause", None) or error.__cause__
    if isinstance(cause, BaseException) and cause is not error:
        return _cause(cause)
    return last_line(error)

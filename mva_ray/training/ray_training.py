"""Value adapters on Ray Train: one run for all jobs of a schedule, one after the other or all at once."""

import os
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

from mva_ray.errors import RunError, last_line
from mva_ray.training.job import TrainingJob, jobs_key
from mva_ray.training.ray_exchange import start_board
from mva_ray.training.ray_worker import partial_output, train_in_order, train_together

OnStep = Callable[[str, Mapping[str, float]], None]
_POLL_S = 0.2
_RESTARTS = 3
_QUIET = {"RAY_TRAIN_ENABLE_PRINT_PATCH": "0", "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2"}


def train_on_ray(jobs: Sequence[TrainingJob], storage: Path, on_step: OnStep) -> None:
    """Train the jobs whose output is missing in one Ray Train run, on a GPU a worker where there are as many.

    `training.schedule`, equal in all jobs, says how: sequential, in order on the same `training.num_workers`, each
    output appearing complete as soon as its job is done; or concurrent, on one worker each, penalised against each
    other besides those before them, all outputs appearing when all are done. A killed worker, and a killed run that is
    started again, go on at the last checkpoint.

    Args:
        jobs: what to train, by unique names.
        storage: where Ray Train keeps checkpoints while jobs are under way.
        on_step: called on this process with the job's name and each step's metrics, once a step.

    Raises:
        RunError: where a job or a worker failed, with the cause. Of a sequential schedule, all jobs that do not need
            the failed one are trained; a concurrent one ends.
    """
    missing = [job for job in jobs if not Path(job.output).is_dir()]
    if not missing:
        return
    os.environ.update(_QUIET)
    log = ray.remote(_TrainingLog).options(num_cpus=0).remote()
    trainer = _trainer(jobs, log, storage)
    with _Follower(log, on_step):
        try:
            trainer.fit()
        except Exception as error:
            names = " and ".join(f"'{name}'" for name in ray.get(log.running.remote()))
            raise RunError(f"training of {names} failed: {_cause(error)}") from error
    shutil.rmtree(storage / _name(jobs), ignore_errors=True)
    if failures := ray.get(log.failures.remote()):
        raise RunError("\n".join(failures.values()))
    for job in missing:
        if partial_output(job).is_dir():
            partial_output(job).rename(job.output)


def _trainer(jobs: Sequence[TrainingJob], log: ActorHandle, storage: Path) -> DataParallelTrainer:
    run_config = RunConfig(
        name=_name(jobs),
        storage_path=str(storage),
        checkpoint_config=CheckpointConfig(num_to_keep=1),
        failure_config=FailureConfig(max_failures=_RESTARTS),
    )
    if jobs[0].training.schedule == "sequential":
        scaling, config = _resources(jobs[0].training.num_workers)
        return TorchTrainer(
            train_in_order,
            train_loop_config=config | {"jobs": jobs, "log": log},
            scaling_config=scaling,
            run_config=run_config,
        )
    together = _against_finished(jobs)
    scaling, config = _resources(len(together))
    return DataParallelTrainer(
        train_together,
        train_loop_config=config | {"jobs": together, "log": log, "board": start_board()},
        scaling_config=scaling,
        run_config=run_config,
    )


def _resources(workers: int) -> tuple[ScalingConfig, dict[str, Any]]:
    available = ray.cluster_resources()
    threads = max(1, int(available.get("CPU", 1)) // workers)
    return ScalingConfig(num_workers=workers, use_gpu=available.get("GPU", 0) >= workers), {"threads": threads}


def _against_finished(jobs: Sequence[TrainingJob]) -> list[TrainingJob]:
    """The jobs to train at once; where a kill came between renaming one output and the next, those are frozen."""
    finished = tuple(job.output for job in jobs if Path(job.output).is_dir())
    return [replace(job, earlier=job.earlier + finished) for job in jobs if job.output not in finished]


def _name(jobs: Sequence[TrainingJob]) -> str:
    """Ray Train resumes a run of the same name and storage by itself: the name says what is trained."""
    return f"training-{jobs_key(jobs)}"


class _TrainingLog:
    """What workers say: metrics, once a step also where steps are repeated after a kill, and jobs that failed."""

    def __init__(self) -> None:
        self._running: dict[str, None] = {}
        self._rows: dict[tuple[str, float], dict[str, float]] = {}
        self._failures: dict[str, str] = {}

    def start(self, name: str) -> None:
        self._running[name] = None

    def done(self, name: str) -> None:
        self._running.pop(name, None)

    def running(self) -> list[str]:
        return list(self._running)

    def add(self, name: str, row: dict[str, float]) -> None:
        self._rows.setdefault((name, row["step"]), row)

    def since(self, seen: int) -> list[tuple[str, dict[str, float]]]:
        """The rows after the first `seen`, each with its job's name."""
        return [(name, row) for (name, _), row in list(self._rows.items())[seen:]]

    def fail(self, name: str, message: str) -> None:
        self._failures.setdefault(name, message)
        self.done(name)

    def failures(self) -> dict[str, str]:
        """Why jobs failed, by name."""
        return self._failures


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


def _cause(error: BaseException) -> str:
    """The innermost message: Ray wraps a worker's exception several times."""
    inner = getattr(error, "worker_failures", None)
    if inner:
        return _cause(next(iter(inner.values())))
    cause = getattr(error, "cause", None) or error.__cause__
    if isinstance(cause, BaseException) and cause is not error:
        return _cause(cause)
    return last_line(error)

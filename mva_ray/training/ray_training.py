"""Value adapters on Ray Train: one run for all jobs of a schedule, one after the other or all at once."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from threading import Thread
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

from mva_ray.errors import RunError
from mva_ray.run_dir.place import arrow_files, joined
from mva_ray.run_dir.stores import directory_at
from mva_ray.training.job import TrainingJob, against_finished, jobs_key
from mva_ray.training.log import Follower, OnStep, TrainingLog, innermost
from mva_ray.training.ray_exchange import start_board
from mva_ray.training.ray_worker import train_in_order, train_together

_RESTARTS = 3
_QUIET = {"RAY_TRAIN_ENABLE_PRINT_PATCH": "0", "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2"}


def train_on_ray(jobs: Sequence[TrainingJob], storage: Path | str, on_step: OnStep) -> None:
    """Train the jobs whose output is missing in one Ray Train run, on a GPU a worker where there are as many.

    `training.schedule`, equal in all jobs, says how: sequential, in order on the same `training.num_workers`, each
    output appearing complete as soon as its job is done; or concurrent, on one worker each, penalised against each
    other besides those before them, all outputs appearing when all are done. A killed worker, and a killed run that is
    started again, go on at the last checkpoint.

    Args:
        jobs: what to train, by unique names.
        storage: path or URL where Ray Train keeps checkpoints while jobs are under way.
        on_step: called on this process with the job's name and each step's metrics, once a step.

    Raises:
        RunError: where a job or a worker failed, with the cause. Of a sequential schedule, all jobs that do not need
            the failed one are trained; a concurrent one ends.
    """
    if all(job.is_done for job in jobs):
        return
    os.environ.update(_QUIET)
    log = ray.remote(TrainingLog).options(num_cpus=0).remote()
    trainer = _trainer(jobs, log, storage)
    with Follower(lambda seen: ray.get(log.since.remote(seen)), on_step):
        try:
            _in_a_thread(trainer.fit)
        except Exception as error:
            names = " and ".join(f"'{name}'" for name in ray.get(log.running.remote()))
            raise RunError(f"training of {names} failed: {innermost(error)}") from error
    directory_at(joined(storage, _name(jobs))).remove()
    if failures := ray.get(log.failures.remote()):
        raise RunError("\n".join(failures.values()))


def _in_a_thread(call: Callable[[], object]) -> None:
    """In the main thread Ray Train takes Ctrl-C over, and ends the process with exit code 0."""
    future: Future[object] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    Thread(target=run, daemon=True).start()
    future.result()


def _trainer(jobs: Sequence[TrainingJob], log: ActorHandle, storage: Path | str) -> DataParallelTrainer:
    files, path = arrow_files(storage)
    run_config = RunConfig(
        name=_name(jobs),
        storage_path=path,
        storage_filesystem=files,
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
    together = against_finished(jobs)
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


def _name(jobs: Sequence[TrainingJob]) -> str:
    """Ray Train resumes a run of the same name and storage by itself: the name says what is trained."""
    return f"training-{jobs_key(jobs)}"

"""Value adapters on Ray Train: one run for all jobs of a schedule, one after the other or all at once."""

import os
from collections.abc import Callable, Sequence
from concurrent import futures
from concurrent.futures import Future
from pathlib import Path
from threading import Thread

import ray
from ray.actor import ActorHandle
from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

from mva_ray.config.reward import Resources
from mva_ray.errors import NoRoom, RunError
from mva_ray.placement.needs import bundle
from mva_ray.placement.ray_cluster import started_here
from mva_ray.placement.ray_group import POLL_S, beside_driver, is_pending, wait_for
from mva_ray.placement.ray_reserved import threads_of_each
from mva_ray.run_dir.place import arrow_files, joined
from mva_ray.run_dir.stores import directory_at
from mva_ray.training.job import TrainingJob, against_finished, jobs_key
from mva_ray.training.log import Follower, OnStep, TrainingLog, innermost
from mva_ray.training.ray_exchange import start_board
from mva_ray.training.ray_placing import Placing
from mva_ray.training.ray_worker import train_in_order, train_together

_RESTARTS = 3
_QUIET = {"RAY_TRAIN_ENABLE_PRINT_PATCH": "0", "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2"}


def train_on_ray(
    jobs: Sequence[TrainingJob],
    storage: Path | str,
    on_step: OnStep,
    patience: float = 1800.0,
    on_look: Callable[[bool], None] = lambda waiting: None,
) -> None:
    """Train the jobs whose output is missing in one Ray Train run, each worker on `training.resources`.

    `training.schedule`, equal in all jobs, says how: sequential, in order on the same `training.num_workers`, each
    output appearing complete as soon as its job is done; or concurrent, on one worker each, penalised against each
    other besides those before them, all outputs appearing when all are done. A killed worker, and a killed run that is
    started again, go on at the last checkpoint. A node that is taken away with notice (spot) costs none of the restarts
    that workers have, and where the schedule is sequential, a checkpoint is made when the notice comes.

    Args:
        jobs: what to train, by unique names.
        storage: path or URL where Ray Train keeps checkpoints while jobs are under way.
        on_step: called on this process with the job's name and each step's metrics, once a step.
        patience: seconds to wait for the workers' resources, visibly, at the start and wherever a node was lost.
        on_look: called about once a second with whether workers still have no place.

    Raises:
        RunError: where a job or a worker failed, with the cause, or where there is no room for the workers. Of a
            sequential schedule, all jobs that do not need the failed one are trained; a concurrent one ends.
    """
    if all(job.is_done for job in jobs):
        return
    os.environ.update(_QUIET | {"RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": str(2 * patience)})
    log = ray.remote(TrainingLog).options(**beside_driver()).remote()
    trainer = _trainer(jobs, log, storage)
    scaling = trainer.scaling_config
    bundles = [dict(scaling.resources_per_worker)] * scaling.num_workers
    wait = wait_for(bundles, patience)

    def look() -> None:
        waiting = ray.get(log.is_waiting.remote()) and is_pending(bundles)
        on_look(waiting)
        if waiting:
            wait.goes_on()
        else:
            wait.is_over()

    with Follower(lambda seen: ray.get(log.since.remote(seen)), on_step):
        try:
            _in_a_thread(trainer.fit, look)
        except NoRoom:
            raise
        except Exception as error:
            names = " and ".join(f"'{name}'" for name in ray.get(log.running.remote()))
            raise RunError(f"training of {names} failed: {innermost(error)}") from error
    directory_at(joined(storage, _name(jobs))).remove()
    if failures := ray.get(log.failures.remote()):
        raise RunError("\n".join(failures.values()))


def _in_a_thread(call: Callable[[], object], look: Callable[[], None]) -> None:
    """In the main thread Ray Train takes Ctrl-C over, and ends the process with exit code 0; that one looks on."""
    future: Future[object] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    Thread(target=run, daemon=True).start()
    while not futures.wait([future], timeout=POLL_S).done:
        look()
    future.result()


def _trainer(jobs: Sequence[TrainingJob], log: ActorHandle, storage: Path | str) -> DataParallelTrainer:
    files, path = arrow_files(storage)
    run_config = RunConfig(
        name=_name(jobs),
        storage_path=path,
        storage_filesystem=files,
        checkpoint_config=CheckpointConfig(num_to_keep=1),
        failure_config=FailureConfig(max_failures=_RESTARTS, max_preemption_failures=-1),
        callbacks=[Placing(log)],
    )
    training, config = jobs[0].training, {"log": log, "may_be_preempted": not started_here()}
    if training.schedule == "sequential":
        config |= {"jobs": jobs, "threads": threads_of_each(training.num_workers)}
        return TorchTrainer(
            train_in_order,
            train_loop_config=config,
            scaling_config=_scaling(training.resources, training.num_workers),
            run_config=run_config,
        )
    together = against_finished(jobs)
    config |= {"jobs": together, "threads": threads_of_each(len(together)), "board": start_board()}
    return DataParallelTrainer(
        train_together,
        train_loop_config=config,
        scaling_config=_scaling(training.resources, len(together)),
        run_config=run_config,
    )


def _scaling(resources: Resources, workers: int) -> ScalingConfig:
    on_gpu = resources.num_gpus > 0
    return ScalingConfig(num_workers=workers, use_gpu=on_gpu, resources_per_worker=dict(bundle(resources)))


def _name(jobs: Sequence[TrainingJob]) -> str:
    """Ray Train resumes a run of the same name and storage by itself: the name says what is trained."""
    return f"training-{jobs_key(jobs)}"

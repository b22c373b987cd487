"""What runs on the workers of a Ray Train run: jobs, their checkpoints, and errors that no second try would mend."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import ray
import ray.train
import ray.train.collective
from ray.actor import ActorHandle

from mva_ray.errors import NO_SPACE, MvaError, RunError, out_of_space
from mva_ray.training.job import TrainingJob, jobs_key
from mva_ray.training.ray_placing import Notice, set_up

if TYPE_CHECKING:
    from mva_ray.training.live_penalty import Exchange


def train_in_order(config: dict[str, Any]) -> None:
    """Train the jobs one after the other on all workers; those that need the output of a failed one are left out."""
    import torch

    jobs, log = config["jobs"], config["log"]
    failed = ray.get(log.failures.remote())
    if all(job.is_done or job.name in failed for job in jobs):
        return
    gpus = set_up(config)
    notice = Notice() if config["may_be_preempted"] else None
    unavailable: set[str | None] = set()
    for job in jobs:
        if job.is_done:
            continue
        if job.name in failed or unavailable & {*job.earlier, job.start} or not _succeeds(job, log, gpus, notice):
            unavailable.add(job.output)
        torch.distributed.barrier()


def train_together(config: dict[str, Any]) -> None:
    """Train one job a worker, penalised against all others; outputs are published when all are done, one that fails
    ends all.
    """
    from mva_ray.training.ray_exchange import exchange_on

    if ray.get(config["log"].failures.remote()):
        return
    gpus = set_up(config)
    place = ray.train.get_context().get_world_rank()
    if place == 0:
        ray.get(config["board"].clear.remote())
    ray.train.collective.barrier()
    job = config["jobs"][place]
    others = [other.name for other in config["jobs"] if other is not job]
    with _reporting_failure(job, config["log"]):
        _train(job, config["log"], gpus, exchange=exchange_on(config["board"], job.name, others, job.training))
        ray.train.collective.barrier()
        job.publish()


def _succeeds(job: TrainingJob, log: ActorHandle, gpus: float, notice: Notice | None) -> bool:
    """Train a job, whose output the first worker publishes when it is complete; False where the job is at fault.

    Raises:
        MvaError: where several workers train it: all have to start again to go on without it.
    """
    context = ray.train.get_context()
    first = context.get_world_rank() == 0
    try:
        with _reporting_failure(job, log):
            _train(job, log, gpus, first, notice)
    except MvaError:
        if context.get_world_size() > 1:
            raise
        return False
    if first:
        job.publish()
    return True


@contextmanager
def _reporting_failure(job: TrainingJob, log: ActorHandle) -> Iterator[None]:
    """Write down that the job itself is at fault, so that it is not tried again."""
    try:
        yield
    except Exception as error:
        fault = RunError(NO_SPACE) if out_of_space(error) else error
        if not isinstance(fault, MvaError):
            raise
        message = str(error) if isinstance(error, RunError) else f"training of '{job.name}' failed: {fault}"
        ray.get(log.fail.remote(job.name, message))
        if fault is error:
            raise
        raise fault from error


def _train(
    job: TrainingJob,
    log: ActorHandle,
    gpus: float,
    first: bool = True,
    notice: Notice | None = None,
    exchange: "Exchange | None" = None,
) -> None:
    """Train to the partial output, from the last checkpoint where there is one; the first worker speaks for all."""
    from mva_ray.training.train import train_adapter

    def on_step(row: Mapping[str, float]) -> None:
        if first:
            log.add.remote(job.name, dict(row))

    if first:
        shutil.rmtree(job.partial, ignore_errors=True)
        log.start.remote(job.name)
    with _checkpoint_of(job) as checkpoint:
        own, keep = replace(job, output=str(job.partial)), partial(_keep, job)
        train_adapter(own, on_step, keep, checkpoint, exchange, gpus, notice)
    if first:
        log.done.remote(job.name)


def _keep(job: TrainingJob, part: Path) -> None:
    """Hand a worker's part of a checkpoint to Ray Train, which merges the parts of all into one directory a job."""
    with TemporaryDirectory(dir=part.parent) as staging:
        part.rename(Path(staging, jobs_key([job])))
        ray.train.report({}, ray.train.Checkpoint.from_directory(staging))


@contextmanager
def _checkpoint_of(job: TrainingJob) -> Iterator[Path | None]:
    """A local directory with the job's part of the last checkpoint; None where that is of another job."""
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is None:
        yield None
        return
    with checkpoint.as_directory() as directory:
        own = Path(directory, jobs_key([job]))
        yield own if own.is_dir() else None

"""Workers of Ray Train and their nodes: that there are none yet, what they have there, that one is taken away."""

from typing import Any

import ray
import ray.train
from ray.actor import ActorHandle
from ray.train.v2._internal.execution.callback import WorkerGroupCallback

from mva_ray.errors import RunError
from mva_ray.placement.ray_reserved import reserved
from mva_ray.training.setup import prepare_torch


class Placing(WorkerGroupCallback):
    """Tells a `TrainingLog` when workers are being placed, at the start and after each loss: Ray Train is silent."""

    def __init__(self, log: ActorHandle) -> None:
        self._log = log

    def before_worker_group_start(self, worker_group_context: Any) -> None:
        self._log.placing.remote()

    def after_worker_group_start(self, worker_group: Any) -> None:
        self._log.placed.remote()


class Notice:
    """Whether a node of the workers is about to be taken away: once, and at the same call on all of them.

    Ray Train makes a barrier of the question.
    """

    def __init__(self) -> None:
        self._came = False

    def __call__(self) -> bool:
        if self._came:
            return False
        self._came = ray.train.get_preemption_info() is not None
        return self._came


def set_up(config: dict[str, Any]) -> float:
    """Set torch up for what this worker has reserved: the share of a GPU.

    Raises:
        RunError: torch cannot use it; no job can be trained.
    """
    try:
        own = reserved(config["threads"])
    except RunError as error:
        ray.get([config["log"].fail.remote(job.name, str(error)) for job in config["jobs"]])
        raise
    prepare_torch(own.n_threads, on_gpu=own.gpus > 0)
    return own.gpus

"""The search on Ray Tune: trials that only ask the evaluation broker, for what `Rounds` has them evaluate."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.actor import ActorHandle
from ray.tune import Callback, CheckpointConfig, FailureConfig
from ray.tune.schedulers import FIFOScheduler
from ray.util.placement_group import NODE_ID_LABEL_KEY

from mva_ray.errors import RunError
from mva_ray.placement.ray_cluster import own_node, own_resource
from mva_ray.placement.ray_group import beside_driver
from mva_ray.run_dir.place import arrow_files
from mva_ray.search.ray_searcher import RoundsSearcher
from mva_ray.search.ray_trial import CandidateTrial, ProposalQueue
from mva_ray.search.results import Reader
from mva_ray.search.rounds import Rounds

NO_SNAPSHOTS = {"TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1", "TUNE_GLOBAL_CHECKPOINT_S": "inf"}
"""The Pareto table is the checkpoint and the log: Tune writes neither, and its trials need no storage to end well."""


class _InOrder(FIFOScheduler):
    def choose_trial_to_run(self, tune_controller: Any) -> None:
        """None: Tune's own order. FIFOScheduler's choice would take a trial from its process while that starts."""


class _Progress(Callback):
    def __init__(self, on_candidate: Callable[[], None]) -> None:
        self._on_candidate = on_candidate

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        if "evaluation" in trial.last_result:
            self._on_candidate()


def _trials_beside_driver() -> tune.PlacementGroupFactory:
    """Tune makes a placement group a trial, which has to reserve something: a little of what every node has."""
    return tune.PlacementGroupFactory(
        [{own_resource(): 0.001}], bundle_label_selector=[{NODE_ID_LABEL_KEY: own_node()}]
    )


def run_search(
    rounds: Rounds,
    reader: Reader,
    broker: ActorHandle,
    concurrency: int,
    ahead: int,
    storage: Path | str,
    on_candidate: Callable[[], None],
) -> float:
    """Run trials until the rounds are finished. Results are in the table, recorded by the broker.

    Args:
        concurrency: trials at once, a process of its own for each.
        ahead: how many more candidates the broker is asked for before a trial takes them.
        storage: path or URL where Tune keeps its own files.
        on_candidate: called after each trial.

    Returns:
        seconds that the engine was at work so far.

    Raises:
        RunError: no candidate can be evaluated any more; what was evaluated is recorded.
    """
    files, path = arrow_files(storage)
    for name, setting in NO_SNAPSHOTS.items():
        os.environ.setdefault(name, setting)
    queue = ray.remote(ProposalQueue).options(**beside_driver(), max_concurrency=10_000).remote(broker, ahead)
    searcher = RoundsSearcher(rounds, reader, lambda proposals, complete: queue.extend.remote(proposals, complete))
    ray.get(broker.ready.remote())  # trials that start beside it would take its cores

    tune.Tuner(
        tune.with_resources(tune.with_parameters(CandidateTrial, broker=broker, queue=queue), _trials_beside_driver()),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=_InOrder(),
            num_samples=-1,
            max_concurrent_trials=concurrency,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name="search",
            storage_path=path,
            storage_filesystem=files,
            verbose=0,
            callbacks=[_Progress(on_candidate)],
            failure_config=FailureConfig(max_failures=2),
            checkpoint_config=CheckpointConfig(checkpoint_at_end=False),
        ),
    ).fit()
    ray.kill(queue)
    if rounds.run_error:
        raise RunError(rounds.run_error)
    seconds: float = ray.get(broker.engine_seconds.remote())
    return seconds

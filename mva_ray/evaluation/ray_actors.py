"""The processes that answer and score: generators and rewards as Ray actors."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.util.metrics import Gauge

from mva_ray.config import RunConfig
from mva_ray.config.reward import RewardSettings
from mva_ray.errors import CandidateFailure
from mva_ray.evaluation.generator import make_generator
from mva_ray.evaluation.ray_clients import RayGenerator, RayReward
from mva_ray.evaluation.shared_engine import SharedEngine, SteppedGenerator
from mva_ray.evaluation.shared_server import SharedServer
from mva_ray.placement.ray_group import Place
from mva_ray.placement.ray_reserved import reserved, threads_of_each
from mva_ray.records import AdapterRef

log = logging.getLogger(__name__)

ANY_NUMBER = 10_000
"""Calls that an actor takes at once: they wait inside."""


class EngineActor(SharedEngine):
    """A shared engine on what its process has reserved: `make` is told how many GPUs."""

    def __init__(self, make: Callable[[float], SteppedGenerator], threads: int | None) -> None:
        own = reserved(threads)
        super().__init__(partial(make, own.gpus), own.n_threads)
        self._rows = Gauge("mva_ray_engine_rows", "Rows that an evaluator is answering")

    async def _step(self) -> None:
        await super()._step()
        self._rows.set(self.generator.rows)


class RewardActor:
    """Holds one reward; a failure to score is returned, not raised, since it belongs to one candidate."""

    def __init__(self, settings: RewardSettings) -> None:
        from mva_ray.evaluation.reward import load_reward

        reserved()
        self._reward = load_reward(settings)

    def score(self, prompts: Sequence[str], completions: Sequence[str]) -> tuple[list[float], int] | CandidateFailure:
        """One number a completion, and how many inputs were cut to the reward's max_length."""
        from mva_ray.evaluation.reward import score

        before = self._reward.truncated
        try:
            return score(self._reward, prompts, completions), self._reward.truncated - before
        except CandidateFailure as failure:
            return failure


def start_generators(
    config: RunConfig, base_model: str, adapters: Sequence[AdapterRef], places: Sequence[Place]
) -> list[RayGenerator]:
    """A generator at each place; the cores of a machine of our own are shared out between them."""
    make = partial(make_generator, config, base_model, list(adapters))
    if config.engine.openai:
        return [RayGenerator(partial(_start, SharedServer, place, make, ANY_NUMBER), place.there) for place in places]
    threads = threads_of_each(len(places))
    return [RayGenerator(partial(_start, EngineActor, place, make, threads), place.there) for place in places]


def start_rewards(config: RunConfig, names: Iterable[str], places: Sequence[Place]) -> dict[str, RayReward]:
    """The rewards of these names, each at its place."""
    return {name: _reward(name, config.rewards[name], place) for name, place in zip(names, places, strict=True)}


def _reward(name: str, settings: RewardSettings, place: Place) -> RayReward:
    return RayReward(name, settings.timeout, partial(_start, RewardActor, place, settings), place.there)


def _start(kind: type, place: Place, *arguments: Any) -> ActorHandle:
    at_once = 1 if kind is RewardActor else ANY_NUMBER
    return ray.remote(kind).options(**place.options, max_concurrency=at_once).remote(*arguments)


def stop(clients: Iterable[RayGenerator | RayReward]) -> None:
    for client in clients:
        ray.kill(client.process.actor)


def report_truncation(truncated: Mapping[str, int]) -> None:
    """Say which rewards read less than was written."""
    for name, count in truncated.items():
        if count:
            log.warning("the reward of '%s' cut %d inputs to its max_length", name, count)

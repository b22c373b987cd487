"""The processes that answer and score: generators and rewards as Ray actors, and the stages' way to ask them."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import ray
from ray.actor import ActorHandle

from mva_ray.config import RunConfig
from mva_ray.config.reward import Resources, RewardSettings
from mva_ray.errors import CandidateFailure, RunError
from mva_ray.evaluation.generator import GeneratorClient, make_generator
from mva_ray.evaluation.pool import GeneratorPool
from mva_ray.evaluation.ray_clients import RayGenerator, RayReward
from mva_ray.evaluation.scorer import Scorer
from mva_ray.evaluation.shared_engine import SharedEngine
from mva_ray.evaluation.shared_server import SharedServer
from mva_ray.records import AdapterRef, Generation

log = logging.getLogger(__name__)
T = TypeVar("T")
Score = Callable[[str, Sequence[str], Sequence[str]], list[float]]

ANY_NUMBER = 10_000
"""Calls that an actor takes at once: they wait inside."""


class RewardActor:
    """Holds one reward; a failure to score is returned, not raised, since it belongs to one candidate."""

    def __init__(self, settings: RewardSettings) -> None:
        from mva_ray.evaluation.reward import load_reward

        self._reward = load_reward(settings)

    def score(self, prompts: Sequence[str], completions: Sequence[str]) -> tuple[list[float], int] | CandidateFailure:
        """One number a completion, and how many inputs were cut to the reward's max_length."""
        from mva_ray.evaluation.reward import score

        before = self._reward.truncated
        try:
            return score(self._reward, prompts, completions), self._reward.truncated - before
        except CandidateFailure as failure:
            return failure


def start_generators(config: RunConfig, base_model: str, adapters: Sequence[AdapterRef]) -> list[RayGenerator]:
    """One generator per configured evaluator; the machine's cores are shared out between them."""
    count = config.search.evaluators
    make = partial(make_generator, config, base_model, list(adapters))
    threads = max(1, int(ray.cluster_resources().get("CPU", 1)) // count)
    kind, size = (SharedServer, ANY_NUMBER) if config.engine.openai else (SharedEngine, threads)
    return [RayGenerator(partial(_start, kind, config.search.resources, make, size)) for _ in range(count)]


def start_rewards(config: RunConfig, names: Iterable[str] | None = None) -> dict[str, RayReward]:
    """The rewards of these names, every reward of the run if None, each with the resources it asks for."""
    wanted = config.rewards if names is None else {name: config.rewards[name] for name in names}
    return {
        name: RayReward(name, reward.timeout, partial(_start, RewardActor, reward.resources, reward))
        for name, reward in wanted.items()
    }


def _start(kind: type, resources: Resources, *arguments: Any) -> ActorHandle:
    at_once = 1 if kind is RewardActor else ANY_NUMBER
    options = {"num_cpus": resources.num_cpus, "num_gpus": resources.num_gpus, "max_concurrency": at_once}
    return ray.remote(kind).options(**options).remote(*arguments)


def stop(clients: Iterable[RayGenerator | RayReward]) -> None:
    for client in clients:
        ray.kill(client.process.actor)


def sample_all(config: RunConfig, prompts: Sequence[str], batch: int) -> Iterator[list[list[Generation]]]:
    """Completions of the base model for preference pairs: `batch` prompts at a time, in order, a list for each prompt.

    Raises:
        RunError: a prompt cannot be answered.
    """
    generators = start_generators(config, config.base_model, [])
    pool = GeneratorPool(generators)

    async def sample(generator: GeneratorClient, some: Sequence[str]) -> list[list[Generation]]:
        return await generator.sample(some, config.sampling, config.seed)

    async def begin() -> list[asyncio.Task[list[list[Generation]]]]:
        starts = range(0, len(prompts), batch)
        return [asyncio.create_task(pool.ask(prompts[start : start + batch], sample)) for start in starts]

    try:
        with asyncio.Runner() as loop:
            tasks = loop.run(begin())
            try:
                for drawn in tasks:
                    yield loop.run(_result(drawn))
            finally:
                loop.run(_end(tasks))
    except CandidateFailure as failure:
        raise RunError(f"no samples: {failure}") from None
    finally:
        stop(generators)


@contextmanager
def scoring(config: RunConfig, names: Iterable[str], what: str) -> Iterator[Score]:
    """Rewards of the run at work, as `score(name, prompts, completions)`: one number a completion.

    `what` says in errors what is scored: there is no candidate that could fail, so a reward that fails is a RunError.
    """
    rewards = start_rewards(config, names)
    scorers = {name: Scorer(name, reward) for name, reward in rewards.items()}
    try:
        with asyncio.Runner() as loop:

            def score(name: str, prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
                try:
                    return loop.run(scorers[name].score(list(zip(prompts, completions, strict=True))))
                except CandidateFailure as failure:
                    raise RunError(f"no reward for {what}: {failure}") from None

            yield score
        report_truncation({name: reward.truncated for name, reward in rewards.items()})
    finally:
        stop(rewards.values())


async def _result(of: Awaitable[T]) -> T:
    return await of


async def _end(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Nobody asks for their results or errors any more."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def report_truncation(truncated: Mapping[str, int]) -> None:
    """Say which rewards read less than was written."""
    for name, count in truncated.items():
        if count:
            log.warning("the reward of '%s' cut %d inputs to its max_length", name, count)

"""How stages ask generators and rewards without a broker, where there is no candidate."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from mva_ray.config import RunConfig
from mva_ray.errors import CandidateFailure, RunError
from mva_ray.evaluation.generator import GeneratorClient
from mva_ray.evaluation.pool import GeneratorPool
from mva_ray.evaluation.ray_actors import report_truncation, start_generators, start_rewards
from mva_ray.evaluation.scorer import Scorer
from mva_ray.placement.needs import evaluator_needs, reward_needs
from mva_ray.placement.ray_group import Group
from mva_ray.records import Generation

T = TypeVar("T")
Score = Callable[[str, Sequence[str], Sequence[str]], list[float]]


def sample_all(config: RunConfig, prompts: Sequence[str], batch: int) -> Iterator[list[list[Generation]]]:
    """Completions of the base model for preference pairs: `batch` prompts at a time, in order, a list for each prompt.

    Raises:
        RunError: a prompt cannot be answered.
    """

    async def sample(generator: GeneratorClient, some: Sequence[str]) -> list[list[Generation]]:
        return await generator.sample(some, config.sampling, config.seed)

    async def begin() -> list[asyncio.Task[list[list[Generation]]]]:
        starts = range(0, len(prompts), batch)
        return [asyncio.create_task(pool.ask(prompts[start : start + batch], sample)) for start in starts]

    with Group(evaluator_needs(config), config.resources_timeout) as group:
        pool = GeneratorPool(start_generators(config, config.base_model, [], group.places))
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


@contextmanager
def scoring(config: RunConfig, names: Sequence[str], what: str) -> Iterator[Score]:
    """Rewards of the run at work, as `score(name, prompts, completions)`: one number a completion.

    `what` says in errors what is scored: there is no candidate that could fail, so a reward that fails is a RunError.
    """
    with Group(reward_needs(config, names), config.resources_timeout) as group:
        rewards = start_rewards(config, names, group.places)
        scorers = {name: Scorer(name, reward) for name, reward in rewards.items()}
        with asyncio.Runner() as loop:

            def score(name: str, prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
                try:
                    return loop.run(scorers[name].score(list(zip(prompts, completions, strict=True))))
                except CandidateFailure as failure:
                    raise RunError(f"no reward for {what}: {failure}") from None

            yield score
        report_truncation({name: reward.truncated for name, reward in rewards.items()})


async def _result(of: Awaitable[T]) -> T:
    return await of


async def _end(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Nobody asks for their results or errors any more."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

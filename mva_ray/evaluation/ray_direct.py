"""How stages ask generators and rewards without a broker, where there is no candidate."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

from mva_ray.config import RunConfig
from mva_ray.errors import CandidateFailure, RunError
from mva_ray.evaluation.answers import Answer
from mva_ray.evaluation.generator import GeneratorClient
from mva_ray.evaluation.in_order import in_order
from mva_ray.evaluation.pool import Ask, GeneratorPool
from mva_ray.evaluation.ray_actors import report_truncation, start_generators, start_rewards
from mva_ray.evaluation.scorer import Scorer
from mva_ray.placement.capacity import Reserving, unmetered
from mva_ray.placement.needs import evaluator_needs, reward_needs
from mva_ray.placement.ray_group import Group
from mva_ray.records import Generation

T = TypeVar("T")
Score = Callable[[str, Sequence[str], Sequence[str]], list[float]]

AT_ONCE = 2
"""Batches of a generator: it answers one, and the next is there. A kill loses no more than these."""


def sample_all(
    config: RunConfig, prompts: Sequence[str], batch: int, reserving: Reserving = unmetered
) -> Iterator[list[list[Generation]]]:
    """Completions of the base model as `sampling` says: `batch` prompts at a time, in order, a list for each prompt.

    Raises:
        RunError: a prompt cannot be answered.
    """

    async def sample(generator: GeneratorClient, some: Sequence[str]) -> list[list[Generation]]:
        return await generator.sample(some, config.sampling, config.seed)

    return _asked(config, prompts, batch, sample, reserving)


def answer_all(config: RunConfig, prompts: Sequence[str], batch: int) -> Iterator[list[Answer]]:
    """What the base model answers, as candidates do: `batch` prompts at a time, in order.

    Raises:
        RunError: no prompt can be answered.
    """

    async def answer(generator: GeneratorClient, some: Sequence[str]) -> list[Answer]:
        return await generator.answer([((), prompt) for prompt in some])

    return _asked(config, prompts, batch, answer, unmetered)


def _asked(
    config: RunConfig, prompts: Sequence[str], batch: int, ask: Ask[str, list[T]], reserving: Reserving
) -> Iterator[list[T]]:
    needs = evaluator_needs(config)
    with Group(needs, config.resources_timeout, reserving) as group:
        pool = GeneratorPool(start_generators(config, config.base_model, [], group.places))
        batches = (prompts[start : start + batch] for start in range(0, len(prompts), batch))
        try:
            yield from in_order((partial(pool.ask, some, ask) for some in batches), AT_ONCE * len(needs))
        except CandidateFailure as failure:
            raise RunError(f"no samples: {failure}") from None


@contextmanager
def scoring(config: RunConfig, names: Sequence[str], what: str, reserving: Reserving = unmetered) -> Iterator[Score]:
    """Rewards of the run at work, as `score(name, prompts, completions)`: one number a completion.

    `what` says in errors what is scored: there is no candidate that could fail, so a reward that fails is a RunError.
    """
    with Group(reward_needs(config, names), config.resources_timeout, reserving) as group:
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

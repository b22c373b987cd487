"""The broker on Ray: a process of its own, and generators and rewards that are actors."""

from collections.abc import Awaitable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayError, RayTaskError

from mva_ray.config import RunConfig
from mva_ray.errors import CandidateFailure, RunError, last_line
from mva_ray.evaluation.answers import Answer
from mva_ray.evaluation.broker import EvaluationBroker
from mva_ray.evaluation.evaluate import EvaluationSetting
from mva_ray.evaluation.known import KnownAnswers
from mva_ray.evaluation.ray_actors import ANY_NUMBER, report_truncation, start_generators, start_rewards, stop
from mva_ray.evaluation.recorder import Record
from mva_ray.records import AdapterRef, Coefficients, Evaluation, Generation

Broker: TypeAlias = ActorHandle
"""An `EvaluationBroker` in a process of its own."""

PIECE = 16
"""Requests of a candidate that go to one engine together: enough to share the beginning of their prompts."""


class RayGenerator:
    """A `GeneratorClient`: an actor's handle, whose errors become ours."""

    def __init__(self, actor: ActorHandle) -> None:
        self._actor = actor

    async def answer(self, requests: Sequence[tuple[Coefficients, str]]) -> list[Answer]:
        answers: list[Answer] = await _result(self._actor.answer.remote(requests), "generation_raised")
        return answers

    async def measure(self, metrics: Sequence[str], generations: Sequence[Generation]) -> list[dict[str, float]]:
        call = self._actor.measure.remote(metrics, generations)
        measured: list[dict[str, float]] = await _result(call, "generation_raised")
        return measured

    async def busy_seconds(self) -> float:
        seconds: float = await _result(self._actor.busy_seconds.remote(), "generation_raised")
        return seconds


class RayReward:
    """A `RewardClient`: the handle of a `RewardActor`, whose errors become ours."""

    def __init__(self, actor: ActorHandle) -> None:
        self._actor = actor

    async def score(self, prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
        scores: list[float] | CandidateFailure
        scores = await _result(self._actor.score.remote(prompts, completions), "reward_raised")
        if isinstance(scores, CandidateFailure):
            raise scores
        return scores


async def _result(call: Awaitable[Any], raised: str) -> Any:
    """
    Raises:
        CandidateFailure: of the kind `raised`, or `actor_died`.
        RunError: the actor says that nothing can go on.
    """
    try:
        return await call
    except RayError as error:
        cause = getattr(error, "cause", None) or error
        if isinstance(cause, CandidateFailure | RunError):
            raise cause from None
        kind = raised if isinstance(error, RayTaskError) else "actor_died"
        raise CandidateFailure(kind, f"{type(cause).__name__}: {last_line(cause)}") from None


@contextmanager
def evaluation_broker(
    config: RunConfig,
    adapters: Sequence[AdapterRef],
    settings: Mapping[str, EvaluationSetting],
    record: Record,
    known: KnownAnswers,
) -> Iterator[Broker]:
    """A broker with its generators and rewards, as long as the context lasts."""
    generators = start_generators(config, config.base_model, adapters)
    rewards = start_rewards(config)
    broker = start_broker(settings, generators, rewards, record, known, piece=None if config.engine.openai else PIECE)
    try:
        yield broker
        report_truncation(rewards)
    finally:
        stop([broker, *generators, *rewards.values()])


def start_broker(
    settings: Mapping[str, EvaluationSetting],
    generators: Sequence[ActorHandle],
    rewards: Mapping[str, ActorHandle],
    record: Record,
    known: KnownAnswers,
    piece: int | None = None,
) -> Broker:
    """An `EvaluationBroker` over these actors; see there."""
    actor = ray.remote(EvaluationBroker).options(num_cpus=0, max_concurrency=ANY_NUMBER)
    clients = {name: RayReward(reward) for name, reward in rewards.items()}
    return actor.remote(dict(settings), list(map(RayGenerator, generators)), clients, record, known, piece)


def evaluate_all(broker: Broker, split: str, candidates: Sequence[Coefficients]) -> Iterator[Evaluation]:
    """Evaluate candidates on all prompts of a split; yields evaluations as they are done, in any order."""
    pending = [broker.evaluate.remote(split, candidate) for candidate in candidates]
    while pending:
        done, pending = ray.wait(pending)
        yield from (partial.evaluation for partial in ray.get(done))


def engine_seconds(broker: Broker) -> float:
    """Seconds that the generators have worked so far, on average."""
    seconds: float = ray.get(broker.engine_seconds.remote())
    return seconds

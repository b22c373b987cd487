"""The broker on Ray: a process of its own, and generators and rewards that are actors."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeAlias

import ray
from ray.actor import ActorHandle

from mva_ray.config import RunConfig
from mva_ray.evaluation.broker import EvaluationBroker
from mva_ray.evaluation.evaluate import EvaluationSetting
from mva_ray.evaluation.generator import GeneratorClient
from mva_ray.evaluation.known import KnownAnswers
from mva_ray.evaluation.ray_actors import ANY_NUMBER, report_truncation, start_generators, start_rewards
from mva_ray.evaluation.recorder import Record
from mva_ray.evaluation.scorer import RewardClient
from mva_ray.placement.capacity import Bundle, Reserving, unmetered
from mva_ray.placement.needs import evaluator_needs, reward_needs
from mva_ray.placement.ray_group import Group, beside_driver
from mva_ray.records import AdapterRef, Coefficients, Evaluation

Broker: TypeAlias = ActorHandle
"""An `EvaluationBroker` in a process of its own."""

PIECE = 16
"""Requests of a candidate that go to one engine together: enough to share the beginning of their prompts."""


@contextmanager
def evaluation_broker(
    config: RunConfig,
    adapters: Sequence[AdapterRef],
    settings: Mapping[str, EvaluationSetting],
    record: Record,
    known: KnownAnswers,
    reserving: Reserving = unmetered,
) -> Iterator[Broker]:
    """A broker with its generators and rewards, as long as the context lasts.

    Raises:
        RunError: there is no room for them.
    """
    evaluators, names = evaluator_needs(config), list(config.rewards)
    with Group([*evaluators, *reward_needs(config, names)], config.resources_timeout, reserving) as group:
        generators = start_generators(config, config.base_model, adapters, group.places[: len(evaluators)])
        rewards = start_rewards(config, names, group.places[len(evaluators) :])
        piece = None if config.engine.openai else PIECE
        broker = start_broker(settings, generators, rewards, record, known, piece, evaluators[0])
        try:
            yield broker
            report_truncation(ray.get(broker.truncated.remote()))
        finally:
            ray.kill(broker)  # and what it started in place of actors that died


def start_broker(
    settings: Mapping[str, EvaluationSetting],
    generators: Sequence[GeneratorClient],
    rewards: Mapping[str, RewardClient],
    record: Record,
    known: KnownAnswers,
    piece: int | None = None,
    evaluator: Bundle | None = None,
) -> Broker:
    """An `EvaluationBroker` over these; see there."""
    actor = ray.remote(EvaluationBroker).options(**beside_driver(), max_concurrency=ANY_NUMBER)
    return actor.remote(dict(settings), list(generators), dict(rewards), record, known, piece, evaluator)


def evaluate_all(broker: Broker, split: str, candidates: Sequence[Coefficients]) -> Iterator[Evaluation]:
    """Evaluate candidates on all prompts of a split; yields evaluations as they are done, in any order."""
    pending = [broker.evaluate.remote(split, candidate) for candidate in candidates]
    while pending:
        done, pending = ray.wait(pending)
        yield from (answered.evaluation for answered in ray.get(done))


def engine_seconds(broker: Broker) -> float:
    """Seconds that the generators have worked so far, on average."""
    seconds: float = ray.get(broker.engine_seconds.remote())
    return seconds

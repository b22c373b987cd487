"""The processes that answer and score: generators and rewards as Ray actors, and the stages' way to ask them."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import cycle

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayError

from mva_ray.config import RunConfig
from mva_ray.config.reward import Resources, RewardSettings
from mva_ray.errors import CandidateFailure, RunError
from mva_ray.evaluation.generator import make_generator
from mva_ray.evaluation.shared_engine import SharedEngine
from mva_ray.evaluation.shared_server import SharedServer
from mva_ray.records import AdapterRef, Generation

log = logging.getLogger(__name__)
Score = Callable[[str, Sequence[str], Sequence[str]], list[float]]

SURVIVES = {"max_restarts": 2, "max_task_retries": 2}
ANY_NUMBER = 10_000
"""Calls that an actor takes at once: they wait inside."""


class RewardActor:
    """Holds one reward; a failure to score is returned, not raised, since it belongs to one candidate."""

    def __init__(self, settings: RewardSettings) -> None:
        from mva_ray.evaluation.reward import load_reward

        self._reward = load_reward(settings)

    def score(self, prompts: Sequence[str], completions: Sequence[str]) -> list[float] | CandidateFailure:
        from mva_ray.evaluation.reward import score

        try:
            return score(self._reward, prompts, completions)
        except CandidateFailure as failure:
            return failure

    def truncated(self) -> int:
        """How many inputs were cut to the reward's max_length so far."""
        return self._reward.truncated


def start_generators(config: RunConfig, base_model: str, adapters: Sequence[AdapterRef]) -> list[ActorHandle]:
    """One generator actor per configured evaluator; the machine's cores are shared out between them."""
    count = config.search.evaluators
    make = partial(make_generator, config, base_model, list(adapters))
    threads = max(1, int(ray.cluster_resources().get("CPU", 1)) // count)
    kind, size = (SharedServer, ANY_NUMBER) if config.engine.openai else (SharedEngine, threads)
    actor = ray.remote(kind).options(**SURVIVES, **_options(config.search.resources), max_concurrency=ANY_NUMBER)
    return [actor.remote(make, size) for _ in range(count)]


def start_rewards(config: RunConfig, names: Iterable[str] | None = None) -> dict[str, ActorHandle]:
    """One reward actor for each name, for every reward of the run if None, with the resources it asks for."""
    wanted = config.rewards if names is None else {name: config.rewards[name] for name in names}
    return {
        name: ray.remote(RewardActor).options(**SURVIVES, **_options(reward.resources)).remote(reward)
        for name, reward in wanted.items()
    }


def _options(resources: Resources) -> dict[str, float]:
    return {"num_cpus": resources.num_cpus, "num_gpus": resources.num_gpus}


def stop(actors: Iterable[ActorHandle]) -> None:
    for actor in actors:
        ray.kill(actor)


def sample_all(config: RunConfig, prompts: Sequence[str], batch: int) -> Iterator[list[list[Generation]]]:
    """Completions of the base model for preference pairs: `batch` prompts at a time, in order, a list for each prompt.

    Raises:
        RunError: a prompt cannot be answered.
    """
    generators = start_generators(config, config.base_model, [])
    try:
        drawn = [
            actor.sample.remote(prompts[start : start + batch], config.sampling, config.seed)
            for start, actor in zip(range(0, len(prompts), batch), cycle(generators), strict=False)
        ]
        yield from map(ray.get, drawn)
    finally:
        stop(generators)


@contextmanager
def scoring(config: RunConfig, names: Iterable[str], what: str) -> Iterator[Score]:
    """Rewards of the run at work, as `score(name, prompts, completions)`: one number a completion.

    `what` says in errors what is scored: there is no candidate that could fail, so a reward that fails is a RunError.
    """
    actors = start_rewards(config, names)

    def score(name: str, prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
        scores: list[float] | CandidateFailure = ray.get(actors[name].score.remote(prompts, completions))
        if isinstance(scores, CandidateFailure):
            raise RunError(f"the reward of '{name}' cannot score {what}: {scores}")
        return scores

    try:
        yield score
        report_truncation(actors)
    finally:
        stop(actors.values())


def report_truncation(rewards: Mapping[str, ActorHandle]) -> None:
    """Say which rewards read less than was written."""
    for name, actor in rewards.items():
        with suppress(RayError):  # of an actor that died for good, the candidates say so
            if count := ray.get(actor.truncated.remote()):
                log.warning("the reward of '%s' cut %d inputs to its max_length", name, count)

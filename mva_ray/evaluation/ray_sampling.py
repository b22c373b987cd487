"""Samples of the base model and rewards of given texts, by actors that live as long as it takes."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle

import ray
from ray.actor import ActorHandle

from mva_ray.config import RunConfig
from mva_ray.errors import CandidateFailure, RunError
from mva_ray.evaluation.ray_actors import report_truncation, start_generators, start_rewards
from mva_ray.records import Generation


def sample_all(config: RunConfig, prompts: Sequence[str], width: int) -> Iterator[list[list[Generation]]]:
    """Samples of all prompts, [prompts][completions], in batches of `width` prompts and in their order."""
    generators = start_generators(config, config.base_model, [])
    batches = [
        actor.sample.remote(prompts[start : start + width], config.sampling, config.seed)
        for start, actor in zip(range(0, len(prompts), width), cycle(generators), strict=False)
    ]
    for batch in batches:
        yield ray.get(batch)
    _stop(generators)


Score = Callable[[str, Sequence[tuple[str, str]]], list[float]]
"""From the name of a reward and texts (prompt, completion) to a number for each of them."""


@contextmanager
def scoring(config: RunConfig, what: str) -> Iterator[Score]:
    """The rewards of a config, as long as the context lasts.

    Raises:
        RunError: by the function, where a reward fails; `what` says on which texts.
    """
    actors = start_rewards(config)

    def score(name: str, texts: Sequence[tuple[str, str]]) -> list[float]:
        prompts, completions = zip(*texts, strict=True)
        scores: list[float] | CandidateFailure = ray.get(actors[name].score.remote(prompts, completions))
        if isinstance(scores, CandidateFailure):
            raise RunError(f"the reward of '{name}' cannot score {what}: {scores}")
        return scores

    yield score
    report_truncation(actors)
    _stop(list(actors.values()))


def _stop(actors: Sequence[ActorHandle]) -> None:
    for actor in actors:
        ray.kill(actor)

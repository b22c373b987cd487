"""What answers prompts, and which one a config asks for."""

from collections.abc import Sequence
from typing import Protocol

from mva_ray.config import RunConfig
from mva_ray.config.generation import Sampling
from mva_ray.evaluation.answers import Answer
from mva_ray.records import AdapterRef, Coefficients, Generation


class Generator(Protocol):
    """Answers prompts for any coefficients of its adapters."""

    def answer(self, requests: Sequence[tuple[Coefficients, str]]) -> list[Answer]:
        """A generation for each request (coefficients and prompt), in order, or why there is none.

        Raises:
            RunError: no request can be answered, such as by a server that is down.
        """
        ...

    def sample(self, prompts: Sequence[str], sampling: Sampling, seed: int) -> list[list[Generation]]:
        """`sampling.completions_per_prompt` completions of the base model a prompt, for preference pairs.

        Raises:
            RunError: a prompt cannot be answered.
        """
        ...


class GeneratorClient(Protocol):
    """A generator in a process of its own, as the broker asks it. Any number of calls may wait at once.

    Every call raises `ProcessEnded` where its process ended (the next call meets another one), `CandidateFailure` where
    the generator raised, `RunError` where no call can be answered.
    """

    async def answer(self, requests: Sequence[tuple[Coefficients, str]]) -> list[Answer]:
        """As `Generator.answer`."""
        ...

    async def sample(self, prompts: Sequence[str], sampling: Sampling, seed: int) -> list[list[Generation]]:
        """As `Generator.sample`."""
        ...

    async def measure(self, metrics: Sequence[str], generations: Sequence[Generation]) -> list[dict[str, float]]:
        """The named engine metrics of each generation (`records.ENGINE_METRICS`)."""
        ...

    async def busy_seconds(self) -> float:
        """Seconds that it has worked so far."""
        ...


def make_generator(config: RunConfig, base_model: str, adapters: Sequence[AdapterRef], gpus: float = 0) -> Generator:
    """Our own engine, which holds the model, or one that asks `engine.openai`. Loads no torch before it is called."""
    if config.engine.openai:
        from mva_ray.evaluation.openai import OpenAiGenerator

        return OpenAiGenerator(config.engine.openai, base_model, adapters, config.generation, config.seed)
    from mva_ray.evaluation.local import LocalGenerator

    return LocalGenerator(base_model, adapters, config.generation, config.seed, gpus)

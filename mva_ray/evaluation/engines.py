"""Which engine answers, by the config."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mva_ray.config import RunConfig
from mva_ray.records import AdapterRef

if TYPE_CHECKING:
    from mva_ray.evaluation.generate import Generator
    from mva_ray.evaluation.openai import OpenAiGenerator


def make_generator(config: RunConfig, base_model: str, adapters: Sequence[AdapterRef]) -> "Generator | OpenAiGenerator":
    """Our own engine, which holds the model, or one that asks `engine.openai`. Loads no torch before it is called."""
    if config.engine.openai:
        from mva_ray.evaluation.openai import OpenAiGenerator

        return OpenAiGenerator(config.engine.openai, base_model, adapters, config.generation, config.seed)
    from mva_ray.evaluation.generate import Generator

    return Generator(base_model, adapters, config.generation, config.seed)

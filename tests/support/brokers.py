"""Evaluation brokers over generators and rewards that remember what they are asked. No Ray, no torch."""

import asyncio
import weakref
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mva_ray.config.generation import Sampling
from mva_ray.evaluation.answers import Answer
from mva_ray.evaluation.broker import Answered, EvaluationBroker, Places
from mva_ray.evaluation.evaluate import EvaluationSetting
from mva_ray.evaluation.generator import GeneratorClient
from mva_ray.evaluation.known import KnownAnswers
from mva_ray.evaluation.process import ProcessEnded
from mva_ray.evaluation.reward import score
from mva_ray.records import Coefficients, Evaluation, Generation

VALUES = ("first", "second")
PROMPTS = ("Why is the sky blue?", "Bread?", "My friend is angry with me. What should I say to my friend?", "Hi")
CANDIDATES = [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (-0.5, 2.0)]

Function = Callable[[Sequence[str], Sequence[str]], Any]


def make_setting(first: str = "length", prompts: Sequence[str] = PROMPTS, **changes: Any) -> EvaluationSetting:
    """Two values; the version of the first one's reward is given."""
    setting = EvaluationSetting(
        context="context",
        split="search",
        prompts=tuple(prompts),
        values=VALUES,
        base_model="tiny",
        adapters={value: value for value in VALUES},
        rewards={"first": first, "second": "vowels"},
        seed=0,
        generator="tiny 6",
    )
    return replace(setting, **changes)


def length(prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
    return [float(len(completion)) for completion in completions]


def vowels(prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
    return [float(sum(letter in "aeiou" for letter in completion)) for completion in completions]


def broken(prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
    raise RuntimeError("the scoring service is down")


@dataclass
class Logged:
    """A `GeneratorClient` that remembers its calls."""

    generator: GeneratorClient
    calls: list[list[tuple[Coefficients, str]]] = field(default_factory=list)

    async def answer(self, requests: Sequence[tuple[Coefficients, str]]) -> list[Answer]:
        self.calls.append(list(requests))
        return await self.generator.answer(requests)

    async def sample(self, prompts: Sequence[str], sampling: Sampling, seed: int) -> list[list[Generation]]:
        return await self.generator.sample(prompts, sampling, seed)

    async def measure(self, metrics: Sequence[str], generations: Sequence[Generation]) -> list[dict[str, float]]:
        return await self.generator.measure(metrics, generations)

    async def busy_seconds(self) -> float:
        return await self.generator.busy_seconds()


class PlainReward:
    """A `RewardClient` that remembers what it is asked to score. `deadly` completions end its process."""

    version = "1"
    truncated = 0

    def __init__(self, function: Function) -> None:
        self._function = function
        self.deadly: set[str] = set()
        self.scored: list[tuple[str, str]] = []

    def __call__(self, prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
        scores: list[float] = self._function(prompts, completions)
        return scores

    async def score(self, prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
        self.scored += zip(prompts, completions, strict=True)
        await asyncio.sleep(0)
        if self.deadly & set(completions):
            raise ProcessEnded("reward_died", "ended its process")
        return score(self, prompts, completions)


class Asked:
    """A broker, and what it has asked for and recorded."""

    def __init__(
        self,
        setting: EvaluationSetting,
        generators: Iterable[GeneratorClient],
        first: Function = length,
        known: KnownAnswers | None = None,
        piece: int | None = None,
        extra: Mapping[str, Function] | None = None,
    ) -> None:
        self.generators = [Logged(generator) for generator in generators]
        functions = {"first": first, "second": vowels, **(extra or {})}
        self.rewards = {name: PlainReward(function) for name, function in functions.items()}
        self.recorded: list[Evaluation] = []
        self.broker = EvaluationBroker(
            {"search": setting}, self.generators, self.rewards, self.recorded.extend, known or KnownAnswers(), piece
        )
        self._loop = asyncio.Runner()
        weakref.finalize(self, self._loop.close)

    def evaluate(self, *candidates: Coefficients, places: Places | None = None) -> list[Answered]:
        """All at once."""

        async def all_at_once() -> list[Answered]:
            return await asyncio.gather(*(self.broker.evaluate("search", row, places) for row in candidates))

        return list(self.run(all_at_once()))

    def run(self, call: Coroutine[Any, Any, Any]) -> Any:
        return self._loop.run(call)

    @property
    def generated(self) -> list[tuple[Coefficients, str]]:
        return [request for generator in self.generators for call in generator.calls for request in call]

    @property
    def scored(self) -> list[tuple[str, str]]:
        """Texts that the first value's reward was asked for."""
        return self.rewards["first"].scored

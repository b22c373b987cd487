"""Generators without a model, for the broker to ask. Imports little: actors of them start fast."""

import asyncio
import os
import time
from collections.abc import Sequence
from pathlib import Path

from mva_ray.config.generation import Sampling
from mva_ray.evaluation.answers import Answer
from mva_ray.evaluation.process import ProcessEnded
from mva_ray.records import Coefficients, Generation


class Words:
    """A `GeneratorClient` without a model: what it says depends on the coefficients and the prompt."""

    async def answer(self, requests: Sequence[tuple[Coefficients, str]]) -> list[Answer]:
        await asyncio.sleep(0)
        return [Generation(prompt, f"{list(row)} to {prompt}", 6, False) for row, prompt in requests]

    async def sample(self, prompts: Sequence[str], sampling: Sampling, seed: int) -> list[list[Generation]]:
        drawn = range(sampling.completions_per_prompt)
        return [[Generation(prompt, f"{number} to {prompt}", 6, False) for number in drawn] for prompt in prompts]

    async def measure(self, metrics: Sequence[str], generations: Sequence[Generation]) -> list[dict[str, float]]:
        return [{name: len(row.completion) / 10 for name in metrics} for row in generations]

    async def busy_seconds(self) -> float:
        return 0.0


class SlowWords(Words):
    """Slow enough to be killed while it answers; writes down which process was asked."""

    def __init__(self, log: Path) -> None:
        self._log = log

    async def answer(self, requests: Sequence[tuple[Coefficients, str]]) -> list[Answer]:
        with self._log.open("a") as file:
            file.write(f"{os.getpid()}\n")
        time.sleep(0.5)
        return await super().answer(requests)


class DyingWords(Words):
    """Ends its process whatever it is asked."""

    async def answer(self, requests: Sequence[tuple[Coefficients, str]]) -> list[Answer]:
        os._exit(1)


class Unborn(Words):
    """Cannot be made, or ends its process when it is."""

    def __init__(self, quietly: bool) -> None:
        if quietly:
            os._exit(1)
        raise ValueError("no such architecture")


DIED = ProcessEnded("actor_died", "ended its process")


class Fragile(Words):
    """Ends over some coefficients, and takes all calls down that it is working on; the next call meets another one."""

    def __init__(self, deadly: Sequence[float] = (), accidents: int = 0) -> None:
        self._deadly = set(deadly)
        self._accidents = accidents
        self.ended = 0
        self.calls: list[list[float]] = []
        self.most_at_once = self._at_once = 0

    async def answer(self, requests: Sequence[tuple[Coefficients, str]]) -> list[Answer]:
        self.calls.append([row[0] for row, _ in requests])
        life = self.ended
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        for _ in range(3):
            await asyncio.sleep(0)
        self._at_once -= 1
        if self.ended > life:
            raise DIED
        if self._accidents or self._deadly & {row[0] for row, _ in requests}:
            self._accidents -= bool(self._accidents)
            self.ended += 1
            raise DIED
        return await super().answer(requests)

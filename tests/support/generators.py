"""Generators without a model, for the broker to ask. Imports little: actors of them start fast."""

import asyncio
import os
import time
from collections.abc import Sequence
from pathlib import Path

from mva_ray.evaluation.answers import Answer
from mva_ray.records import Coefficients, Generation


class Words:
    """A `GeneratorClient` without a model: what it says depends on the coefficients and the prompt."""

    async def answer(self, requests: Sequence[tuple[Coefficients, str]]) -> list[Answer]:
        await asyncio.sleep(0)
        return [Generation(prompt, f"{list(row)} to {prompt}", 6, False) for row, prompt in requests]

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

"""One generator that asks a server, for many callers: each call waits in a thread of its own."""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from mva_ray.config.generation import Sampling
from mva_ray.evaluation.answers import Answer
from mva_ray.evaluation.generator import Generator
from mva_ray.records import Coefficients, Generation

T = TypeVar("T")


class SharedServer:
    """
    Args:
        make: the generator.
        calls: how many may wait at once.
    """

    def __init__(self, make: Callable[[], Generator], calls: int) -> None:
        self._generator = make()
        self._threads = ThreadPoolExecutor(calls)
        self._busy = Busy()

    async def answer(self, requests: Sequence[tuple[Coefficients, str]]) -> list[Answer]:
        with self._busy:
            return await self._in_a_thread(self._generator.answer, requests)

    async def sample(self, prompts: Sequence[str], sampling: Sampling, seed: int) -> list[list[Generation]]:
        return await self._in_a_thread(self._generator.sample, prompts, sampling, seed)

    async def busy_seconds(self) -> float:
        """Seconds in which at least one call was waiting for the server."""
        return self._busy.seconds

    async def _in_a_thread(self, call: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, partial(call, *arguments))


class Busy:
    """Seconds in which at least one of any number of overlapping contexts was open."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._open = 0

    def __enter__(self) -> None:
        if not self._open:
            self._since = time.monotonic()
        self._open += 1

    def __exit__(self, *_: object) -> None:
        self._open -= 1
        if not self._open:
            self.seconds += time.monotonic() - self._since

"""One engine for many callers: it is stepped as long as any call waits, and calls share its batches."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from mva_ray.config.generation import Sampling
from mva_ray.evaluation.answers import Answer
from mva_ray.evaluation.stall import ends_if_stalled
from mva_ray.records import Coefficients, Generation

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Pending(Protocol[T_co]):
    """What a call waits for; the result may raise."""

    def is_done(self) -> bool: ...

    def result(self) -> T_co: ...


class Cancellable(Pending[Any], Protocol):
    """A call that may be given up."""

    def cancel(self) -> None: ...


class Stepped(Protocol):
    """What does by steps what was begun, whoever asked for it."""

    def step(self) -> None: ...


class SteppedGenerator(Stepped, Protocol):
    """A generator whose calls are begun, and done by steps."""

    @property
    def rows(self) -> int:
        """How many rows are at work at once now."""
        ...

    def begin_answers(self, requests: Sequence[tuple[Coefficients, str]]) -> Pending[list[Answer]]: ...

    def begin_samples(
        self, prompts: Sequence[str], sampling: Sampling, seed: int
    ) -> Pending[list[list[Generation]]]: ...

    def begin_measure(
        self, metrics: Sequence[str], generations: Sequence[Generation]
    ) -> Pending[list[dict[str, float]]]: ...


G = TypeVar("G", bound=Stepped)
P = TypeVar("P", bound=Cancellable)


class EngineThread(Generic[G]):
    """Holds one generator in a thread of its own, which steps it as long as any call waits: calls share its batches.

    Where that stands still, the process ends.

    Args:
        make: the generator, made in that thread.
        threads: with which torch computes there; None for torch's own number.
    """

    def __init__(self, make: Callable[[], G], threads: int | None = None) -> None:
        self._thread = ThreadPoolExecutor(1, initializer=partial(_use_threads, threads))
        self.generator = self._thread.submit(make).result()
        self._waiting: list[tuple[Pending[Any], asyncio.Future[Any]]] = []
        self._stepping: asyncio.Task[None] | None = None
        self._stepped = asyncio.Event()
        self._busy_seconds = 0.0

    async def busy_seconds(self) -> float:
        """Seconds that the engine has worked so far."""
        return self._busy_seconds

    async def result(self, begin: Callable[..., Pending[T]], *arguments: Any) -> T:
        """What comes of a call, which `begin` makes of the arguments in the engine's thread."""
        return await self._wait_for(await self._in_thread(begin, *arguments))

    async def watch(self, begin: Callable[..., P], *arguments: Any) -> AsyncGenerator[P, None]:
        """The call itself after each step, the last time when it is done. It is cancelled where nobody watches on."""
        pending = await self._in_thread(begin, *arguments)
        future = self._wait_for(pending)
        try:
            while not future.done():
                await self._stepped.wait()
                yield pending
            future.result()
            yield pending
        finally:
            if not pending.is_done():
                future.cancel()
                self.cancel(pending)

    def cancel(self, pending: Cancellable) -> None:
        """Give a call up, or a part of it, in the engine's thread."""
        self._thread.submit(pending.cancel)

    def _wait_for(self, pending: Pending[T]) -> "asyncio.Future[T]":
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append((pending, future))
        if self._stepping is None or self._stepping.done():
            self._stepping = asyncio.create_task(self._step_until_idle())
        return future

    async def _step_until_idle(self) -> None:
        with ends_if_stalled():
            while self._waiting:
                await self._step()

    async def _step(self) -> None:
        started = time.monotonic()
        try:
            await self._in_thread(self.generator.step)
        except Exception as error:  # nobody's answers can be trusted to come any more
            for _, future in self._waiting:
                _settle(future, partial(_raise, error))
        self._busy_seconds += time.monotonic() - started
        for pending, future in self._waiting:
            if pending.is_done():
                _settle(future, pending.result)
        self._waiting = [entry for entry in self._waiting if not entry[1].done()]
        self._stepped.set()
        self._stepped = asyncio.Event()

    async def _in_thread(self, call: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, partial(call, *arguments))


class SharedEngine(EngineThread[SteppedGenerator]):
    """A generator that many processes ask at once."""

    async def answer(self, requests: Sequence[tuple[Coefficients, str]]) -> list[Answer]:
        return await self.result(self.generator.begin_answers, requests)

    async def sample(self, prompts: Sequence[str], sampling: Sampling, seed: int) -> list[list[Generation]]:
        return await self.result(self.generator.begin_samples, prompts, sampling, seed)

    async def measure(self, metrics: Sequence[str], generations: Sequence[Generation]) -> list[dict[str, float]]:
        return await self.result(self.generator.begin_measure, metrics, generations)


def _use_threads(count: int | None) -> None:
    if count is not None:
        import torch

        torch.set_num_threads(count)


def _settle(future: asyncio.Future[T], result: Callable[[], T]) -> None:
    if future.done():
        return
    try:
        value = result()
    except Exception as error:  # it belongs to the call that waits for this future
        future.set_exception(error)
    else:
        future.set_result(value)


def _raise(error: Exception) -> None:
    raise error

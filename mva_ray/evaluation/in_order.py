"""Awaitables from code that is not asynchronous: results in order, and few of them at work."""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Iterable
from typing import Any, TypeVar

T = TypeVar("T")


def in_order(calls: Iterable[Callable[[], Coroutine[Any, Any, T]]], at_once: int) -> Generator[T, None, None]:
    """What the calls return, in their order; so many are begun, in their order, beyond those whose result was taken.

    So what is lost where this ends early is what `at_once` of them have done. They are cancelled then.
    """
    tasks: deque[asyncio.Task[T]] = deque()
    with asyncio.Runner() as loop:
        try:
            for call in calls:
                tasks.append(loop.run(_begun(call)))
                if len(tasks) == at_once:
                    yield loop.run(_first(tasks))
            while tasks:
                yield loop.run(_first(tasks))
        finally:
            loop.run(_end(tasks))


async def _begun(call: Callable[[], Coroutine[Any, Any, T]]) -> asyncio.Task[T]:
    return asyncio.create_task(call())


async def _first(tasks: deque[asyncio.Task[T]]) -> T:
    return await tasks.popleft()


async def _end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Nobody asks for their results or errors any more."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

"""An actor as those see it who call it before it is ready."""

import asyncio
from typing import Any

from mva_ray.evaluation.ray_process import Kinds, Process


class Method:
    """Of an actor whose answers to one question come in the reverse order of the questions, as Ray's may."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    async def remote(self, *arguments: Any) -> Any:
        self.asked.append(arguments)
        await asyncio.sleep(0.05 / len(self.asked))
        return arguments


class Actor:
    def __init__(self) -> None:
        self.__ray_ready__ = Method()
        self.answer = Method()


def test_calls_reach_an_actor_that_has_just_started_in_their_order() -> None:
    """Else a run that starts again works at the end of what it has to do first, and a kill loses all of it."""
    actor = Actor()
    process = Process("it", Kinds("raised", "died"), lambda: actor)

    async def all_at_once() -> list[Any]:
        return await asyncio.gather(*(process.call("answer", number) for number in range(20)))

    assert asyncio.run(all_at_once()) == [(number,) for number in range(20)]
    assert actor.answer.asked == [(number,) for number in range(20)]
    assert len(actor.__ray_ready__.asked) == 1

"""Calls share the engine's steps, and an engine that breaks leaves nobody waiting."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from mva_ray.evaluation.shared_engine import EngineThread, SharedEngine
from mva_ray.evaluation.shared_server import Busy


@dataclass
class Pending:
    steps: int
    asked: Any

    def is_done(self) -> bool:
        return self.steps <= 0

    def result(self) -> Any:
        return self.asked

    def cancel(self) -> None:
        self.steps, self.asked = 0, "cancelled"


@dataclass
class Generator:
    """Each call is done after three steps; from some step on, every one raises."""

    breaks_at: int = 1000
    steps: int = 0
    pending: list[Pending] = field(default_factory=list)

    @property
    def rows(self) -> int:
        return 0

    def begin_answers(self, requests: Sequence[Any]) -> Pending:
        self.pending.append(Pending(3, requests))
        return self.pending[-1]

    def begin_samples(self, *_: Any) -> Any:
        raise NotImplementedError

    begin_measure = begin_samples

    def step(self) -> None:
        self.steps += 1
        if self.steps >= self.breaks_at:
            raise RuntimeError("the device is lost")
        for pending in self.pending:
            pending.steps -= 1


def answers(engine: SharedEngine, *calls: list[Any]) -> list[Any]:
    async def all_at_once() -> list[Any]:
        return await asyncio.wait_for(asyncio.gather(*map(engine.answer, calls), return_exceptions=True), timeout=20)

    return asyncio.run(all_at_once())


def test_calls_that_overlap_share_steps_and_each_gets_its_own() -> None:
    generator = Generator()
    assert answers(SharedEngine(lambda: generator, 1), ["a"], ["b"], ["c"]) == [["a"], ["b"], ["c"]]
    assert generator.steps <= 5, "three calls one after the other would take nine"


def test_an_engine_that_raises_fails_every_call_that_waits_and_serves_the_next() -> None:
    generator = Generator(breaks_at=2)
    engine = SharedEngine(lambda: generator, 1)
    failures = answers(engine, ["a"], ["b"])
    assert [str(failure) for failure in failures] == ["the device is lost"] * 2
    generator.breaks_at, generator.pending = 1000, []
    assert answers(engine, ["c"]) == [["c"]]


def test_the_engine_knows_how_long_it_has_worked() -> None:
    engine = SharedEngine(Generator, 1)
    assert asyncio.run(engine.busy_seconds()) == 0.0
    answers(engine, ["a"])
    assert asyncio.run(engine.busy_seconds()) > 0.0


def test_overlapping_calls_to_a_server_count_once(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 14.0, 20.0, 21.0])
    monkeypatch.setattr("mva_ray.evaluation.shared_server.time.monotonic", lambda: next(clock))
    busy = Busy()
    with busy, busy:
        pass
    assert busy.seconds == 4.0
    with busy:
        pass
    assert busy.seconds == 5.0


def test_a_call_is_watched_step_by_step_to_its_end() -> None:
    """Even where the one who watches is slower than the engine, the last thing seen is the end."""

    async def watched(pause: float) -> list[int]:
        engine, seen = EngineThread(Generator, 1), []
        async for pending in engine.watch(engine.generator.begin_answers, ["a"]):
            seen.append(pending.steps)
            await asyncio.sleep(pause)
        return seen

    for pause in (0, 0.2):
        seen = asyncio.run(watched(pause))
        assert seen == sorted(seen, reverse=True)
        assert seen[-1] == 0


def test_a_call_that_nobody_watches_on_is_cancelled_and_the_others_go_on() -> None:
    async def left() -> tuple[Any, Any]:
        engine = EngineThread(Generator, 1)
        other = asyncio.create_task(engine.result(engine.generator.begin_answers, ["b"]))
        watching = engine.watch(engine.generator.begin_answers, ["a"])
        pending = await anext(watching)
        await watching.aclose()
        return await other, pending.asked

    assert asyncio.run(left()) == (["b"], "cancelled")


def test_whoever_watches_hears_of_an_engine_that_breaks() -> None:
    async def watch() -> None:
        engine = EngineThread(lambda: Generator(breaks_at=2), 1)
        async for _ in engine.watch(engine.generator.begin_answers, ["a"]):
            pass

    with pytest.raises(RuntimeError, match="the device is lost"):
        asyncio.run(watch())

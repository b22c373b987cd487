"""The shell of the engine without Ray: calls share its steps, and an engine that breaks leaves nobody waiting."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from mva_ray.evaluation import ray_actors as ray_evaluation
from mva_ray.evaluation.ray_actors import GeneratorActor


@dataclass
class Pending:
    steps: int
    asked: Any

    def is_done(self) -> bool:
        return self.steps <= 0

    def result(self) -> Any:
        return self.asked


@dataclass
class Generator:
    """Each call is done after three steps; from some step on, every one raises."""

    breaks_at: int = 1000
    steps: int = 0
    pending: list[Pending] = field(default_factory=list)

    def begin_answers(self, requests: Sequence[Any]) -> Pending:
        self.pending.append(Pending(3, requests))
        return self.pending[-1]

    def step(self) -> None:
        self.steps += 1
        if self.steps >= self.breaks_at:
            raise RuntimeError("the device is lost")
        for pending in self.pending:
            pending.steps -= 1


def actor(generator: Generator, monkeypatch: pytest.MonkeyPatch) -> GeneratorActor:
    monkeypatch.setattr(ray_evaluation, "_make", lambda *_: generator)
    return GeneratorActor(None, "", [], 1)  # type: ignore[arg-type]


def answers(shell: GeneratorActor, *calls: list[Any]) -> list[Any]:
    async def all_at_once() -> list[Any]:
        return await asyncio.wait_for(
            asyncio.gather(*(shell.answer(call) for call in calls), return_exceptions=True), timeout=20
        )

    return asyncio.run(all_at_once())


def test_calls_that_overlap_share_steps_and_each_gets_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = Generator()
    assert answers(actor(generator, monkeypatch), ["a"], ["b"], ["c"]) == [["a"], ["b"], ["c"]]
    assert generator.steps <= 5, "three calls one after the other would take nine"


def test_an_engine_that_raises_fails_every_call_that_waits_and_serves_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    generator = Generator(breaks_at=2)
    shell = actor(generator, monkeypatch)
    failures = answers(shell, ["a"], ["b"])
    assert [str(failure) for failure in failures] == ["the device is lost"] * 2
    generator.breaks_at, generator.pending = 1000, []
    assert answers(shell, ["c"]) == [["c"]]

"""Several generators as one, and the request that ends their processes: it fails alone."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from mva_ray.errors import CandidateFailure, RunError
from mva_ray.evaluation.answers import Answer
from mva_ray.evaluation.generator import GeneratorClient
from mva_ray.evaluation.pool import IN_A_ROW, GeneratorPool
from mva_ray.records import Coefficients
from tests.support.brokers import PROMPTS
from tests.support.generators import Fragile, Words


def answer(pool: GeneratorPool, *candidates: float) -> list[Any]:
    """All candidates at once, on all prompts."""

    async def ask(generator: GeneratorClient, requests: Sequence[tuple[Coefficients, str]]) -> list[Answer]:
        return await generator.answer(requests)

    async def all_at_once() -> list[Any]:
        asked = [[((weight,), prompt) for prompt in PROMPTS] for weight in candidates]
        calls = asyncio.gather(*(pool.ask(requests, ask) for requests in asked), return_exceptions=True)
        return list(await asyncio.wait_for(calls, 20))

    return asyncio.run(all_at_once())


def texts(weight: float) -> list[str]:
    return [f"{[weight]} to {prompt}" for prompt in PROMPTS]


def said(result: Any) -> list[str]:
    return [generation.completion for generation in result]


@pytest.mark.parametrize("piece", [None, 3, 1])
def test_answers_are_in_the_order_of_the_requests(piece: int | None) -> None:
    engines = [Fragile(), Fragile()]
    results = answer(GeneratorPool(engines, piece), 0.0, 0.5, 1.0)
    assert list(map(said, results)) == [texts(0.0), texts(0.5), texts(1.0)]
    assert all(engine.calls for engine in engines)
    assert {len(call) for engine in engines for call in engine.calls} == {
        piece or 4,
        len(PROMPTS) % (piece or 4) or 1,
    } - ({1} if piece is None else set())


@pytest.mark.parametrize("engines", [1, 2, 3])
@pytest.mark.parametrize("piece", [None, 2])
def test_a_candidate_that_ends_the_process_fails_alone(engines: int, piece: int | None) -> None:
    """All that was at work beside it is asked again, and answered."""
    fragile = [Fragile(deadly=[9.0]) for _ in range(engines)]
    first, culprit, *others = answer(GeneratorPool(fragile, piece), 0.0, 9.0, 0.5, 1.0, 1.5)
    assert list(map(said, (first, *others))) == [texts(0.0), texts(0.5), texts(1.0), texts(1.5)]
    assert isinstance(culprit, CandidateFailure)
    assert (culprit.kind, culprit.message) == (
        "actor_died",
        "the generator ended its process, 3 times over its requests, at last alone",
    )
    assert sum(engine.ended for engine in fragile) <= 3 * (2 if piece else 1)


def test_two_culprits_fail_and_no_other() -> None:
    fragile = [Fragile(deadly=[8.0, 9.0])]
    results = answer(GeneratorPool(fragile, 2), 8.0, 0.0, 9.0, 0.5)
    assert [type(result) for result in results] == [CandidateFailure, list, CandidateFailure, list]


def test_who_is_suspected_has_a_generator_to_itself() -> None:
    """And the other one goes on meanwhile: nobody waits for more than it."""
    fragile = [Fragile(deadly=[9.0])]
    answer(GeneratorPool(fragile), 9.0, *(number / 10 for number in range(8)))
    assert fragile[0].most_at_once == 9
    alone = fragile[0].calls[2 * 9 :]
    assert len(alone) == 9, "each once more, one after the other"


def test_accidents_cost_nobody_anything() -> None:
    results = answer(GeneratorPool([Fragile(accidents=2), Fragile(accidents=1)], 2), 0.0, 0.5, 1.0)
    assert list(map(said, results)) == [texts(0.0), texts(0.5), texts(1.0)]


def test_a_generator_that_ends_over_everything_is_not_asked_for_ever() -> None:
    fragile = Fragile(deadly=[float(number) for number in range(10)])
    results = answer(GeneratorPool([fragile]), *(float(number) for number in range(10)))
    assert [type(result) for result in results] == [CandidateFailure] * (IN_A_ROW - 1) + [RunError] * 8
    assert str(results[-1]).endswith("and over 2 others before: it is not the requests")


def test_what_a_generator_says_itself_is_no_suspicion() -> None:
    class Down(Words):
        calls = 0

        async def answer(self, requests: Sequence[tuple[Coefficients, str]]) -> list[Answer]:
            self.calls += 1
            raise RunError("the server is down")

    down = Down()
    assert [str(result) for result in answer(GeneratorPool([down]), 0.0)] == ["the server is down"]
    assert down.calls == 1

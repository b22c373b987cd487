"""Several generators as one: requests are dealt out to them, and one that ends a generator's process fails alone."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Generic, TypeVar

from mva_ray.errors import CandidateFailure, RunError
from mva_ray.evaluation.generator import GeneratorClient
from mva_ray.evaluation.process import ProcessEnded

Q = TypeVar("Q")
A = TypeVar("A")

AMONG_OTHERS = 2
"""How often a piece is tried beside others before it has to show that it is not the culprit."""

IN_A_ROW = 3
"""So many pieces that ended a process alone, and none between that was answered: it is not the requests."""

Ask = Callable[[GeneratorClient, Sequence[Q]], Awaitable[A]]


class _Deal(Generic[Q, A]):
    """What one caller asks, which fails as a whole."""

    def __init__(self, ask: Ask[Q, A]) -> None:
        self.ask = ask
        self.failure: CandidateFailure | None = None

    def check(self) -> None:
        if self.failure:
            raise self.failure


class GeneratorPool:
    """Deals out to generators; each piece goes to the one with the least to do.

    Where a generator's process ends, all that it was working on is asked again, twice at most; then each piece of it
    alone, with a generator to itself. What ends that, too, fails; the others are answered.

    Args:
        generators: they answer.
        piece: requests that go to one of them together; all of a caller's where it is None.
    """

    def __init__(self, generators: Sequence[GeneratorClient], piece: int | None = None) -> None:
        self._generators = list(generators)
        self._piece = piece
        self._load = [0] * len(self._generators)
        self._reserved: int | None = None
        self._changed = asyncio.Condition()
        self._one_suspect = asyncio.Lock()
        self._in_a_row = 0

    async def ask(self, asked: Sequence[Q], ask: Ask[Q, list[A]]) -> list[A]:
        """What the generators say to each of what is asked, in order.

        Raises:
            CandidateFailure: a generator raised, or ends over this alone.
            RunError: no request can be answered.
        """
        size = self._piece or len(asked)
        deal = _Deal(ask)
        pieces = [asked[start : start + size] for start in range(0, len(asked), size)]
        results = await asyncio.gather(*(self._answer(deal, piece) for piece in pieces))
        return [result for results_of_piece in results for result in results_of_piece]

    async def busy_seconds(self) -> float:
        """Seconds that the generators have worked so far, on average; those that do not start count as idle."""
        asked = (generator.busy_seconds() for generator in self._generators)
        answers = await asyncio.gather(*asked, return_exceptions=True)
        return sum(answer for answer in answers if isinstance(answer, float)) / len(answers)

    async def _answer(self, deal: _Deal[Q, A], piece: Sequence[Q]) -> A:
        for _ in range(AMONG_OTHERS):
            deal.check()
            with suppress(ProcessEnded):
                return await self._among_others(deal, piece)
        async with self._one_suspect:
            deal.check()
            return await self._alone(deal, piece)

    async def _among_others(self, deal: _Deal[Q, A], piece: Sequence[Q]) -> A:
        async with self._changed:
            await self._changed.wait_for(self._free)
            index = min(self._free(), key=self._load.__getitem__)
            self._load[index] += len(piece)
        return await self._ask(index, deal, piece)

    async def _alone(self, deal: _Deal[Q, A], piece: Sequence[Q]) -> A:
        self._reserved = index = self._load.index(min(self._load))
        try:
            async with self._changed:
                await self._changed.wait_for(lambda: not self._load[index])
                self._load[index] += len(piece)
            return await self._ask(index, deal, piece)
        except ProcessEnded as ended:
            raise self._blamed(deal, ended) from None
        finally:
            async with self._changed:
                self._reserved = None
                self._changed.notify_all()

    def _free(self) -> list[int]:
        return [index for index in range(len(self._generators)) if index != self._reserved]

    async def _ask(self, index: int, deal: _Deal[Q, A], piece: Sequence[Q]) -> A:
        try:
            answer = await deal.ask(self._generators[index], piece)
            self._in_a_row = 0
            return answer
        finally:
            async with self._changed:
                self._load[index] -= len(piece)
                self._changed.notify_all()

    def _blamed(self, deal: _Deal[Q, A], ended: ProcessEnded) -> Exception:
        self._in_a_row += 1
        message = f"{ended.message}, {AMONG_OTHERS + 1} times over its requests, at last alone"
        if self._in_a_row >= IN_A_ROW:
            return RunError(f"the generator {message}, and over {IN_A_ROW - 1} others before: it is not the requests")
        deal.failure = CandidateFailure(ended.kind, f"the generator {message}")
        return deal.failure

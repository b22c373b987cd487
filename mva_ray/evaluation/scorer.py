"""One reward and those who wait for it: their texts go to it in one call."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from mva_ray.errors import CandidateFailure

Texts = list[tuple[str, str]]
"""Prompts with completions."""


class RewardClient(Protocol):
    """A reward in a process of its own, as a scorer asks it: one call at a time."""

    async def score(self, prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
        """One finite number a completion.

        Raises:
            CandidateFailure: the reward fails on these texts, or its process died for good.
        """
        ...


class Scorer:
    """Texts of several candidates that wait for the reward go to it in one call.

    Args:
        name: of the reward, as errors call it.
        reward: scores.
    """

    def __init__(self, name: str, reward: RewardClient) -> None:
        self._name = name
        self._reward = reward
        self._waiting: list[tuple[Texts, asyncio.Future[list[float]]]] = []
        self._scoring = asyncio.Lock()

    async def score(self, texts: Texts) -> list[float]:
        """One number a text.

        Raises:
            CandidateFailure: the reward fails on these texts alone, too.
        """
        future: asyncio.Future[list[float]] = asyncio.get_running_loop().create_future()
        self._waiting.append((texts, future))
        async with self._scoring:
            waiting, self._waiting = self._waiting, []
            if waiting:
                await self._score_together(waiting)
        return await future

    async def _score_together(self, waiting: list[tuple[Texts, asyncio.Future[list[float]]]]) -> None:
        try:
            scores = await self._ask([text for texts, _ in waiting for text in texts])
        except CandidateFailure as failure:
            if len(waiting) == 1:
                waiting[0][1].set_exception(failure)
                return
            for alone in waiting:
                await self._score_together([alone])
            return
        start = 0
        for texts, future in waiting:
            future.set_result(scores[start : start + len(texts)])
            start += len(texts)

    async def _ask(self, texts: Texts) -> list[float]:
        prompts, completions = zip(*texts, strict=True)
        try:
            return await self._reward.score(prompts, completions)
        except CandidateFailure as failure:
            raise CandidateFailure(failure.kind, f"reward of '{self._name}' {failure.message}") from None

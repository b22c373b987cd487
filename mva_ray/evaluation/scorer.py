"""One reward and those who wait for it: their texts go to it in one call, one that ends it never again."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from mva_ray.errors import CandidateFailure, RunError
from mva_ray.evaluation.process import ProcessEnded

Text = tuple[str, str]
"""A prompt with a completion."""

MOST = 64
"""Texts of one call at most: its time limit is for so many."""

IN_A_ROW = 3
"""So many texts blamed, and no call between that came back: it is the reward, not the texts."""

SHOWN = 60


class RewardClient(Protocol):
    """A reward in a process of its own, as a scorer asks it: one call at a time."""

    @property
    def truncated(self) -> int:
        """How many inputs were cut to the reward's max_length so far."""
        ...

    async def score(self, prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
        """One finite number a completion.

        Raises:
            CandidateFailure: the reward fails on these texts.
            ProcessEnded: its process ended over them. The next call meets another one.
            RunError: no process of it starts.
        """
        ...


@dataclass(eq=False)
class _Job:
    """The texts of one caller, and what is known of them."""

    texts: Sequence[Text]
    future: asyncio.Future[list[float]]
    scores: dict[int, float] = field(default_factory=dict)

    def finish(self) -> None:
        if not self.future.done():
            self.future.set_result([self.scores[index] for index in range(len(self.texts))])

    def fail(self, error: Exception) -> None:
        if not self.future.done():
            self.future.set_exception(error)


_Item = tuple[_Job, int]
"""One text of a job."""


class Scorer:
    """Texts of several candidates that wait for the reward go to it in one call, as long as it can bear that.

    Where a call ends the reward's process, it is asked again as a whole, for it may have been a machine that was lost.
    Where it ends the process again, or has taken too long, a single text is asked, then halves, by candidate first, and
    so on down to the text that is to blame, which has to end it twice alone. Its candidates fail; it is remembered and
    not asked again. So a text ends about 3 + log2(texts of a call) processes.

    Args:
        name: of the reward, as errors call it.
        reward: scores.
    """

    def __init__(self, name: str, reward: RewardClient) -> None:
        self._name = name
        self._reward = reward
        self._waiting: list[_Job] = []
        self._scoring = asyncio.Lock()
        self._guilty: dict[Text, CandidateFailure] = {}
        self._in_a_row = 0
        self._most = MOST

    async def score(self, texts: Sequence[Text]) -> list[float]:
        """One number a text.

        Raises:
            CandidateFailure: the reward fails on these texts alone, too, or one of them ends its process.
            RunError: the reward's process does not start, or ends over whatever it is asked.
        """
        job = _Job(texts, asyncio.get_running_loop().create_future())
        self._waiting.append(job)
        async with self._scoring:
            waiting, self._waiting = self._waiting, []
            try:
                await self._score_together(waiting)
            except Exception as error:  # of all who wait, not only of the one who asks for them
                for other in waiting:
                    other.fail(error)
        return await job.future

    @property
    def truncated(self) -> int:
        """How many inputs were cut to the reward's max_length so far."""
        return self._reward.truncated

    async def _score_together(self, jobs: Sequence[_Job]) -> None:
        items = [(job, index) for job in jobs for index in range(len(job.texts))]
        while items := self._open(items):
            call, items = items[: self._most], items[self._most :]
            await self._score_call(call)
        for job in jobs:
            job.finish()

    async def _score_call(self, items: Sequence[_Item]) -> None:
        if ended := await self._ended_twice_by(items):
            await self._find_culprit(items, ended, [items[:1], *_halves(items[1:])])

    async def _find_culprit(
        self, items: Sequence[_Item], ended: ProcessEnded, parts: Sequence[Sequence[_Item]]
    ) -> None:
        """
        Args:
            items: a call with these has ended a process.
            parts: of the items, to be asked one after the other.
        """
        if len(items) == 1:
            self._blame(*items[0], ended)
            return
        guilty = len(self._guilty)
        for part in map(self._open, parts):
            ended_by = self._ended_twice_by if len(part) == 1 else self._ended_by
            if part and (part_ended := await ended_by(part)):
                await self._find_culprit(part, part_ended, _halves(part))
        if len(self._guilty) == guilty:  # it was too much at once, in memory or time
            self._most = min(self._most, max(1, len(items) // 2))

    def _blame(self, job: _Job, index: int, ended: ProcessEnded) -> None:
        text = job.texts[index]
        message = f"reward of '{self._name}' {ended.message} on {_shown(text)}"
        self._in_a_row += 1
        if self._in_a_row >= IN_A_ROW:
            raise RunError(f"the {message}, and on {IN_A_ROW - 1} other texts before it: it is not the texts")
        self._guilty[text] = CandidateFailure(ended.kind, message)
        job.fail(self._guilty[text])

    def _open(self, items: Sequence[_Item]) -> list[_Item]:
        """Those whose job has not failed yet; a job with a text that is known to be guilty fails here."""
        for job, index in items:
            if failure := self._guilty.get(job.texts[index]):
                job.fail(failure)
        return [(job, index) for job, index in items if not job.future.done()]

    async def _ended_twice_by(self, items: Sequence[_Item]) -> ProcessEnded | None:
        """As `_ended_by`, where once may have been by chance."""
        ended = await self._ended_by(items)
        return await self._ended_by(items) if ended and ended.by_chance else ended

    async def _ended_by(self, items: Sequence[_Item]) -> ProcessEnded | None:
        """Score these, and say how that ended the process; None where it did not: they are scored, or failed."""
        try:
            scores = await self._ask([job.texts[index] for job, index in items])
        except ProcessEnded as ended:
            return ended
        except CandidateFailure as failure:
            await self._apart(items, failure)
            return None
        for (job, index), number in zip(items, scores, strict=True):
            job.scores[index] = number
        return None

    async def _apart(self, items: Sequence[_Item], failure: CandidateFailure) -> None:
        """A common call failed: each candidate is asked alone, and the one that fails then is the one."""
        jobs = list(dict.fromkeys(job for job, _ in items))
        if len(jobs) == 1:
            jobs[0].fail(failure)
            return
        for alone in jobs:
            await self._score_call([item for item in items if item[0] is alone])

    async def _ask(self, texts: Sequence[Text]) -> list[float]:
        prompts, completions = zip(*texts, strict=True)
        try:
            scores = await self._reward.score(prompts, completions)
        except CandidateFailure as failure:
            self._in_a_row = 0
            raise CandidateFailure(failure.kind, f"reward of '{self._name}' {failure.message}") from None
        self._in_a_row = 0
        return scores


def _halves(items: Sequence[_Item]) -> list[Sequence[_Item]]:
    """By candidate where there are several, else by text."""
    jobs = list(dict.fromkeys(job for job, _ in items))
    if len(jobs) == 1:
        return [items[: len(items) // 2], items[len(items) // 2 :]]
    first = set(jobs[: len(jobs) // 2])
    return [[item for item in items if item[0] in first], [item for item in items if item[0] not in first]]


def _shown(text: Text) -> str:
    prompt, completion = (part if len(part) <= SHOWN else f"{part[:SHOWN]}…" for part in text)
    return f"the answer {completion!r} to {prompt!r}"

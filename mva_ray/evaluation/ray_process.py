"""An actor that is started again as often as it ends, always in its place, and whose errors become ours."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.exceptions import OutOfMemoryError, RayError, RayTaskError

from mva_ray.errors import CandidateFailure, RunError, last_line
from mva_ray.evaluation.process import ProcessEnded

STARTS = 3
"""So many processes in a row that end before they are ready: the next one would, too."""

POLL_S = 1.0
OURS = f"{RunError.__module__}.{RunError.__name__}: "
"""What Ray writes before the message of an error of ours."""


async def anywhere() -> None:
    """There is always a place where nothing is reserved."""


@dataclass(frozen=True)
class Kinds:
    """What failures of candidates are called, and in which ways the process may have ended."""

    raised: str
    died: str
    timeout: str = ""
    ways: str = "an exit, a crash, or killed where memory is short"


class Process:
    """An actor, or the one that took its place. Ray restarts none: what ends while it starts would do so for ever.

    Args:
        name: as errors call it, such as "the reward of 'brief'".
        kinds: of failures.
        start: starts an actor, always in the same place.
        place: returns where that is there; a node that is lost takes it along until another has room.
    """

    def __init__(
        self,
        name: str,
        kinds: Kinds,
        start: Callable[[], ActorHandle],
        place: Callable[[], Awaitable[None]] = anywhere,
    ) -> None:
        self._name = name
        self._kinds = kinds
        self._start = start
        self._place = place
        self._is_ready = False
        self._lost_starts = 0
        self._starting: asyncio.Task[ActorHandle] | None = None
        self.actor = start()

    async def call(self, method: str, *arguments: Any, timeout: float | None = None) -> Any:
        """What the actor's method returns, within so many seconds from when it is ready.

        Raises:
            ProcessEnded: it ended, or was ended since it took too long.
            CandidateFailure: the method raised.
            RunError: the method raised this, no actor starts, or there is no place for one.
        """
        actor = await self._started()
        try:
            return await asyncio.wait_for(getattr(actor, method).remote(*arguments), timeout)
        except RayTaskError as error:
            raise self._ours(error) from None
        except TimeoutError:
            message = f"took longer than its timeout ({timeout:g} s)"
            ended = ProcessEnded(self._kinds.timeout, message, by_chance=False)
        except RayError as error:
            ended = ProcessEnded(self._kinds.died, self._how(error))
        self._replace(actor)
        raise ended

    async def _started(self) -> ActorHandle:
        """The actor that is ready. Those who wait for it go on in the order in which they came."""
        if self._is_ready:
            return self.actor
        if self._starting is None or self._starting.done():
            self._starting = asyncio.create_task(self._until_ready())
        return await asyncio.shield(self._starting)

    async def _until_ready(self) -> ActorHandle:
        while not self._is_ready:
            actor = self.actor
            try:
                await self._ready(actor)
            except RayError as error:
                self._replace(actor)
                raised = getattr(error, "actor_init_failed", False)
                if raised or self._lost_starts >= STARTS:
                    cause = last_line(error).removeprefix(OURS) if raised else f"it {self._how(error)}"
                    raise RunError(f"{self._name} does not start: {cause}") from None
            else:
                self._is_ready, self._lost_starts = actor is self.actor, 0
        return self.actor

    async def _ready(self, actor: ActorHandle) -> None:
        ready = asyncio.ensure_future(actor.__ray_ready__.remote())
        while not (await asyncio.wait([ready], timeout=POLL_S))[0]:
            await self._place()
        await ready

    def _replace(self, actor: ActorHandle) -> None:
        """End this one and start another, once for all calls that it fails."""
        if actor is self.actor:
            ray.kill(actor)
            self._lost_starts += not self._is_ready
            self._is_ready, self.actor = False, self._start()

    def _ours(self, error: RayTaskError) -> Exception:
        cause: Exception = error.cause or error
        if isinstance(cause, CandidateFailure | RunError):
            return cause
        return CandidateFailure(self._kinds.raised, f"{type(cause).__name__}: {last_line(cause)}")

    def _how(self, error: RayError) -> str:
        return "ran out of memory" if isinstance(error, OutOfMemoryError) else f"ended its process ({self._kinds.ways})"

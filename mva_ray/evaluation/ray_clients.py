"""Actors as the broker sees them: started again as often as they end, and Ray's errors become ours."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.exceptions import OutOfMemoryError, RayError, RayTaskError

from mva_ray.config.generation import Sampling
from mva_ray.errors import CandidateFailure, RunError, last_line
from mva_ray.evaluation.answers import Answer
from mva_ray.evaluation.process import ProcessEnded
from mva_ray.evaluation.stall import LONGEST_PASS_S
from mva_ray.records import Coefficients, Generation

STARTS = 3
"""So many processes in a row that end before they are ready: the next one would, too."""


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
        start: starts an actor.
    """

    def __init__(self, name: str, kinds: Kinds, start: Callable[[], ActorHandle]) -> None:
        self._name = name
        self._kinds = kinds
        self._start = start
        self._is_ready = False
        self._lost_starts = 0
        self.actor = start()

    async def call(self, method: str, *arguments: Any, timeout: float | None = None) -> Any:
        """What the actor's method returns, within so many seconds from when it is ready.

        Raises:
            ProcessEnded: it ended, or was ended since it took too long.
            CandidateFailure: the method raised.
            RunError: the method raised this, or no actor starts.
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
        while not self._is_ready:
            actor = self.actor
            try:
                await actor.__ray_ready__.remote()
            except RayError as error:
                self._replace(actor)
                raised = getattr(error, "actor_init_failed", False)
                if raised or self._lost_starts >= STARTS:
                    cause = last_line(error) if raised else f"it {self._how(error)}"
                    raise RunError(f"{self._name} does not start: {cause}") from None
            else:
                self._is_ready, self._lost_starts = actor is self.actor, 0
        return self.actor

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


class RayGenerator:
    """A `GeneratorClient`: a shared engine or server that is an actor."""

    KINDS = Kinds(
        raised="generation_raised",
        died="actor_died",
        ways=f"an exit, a crash, a pass of {LONGEST_PASS_S / 60:g} minutes, or killed where memory is short",
    )

    def __init__(self, start: Callable[[], ActorHandle]) -> None:
        self.process = Process("the evaluator", self.KINDS, start)

    async def answer(self, requests: Sequence[tuple[Coefficients, str]]) -> list[Answer]:
        answers: list[Answer] = await self.process.call("answer", requests)
        return answers

    async def sample(self, prompts: Sequence[str], sampling: Sampling, seed: int) -> list[list[Generation]]:
        samples: list[list[Generation]] = await self.process.call("sample", prompts, sampling, seed)
        return samples

    async def measure(self, metrics: Sequence[str], generations: Sequence[Generation]) -> list[dict[str, float]]:
        measured: list[dict[str, float]] = await self.process.call("measure", metrics, generations)
        return measured

    async def busy_seconds(self) -> float:
        seconds: float = await self.process.call("busy_seconds")
        return seconds


class RayReward:
    """A `RewardClient`: a `RewardActor`, of which a call takes `timeout` seconds at most."""

    KINDS = Kinds(raised="reward_raised", died="reward_died", timeout="reward_timeout")

    def __init__(self, name: str, timeout: float, start: Callable[[], ActorHandle]) -> None:
        self.process = Process(f"the reward of '{name}'", self.KINDS, start)
        self.truncated = 0
        self._timeout = timeout

    async def score(self, prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
        scored = await self.process.call("score", prompts, completions, timeout=self._timeout)
        if isinstance(scored, CandidateFailure):
            raise scored
        scores, truncated = scored
        self.truncated += truncated
        return list(scores)

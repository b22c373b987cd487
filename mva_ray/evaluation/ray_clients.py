"""Generators and rewards in processes of their own, as the broker sees them."""

from collections.abc import Awaitable, Callable, Sequence

from ray.actor import ActorHandle

from mva_ray.config.generation import Sampling
from mva_ray.errors import CandidateFailure
from mva_ray.evaluation.answers import Answer
from mva_ray.evaluation.ray_process import Kinds, Process, anywhere
from mva_ray.evaluation.stall import LONGEST_PASS_S
from mva_ray.records import Coefficients, Generation


class RayGenerator:
    """A `GeneratorClient`: a shared engine or server that is an actor."""

    KINDS = Kinds(
        raised="generation_raised",
        died="actor_died",
        ways=f"an exit, a crash, a pass of {LONGEST_PASS_S / 60:g} minutes, or killed where memory is short",
    )

    def __init__(self, start: Callable[[], ActorHandle], place: Callable[[], Awaitable[None]] = anywhere) -> None:
        self.process = Process("the evaluator", self.KINDS, start, place)

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

    def __init__(
        self,
        name: str,
        timeout: float,
        start: Callable[[], ActorHandle],
        place: Callable[[], Awaitable[None]] = anywhere,
    ) -> None:
        self.process = Process(f"the reward of '{name}'", self.KINDS, start, place)
        self.truncated = 0
        self._timeout = timeout

    async def score(self, prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
        scored = await self.process.call("score", prompts, completions, timeout=self._timeout)
        if isinstance(scored, CandidateFailure):
            raise scored
        scores, truncated = scored
        self.truncated += truncated
        return list(scores)

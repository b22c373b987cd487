"""Ray shells of the evaluation: generator and reward actors, and the broker that batches candidates across trials."""

import asyncio
import time
import uuid
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayActorError

from mva_ray.config import Generation as GenerationSettings
from mva_ray.config import RunConfig, Sampling
from mva_ray.config_reward import Resources
from mva_ray.config_reward import Reward as RewardSettings
from mva_ray.errors import CandidateFailure, last_line
from mva_ray.evaluation.evaluate import EvaluationSetting, failed, succeeded
from mva_ray.records import AdapterRef, Coefficients, Evaluation, Generation

Record = Callable[[Sequence[Evaluation]], None]
_SURVIVES = {"max_restarts": 2, "max_task_retries": 2}


class GeneratorActor:
    """Holds one `Generator`; answers one batch after another."""

    def __init__(
        self, base_model: str, adapters: Sequence[AdapterRef], settings: GenerationSettings, threads: int
    ) -> None:
        import torch

        from mva_ray.adapters.base_model import allow_bfloat16_products
        from mva_ray.evaluation.generate import Generator

        torch.set_num_threads(threads)
        allow_bfloat16_products()
        self._generator = Generator(base_model, adapters, settings)

    def answer(self, prompts: Sequence[str], candidates: Sequence[Coefficients]) -> list[list[Generation]]:
        return self._generator.answer(prompts, candidates)

    def sample(self, prompts: Sequence[str], sampling: Sampling, seed: int) -> list[list[Generation]]:
        return self._generator.sample(prompts, sampling, seed)


class RewardActor:
    """Holds one reward; a failure to score is returned, not raised, since it belongs to one candidate."""

    def __init__(self, settings: RewardSettings) -> None:
        from mva_ray.evaluation.reward import load_reward

        self._reward = load_reward(settings)

    def score(self, prompts: Sequence[str], completions: Sequence[str]) -> list[float] | CandidateFailure:
        from mva_ray.evaluation.reward import score

        try:
            return score(self._reward, prompts, completions)
        except CandidateFailure as failure:
            return failure

    def truncated(self) -> int:
        """How many inputs were cut to the reward's max_length so far."""
        return self._reward.truncated


def start_generators(config: RunConfig, base_model: str, adapters: Sequence[AdapterRef]) -> list[ActorHandle]:
    """One generator actor per configured evaluator; the machine's cores are shared out between them."""
    count = config.search.evaluators
    threads = max(1, int(ray.cluster_resources().get("CPU", 1)) // count)
    actor = ray.remote(GeneratorActor).options(**_SURVIVES, **_options(config.search.resources))
    return [actor.remote(base_model, list(adapters), config.generation, threads) for _ in range(count)]


def start_rewards(config: RunConfig) -> dict[str, ActorHandle]:
    """One reward actor per value, with the resources its reward asks for."""
    return {
        value.name: ray.remote(RewardActor)
        .options(**_SURVIVES, **_options(value.reward.resources))
        .remote(value.reward)
        for value in config.values
    }


def _options(resources: Resources) -> dict[str, float]:
    return {"num_cpus": resources.num_cpus, "num_gpus": resources.num_gpus}


@dataclass
class _Group:
    """Candidates that are generated in one batch; runs when all of them have been asked for."""

    candidates: list[Coefficients] = field(default_factory=list)
    task: asyncio.Task[list[Evaluation]] | None = None
    complete: asyncio.Event = field(default_factory=asyncio.Event)


class EvaluationBroker:
    """Collects candidates from concurrent trials into batches, scores them and records the evaluations.

    Generation of a batch overlaps with the scoring of the one before. A batch is recorded by one call of `record`,
    all of it or nothing.
    """

    def __init__(
        self,
        settings: Mapping[str, EvaluationSetting],
        generators: Sequence[ActorHandle],
        rewards: Mapping[str, ActorHandle],
        record: Record,
    ) -> None:
        self._settings = dict(settings)
        self._rewards = dict(rewards)
        self._record = record
        self._idle: asyncio.Queue[ActorHandle] = asyncio.Queue()
        for generator in generators:
            self._idle.put_nowait(generator)
        self._groups: dict[tuple[str, Hashable], _Group] = {}

    async def evaluate(self, split: str, group: Hashable, size: int, coefficients: Coefficients) -> Evaluation:
        """Evaluate one candidate of a group of `size`; returns without the generations when the group is done."""
        waiting = self._groups.setdefault((split, group), _Group())
        if coefficients not in waiting.candidates:
            waiting.candidates.append(coefficients)
        if len(waiting.candidates) == size and waiting.task is None:
            waiting.candidates.sort()
            waiting.task = asyncio.create_task(self._run(self._settings[split], waiting.candidates))
            waiting.complete.set()
        await waiting.complete.wait()
        assert waiting.task is not None
        evaluations = await waiting.task
        return evaluations[waiting.candidates.index(coefficients)]

    async def _run(self, setting: EvaluationSetting, candidates: list[Coefficients]) -> list[Evaluation]:
        started = time.monotonic()
        answers = await self._answer(setting, candidates)
        generated = time.monotonic() - started
        evaluations = await asyncio.gather(
            *(
                self._score(setting, coefficients, answer, generated / len(candidates))
                for coefficients, answer in zip(candidates, answers, strict=True)
            )
        )
        self._record(evaluations)
        return [replace(evaluation, generations=()) for evaluation in evaluations]

    async def _answer(
        self, setting: EvaluationSetting, candidates: list[Coefficients]
    ) -> list[list[Generation] | CandidateFailure]:
        """Generations of each candidate; where the batch fails, each is tried alone, so that only the culprit does."""
        generator = await self._idle.get()
        try:
            return list(await generator.answer.remote(list(setting.prompts), candidates))
        except RayActorError as error:
            return [_failure("actor_died", error)] * len(candidates)
        except Exception as error:
            if len(candidates) == 1:
                return [_failure("generation_raised", error)]
        finally:
            self._idle.put_nowait(generator)
        return [answer for candidate in candidates for answer in await self._answer(setting, [candidate])]

    async def _score(
        self,
        setting: EvaluationSetting,
        coefficients: Coefficients,
        answer: list[Generation] | CandidateFailure,
        seconds: float,
    ) -> Evaluation:
        if isinstance(answer, CandidateFailure):
            return failed(setting, coefficients, answer, seconds)
        completions = [generation.completion for generation in answer]
        scores = await asyncio.gather(
            *(self._ask(value, list(setting.prompts), completions) for value in setting.values)
        )
        rewards: dict[str, list[float]] = {}
        for value, result in zip(setting.values, scores, strict=True):
            if isinstance(result, CandidateFailure):
                named = CandidateFailure(result.kind, f"reward of '{value}' {result.message}")
                return failed(setting, coefficients, named, seconds)
            rewards[value] = result
        return succeeded(setting, coefficients, answer, rewards, seconds)

    async def _ask(self, value: str, prompts: list[str], completions: list[str]) -> list[float] | CandidateFailure:
        try:
            result: list[float] | CandidateFailure = await self._rewards[value].score.remote(prompts, completions)
        except RayActorError as error:
            return _failure("actor_died", error)
        return result


def _failure(kind: str, error: Exception) -> CandidateFailure:
    """The cause in one line: the last one of Ray's text, which ends with what was raised."""
    cause = getattr(error, "cause", None) or error
    return CandidateFailure(kind, f"{type(cause).__name__}: {last_line(cause)}")


def start_broker(
    settings: Mapping[str, EvaluationSetting],
    generators: Sequence[ActorHandle],
    rewards: Mapping[str, ActorHandle],
    record: Record,
) -> ActorHandle:
    actor = ray.remote(EvaluationBroker).options(num_cpus=0, max_concurrency=10_000)
    return actor.remote(dict(settings), list(generators), dict(rewards), record)


def group_size(batch_size: int, n_prompts: int) -> int:
    """How many candidates share a batch: as many as their prompts leave room for."""
    return max(1, batch_size // n_prompts)


def evaluate_all(
    broker: ActorHandle, split: str, candidates: Sequence[Coefficients], size: int
) -> Iterator[Evaluation]:
    """Evaluate candidates in groups of `size`; yields evaluations as they are done, in any order."""
    pending: list[Any] = []
    call = uuid.uuid4().hex
    for start in range(0, len(candidates), size):
        members = candidates[start : start + size]
        pending += [broker.evaluate.remote(split, (call, start), len(members), member) for member in members]
    while pending:
        done, pending = ray.wait(pending)
        yield from ray.get(done)

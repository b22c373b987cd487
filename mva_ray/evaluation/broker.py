"""Between the search and the processes that answer and score: candidates go in, recorded evaluations come out."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from mva_ray.errors import CandidateFailure
from mva_ray.evaluation.answers import Answer
from mva_ray.evaluation.evaluate import EvaluationSetting, failed, succeeded
from mva_ray.evaluation.generator import GeneratorClient
from mva_ray.evaluation.known import KnownAnswer, KnownAnswers
from mva_ray.evaluation.pool import GeneratorPool
from mva_ray.evaluation.recorder import Record, Recorder
from mva_ray.evaluation.scorer import RewardClient, Scorer
from mva_ray.placement.capacity import Bundle
from mva_ray.records import ENGINE_METRICS, Coefficients, Evaluation, Generation, Spent

Places = tuple[int, ...]
"""Which prompts of a split, by their place in it."""


@dataclass(frozen=True)
class Answered:
    """A candidate on the prompts asked for: the evaluation without texts, and its rewards [prompts][values]."""

    evaluation: Evaluation
    rewards: list[list[float]]


class EvaluationBroker:
    """Gets candidates answered and scored, and records them; what is known already is not asked for again.

    All candidates are at work at once: the engine mixes their prompts, and rewards of one are computed while others
    generate. Lives in one event loop.

    Args:
        settings: by split.
        generators: they answer.
        rewards: they score, by the name of the reward.
        record: keeps evaluations for good; called with all that are ready, one call at a time.
        known: answers and rewards of earlier evaluations.
        piece: a candidate's requests are dealt out to the generators in pieces of this size, so that all of these end
            at the same time; None where what a candidate costs once is worth more.
        evaluator: what each generator has reserved (`CPU`, `GPU`), to say what a candidate has cost.
    """

    def __init__(
        self,
        settings: Mapping[str, EvaluationSetting],
        generators: Sequence[GeneratorClient],
        rewards: Mapping[str, RewardClient],
        record: Record,
        known: KnownAnswers,
        piece: int | None = None,
        evaluator: Bundle | None = None,
    ) -> None:
        self._settings = dict(settings)
        self._evaluator = evaluator or {}
        self._generators = GeneratorPool(generators, piece)
        self._scorers = {name: Scorer(name, reward) for name, reward in rewards.items()}
        self._known = known
        self._recorder = Recorder(record)
        self._one_at_a_time: defaultdict[tuple[str, Coefficients], asyncio.Lock] = defaultdict(asyncio.Lock)
        self._evaluations: dict[tuple[str, Coefficients, Places | None], asyncio.Task[Answered]] = {}
        self._seconds: defaultdict[tuple[str, Coefficients], float] = defaultdict(float)

    async def evaluate(self, split: str, coefficients: Coefficients, places: Places | None = None) -> Answered:
        """Evaluate a candidate on the prompts at these places of a split, all of them if None.

        The evaluation has been recorded when this returns. Who asks again gets the same.

        Raises:
            RunError: no candidate can be evaluated, such as by a server that is down.
        """
        key = split, coefficients, places
        if key not in self._evaluations:
            self._evaluations[key] = asyncio.create_task(self._evaluate(*key))
        try:
            return await asyncio.shield(self._evaluations[key])
        except Exception:
            self._evaluations.pop(key, None)
            raise

    async def _evaluate(self, split: str, coefficients: Coefficients, places: Places | None) -> Answered:
        setting = self._settings[split]
        prompts = setting.prompts if places is None else [setting.prompts[place] for place in places]
        evaluation = await self._evaluated(setting, coefficients, prompts)
        await self._recorder.record(evaluation)
        rewards = [[row.rewards[value] for value in setting.values] for row in evaluation.generations]
        return Answered(replace(evaluation, generations=()), rewards)

    async def ready(self) -> None:
        """Return as soon as all generators have loaded their models, or failed to."""
        await self.engine_seconds()

    async def engine_seconds(self) -> float:
        """Seconds that the generators have worked so far, on average; those that do not start count as idle."""
        return await self._generators.busy_seconds()

    async def truncated(self) -> dict[str, int]:
        """How many inputs each reward has cut to its max_length so far."""
        return {name: scorer.truncated for name, scorer in self._scorers.items()}

    async def _evaluated(
        self, setting: EvaluationSetting, coefficients: Coefficients, prompts: Sequence[str]
    ) -> Evaluation:
        key = setting.split, coefficients
        async with self._one_at_a_time[key]:
            started, new = time.monotonic(), list[Generation]()
            try:
                answers = await self._answers(setting, coefficients, prompts, new)
                scores = await self._scores(setting, [answer.generation for answer in answers])
            except CandidateFailure as failure:
                seconds = self._seconds[key] + time.monotonic() - started
                return failed(setting, coefficients, failure, seconds, self._spent(new))
            finally:
                self._seconds[key] += time.monotonic() - started
        measured = [name for name in ENGINE_METRICS if all(name in answer.metrics for answer in answers)]
        metrics = {name: [answer.metrics[name] for answer in answers] for name in measured}
        return succeeded(
            setting,
            coefficients,
            [answer.generation for answer in answers],
            {value: scores[value] for value in setting.values},
            self._seconds[key],
            metrics | {name: scores[name] for name in setting.extra_rewards},
            self._spent(new),
        )

    def _spent(self, generated: Sequence[Generation]) -> Spent:
        seconds = sum(generation.seconds for generation in generated)
        gpus, cpus = (self._evaluator.get(kind, 0.0) for kind in ("GPU", "CPU"))
        return Spent(len(generated), sum(one.tokens for one in generated), gpus * seconds, cpus * seconds)

    async def _answers(
        self, setting: EvaluationSetting, coefficients: Coefficients, prompts: Sequence[str], new: list[Generation]
    ) -> list[KnownAnswer]:
        """One answer a prompt; those that are not known are generated, and `new` afterwards."""
        known = dict(self._known.answers(setting, coefficients))
        if missing := [prompt for prompt in dict.fromkeys(prompts) if prompt not in known]:
            generations = await self._generated([(coefficients, prompt) for prompt in missing], new)
            metrics = await self._measured(setting.engine_metrics, generations)
            for generation, measured in zip(generations, metrics, strict=True):
                known[generation.prompt] = KnownAnswer(generation, measured)
                self._known.keep_answer(setting, coefficients, known[generation.prompt])
        return [known[prompt] for prompt in prompts]

    async def _generated(self, requests: Sequence[tuple[Coefficients, str]], new: list[Generation]) -> list[Generation]:
        answers: list[Answer] = await self._generators.ask(requests, lambda generator, piece: generator.answer(piece))
        new += [answer for answer in answers if isinstance(answer, Generation)]
        for answer in answers:
            if isinstance(answer, CandidateFailure):
                raise answer
        return list(new)

    async def _measured(self, metrics: Sequence[str], generations: Sequence[Generation]) -> list[dict[str, float]]:
        if not metrics:
            return [{} for _ in generations]
        return await self._generators.ask(generations, lambda generator, piece: generator.measure(metrics, piece))

    async def _scores(self, setting: EvaluationSetting, generations: Sequence[Generation]) -> dict[str, list[float]]:
        """Every reward of every generation, by the reward's name; those that are not known are computed."""
        versions = {**setting.rewards, **setting.extra_rewards}
        scores = await asyncio.gather(*(self._score(name, version, generations) for name, version in versions.items()))
        return dict(zip(versions, scores, strict=True))

    async def _score(self, name: str, version: str, generations: Sequence[Generation]) -> list[float]:
        texts = [(generation.prompt, generation.completion) for generation in generations]
        missing = [text for text in dict.fromkeys(texts) if self._known.reward(version, *text) is None]
        if missing:
            for text, scored in zip(missing, await self._scorers[name].score(missing), strict=True):
                self._known.keep_reward(version, *text, scored)
        return [number for text in texts if (number := self._known.reward(version, *text)) is not None]

"""Ray shells of the evaluation: generator and reward actors, and the broker between trials and them."""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayError, RayTaskError

from mva_ray.config import RunConfig
from mva_ray.config.generation import Sampling
from mva_ray.config.reward import Resources, RewardSettings
from mva_ray.errors import CandidateFailure, RunError, last_line
from mva_ray.evaluation.answers import Answer
from mva_ray.evaluation.evaluate import EvaluationSetting, failed, succeeded
from mva_ray.evaluation.known import KnownAnswer, KnownAnswers
from mva_ray.records import AdapterRef, Coefficients, Evaluation, Generation

log = logging.getLogger(__name__)
T = TypeVar("T")
Record = Callable[[Sequence[Evaluation]], None]
_SURVIVES = {"max_restarts": 2, "max_task_retries": 2}
_ANY_NUMBER = 10_000
"""Calls that an actor takes at once: they wait inside, without a thread each."""
_PIECE = 16
"""Requests of a candidate that go to one engine together: enough to share the beginning of their prompts."""


class GeneratorActor:
    """Holds one `Generator`, and steps it as long as any call waits for it: calls share batches."""

    def __init__(self, config: RunConfig, base_model: str, adapters: Sequence[AdapterRef], threads: int) -> None:
        self._engine_thread = ThreadPoolExecutor(1, initializer=partial(_use_threads, threads))
        self._generator = self._engine_thread.submit(_make, config, base_model, adapters).result()
        self._waiting: list[tuple[Any, asyncio.Future[Any]]] = []
        self._stepping: asyncio.Task[None] | None = None
        self._busy_seconds = 0.0

    async def answer(self, requests: Sequence[tuple[Coefficients, str]]) -> list[Answer]:
        answers: list[Answer] = await self._result("begin_answers", requests)
        return answers

    async def sample(self, prompts: Sequence[str], sampling: Sampling, seed: int) -> list[list[Generation]]:
        samples: list[list[Generation]] = await self._result("begin_samples", prompts, sampling, seed)
        return samples

    async def base_nll(self, generations: Sequence[Generation]) -> list[float]:
        nll: list[float] = await self._result("begin_base_nll", generations)
        return nll

    async def busy_seconds(self) -> float:
        """Seconds that the engine has worked so far."""
        return self._busy_seconds

    async def _result(self, begin: str, *arguments: Any) -> Any:
        pending = await self._on_engine(getattr(self._generator, begin), *arguments)
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((pending, future))
        if self._stepping is None or self._stepping.done():
            self._stepping = asyncio.create_task(self._step_until_idle())
        return await future

    async def _step_until_idle(self) -> None:
        while self._waiting:
            started = time.monotonic()
            try:
                await self._on_engine(self._generator.step)
            except Exception as error:  # nobody's answers can be trusted to come any more
                for _, future in self._waiting:
                    _settle(future, partial(_raise, error))
            self._busy_seconds += time.monotonic() - started
            for pending, future in self._waiting:
                if pending.is_done():
                    _settle(future, pending.result)
            self._waiting = [entry for entry in self._waiting if not entry[1].done()]

    async def _on_engine(self, call: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._engine_thread, partial(call, *arguments))


class ServerActor:
    """Asks a server in place of the engine; each call waits in a thread of its own."""

    def __init__(self, config: RunConfig, base_model: str, adapters: Sequence[AdapterRef], threads: int) -> None:
        self._generator = _make(config, base_model, adapters)
        self._threads = ThreadPoolExecutor(_ANY_NUMBER)
        self._busy = _Busy()

    async def answer(self, requests: Sequence[tuple[Coefficients, str]]) -> list[Answer]:
        with self._busy:
            answers: list[Answer] = await self._in_a_thread(self._generator.answer, requests)
        return answers

    async def sample(self, prompts: Sequence[str], sampling: Sampling, seed: int) -> list[list[Generation]]:
        samples: list[list[Generation]] = await self._in_a_thread(self._generator.sample, prompts, sampling, seed)
        return samples

    async def busy_seconds(self) -> float:
        """Seconds in which at least one call was waiting for the server."""
        return self._busy.seconds

    async def _in_a_thread(self, call: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, partial(call, *arguments))


class _Busy:
    """Seconds in which at least one of any number of overlapping contexts was open."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._open = 0

    def __enter__(self) -> None:
        if not self._open:
            self._since = time.monotonic()
        self._open += 1

    def __exit__(self, *_: object) -> None:
        self._open -= 1
        if not self._open:
            self.seconds += time.monotonic() - self._since


def _make(config: RunConfig, base_model: str, adapters: Sequence[AdapterRef]) -> Any:
    from mva_ray.evaluation.generator import make_generator

    return make_generator(config, base_model, adapters)


def _use_threads(count: int) -> None:
    import torch

    torch.set_num_threads(count)


def _settle(future: asyncio.Future[T], result: Callable[[], T]) -> None:
    if future.done():
        return
    try:
        value = result()
    except Exception as error:  # it belongs to the call that waits for this future
        future.set_exception(error)
    else:
        future.set_result(value)


def _raise(error: Exception) -> None:
    raise error


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
    actor = ray.remote(ServerActor if config.engine.openai else GeneratorActor).options(
        **_SURVIVES, **_options(config.search.resources), max_concurrency=_ANY_NUMBER
    )
    return [actor.remote(config, base_model, list(adapters), threads) for _ in range(count)]


def start_rewards(config: RunConfig) -> dict[str, ActorHandle]:
    """One reward actor for every reward of the run, with the resources it asks for."""
    return {
        name: ray.remote(RewardActor).options(**_SURVIVES, **_options(reward.resources)).remote(reward)
        for name, reward in config.rewards.items()
    }


def _options(resources: Resources) -> dict[str, float]:
    return {"num_cpus": resources.num_cpus, "num_gpus": resources.num_gpus}


@dataclass(frozen=True)
class PartialEvaluation:
    """A candidate on some of a split's prompts: the evaluation without texts, and its rewards [prompts][values]."""

    evaluation: Evaluation
    rewards: list[list[float]]


class EvaluationBroker:
    """Gets candidates answered and scored, and records them; what is known already is not asked for again.

    All candidates are at work at once: the engine mixes their prompts, and rewards of one are computed while others
    generate.

    Args:
        settings: by split.
        generators: actors that answer; each call goes to the one with the least to do.
        rewards: actors that score, by the name of the reward.
        record: keeps evaluations for good; called with all that are ready, one call at a time.
        known: answers and rewards of earlier evaluations.
        piece: a candidate's requests are dealt out to the generators in pieces of so many, so that all of these end at
            the same time; None where what a candidate costs once is worth more.
    """

    def __init__(
        self,
        settings: Mapping[str, EvaluationSetting],
        generators: Sequence[ActorHandle],
        rewards: Mapping[str, ActorHandle],
        record: Record,
        known: KnownAnswers,
        piece: int | None = None,
    ) -> None:
        self._settings = dict(settings)
        self._generators = dict(enumerate(generators))
        self._load = dict.fromkeys(self._generators, 0)
        self._scorers = {name: _Scorer(name, actor) for name, actor in rewards.items()}
        self._known = known
        self._piece = piece
        self._recorder = _Recorder(record)
        self._one_at_a_time: defaultdict[tuple[str, Coefficients], asyncio.Lock] = defaultdict(asyncio.Lock)
        self._evaluations: dict[tuple[str, Coefficients, int | None], asyncio.Task[PartialEvaluation]] = {}
        self._reached: dict[tuple[str, Coefficients], int] = {}
        self._seconds: defaultdict[tuple[str, Coefficients], float] = defaultdict(float)

    async def evaluate(self, split: str, coefficients: Coefficients, n_prompts: int | None = None) -> PartialEvaluation:
        """Evaluate a candidate on the first `n_prompts` prompts of a split, all of them if None.

        Once it has all, or where it failed, the evaluation has been recorded when this returns. Who asks again gets the
        same.

        Raises:
            RunError: no candidate can be evaluated, such as by a server that is down.
        """
        key = split, coefficients, n_prompts
        if key not in self._evaluations:
            self._evaluations[key] = asyncio.create_task(self._evaluate(*key))
        try:
            return await asyncio.shield(self._evaluations[key])
        except Exception:
            self._evaluations.pop(key, None)
            raise

    async def _evaluate(self, split: str, coefficients: Coefficients, n_prompts: int | None) -> PartialEvaluation:
        setting = self._settings[split]
        prompts = setting.prompts[:n_prompts]
        evaluation = await self._evaluated(setting, coefficients, prompts, None)
        self._reached[split, coefficients] = len(prompts)
        if evaluation.status == "failed" or len(prompts) == len(setting.prompts):
            await self._recorder.record(evaluation)
        rewards = [[row.rewards[value] for value in setting.values] for row in evaluation.generations]
        return PartialEvaluation(replace(evaluation, generations=()), rewards)

    async def stop(self, split: str, coefficients: Coefficients, reason: str) -> None:
        """Record a candidate that is given up, with the prompts it was evaluated on last."""
        setting = self._settings[split]
        prompts = setting.prompts[: self._reached[split, coefficients]]
        await self._recorder.record(await self._evaluated(setting, coefficients, prompts, reason))

    async def ready(self) -> None:
        """Return as soon as all generators have loaded their models, or failed to."""
        await self.engine_seconds()

    async def engine_seconds(self) -> float:
        """Seconds that the generators have worked so far, on average; those that died for good count as idle."""
        asked = (actor.busy_seconds.remote() for actor in self._generators.values())
        answers = await asyncio.gather(*asked, return_exceptions=True)
        return sum(answer for answer in answers if isinstance(answer, float)) / len(answers)

    async def _evaluated(
        self, setting: EvaluationSetting, coefficients: Coefficients, prompts: Sequence[str], stopped: str | None
    ) -> Evaluation:
        key = setting.split, coefficients
        async with self._one_at_a_time[key]:
            started = time.monotonic()
            try:
                answers = await self._answers(setting, coefficients, prompts)
                scores = await self._scores(setting, [answer.generation for answer in answers])
            except CandidateFailure as failure:
                return failed(setting, coefficients, failure, self._seconds[key] + time.monotonic() - started)
            finally:
                self._seconds[key] += time.monotonic() - started
        metrics = {name: [answer.metrics[name] for answer in answers] for name in answers[0].metrics}
        return succeeded(
            setting,
            coefficients,
            [answer.generation for answer in answers],
            {value: scores[value] for value in setting.values},
            self._seconds[key],
            metrics | {name: scores[name] for name in setting.extra_rewards},
            stopped,
        )

    async def _answers(
        self, setting: EvaluationSetting, coefficients: Coefficients, prompts: Sequence[str]
    ) -> list[KnownAnswer]:
        """One answer a prompt; those that are not known are generated."""
        known = dict(self._known.answers(setting, coefficients))
        if missing := [prompt for prompt in dict.fromkeys(prompts) if prompt not in known]:
            answers = await self._generate("answer", [(coefficients, prompt) for prompt in missing])
            for answer in answers:
                if isinstance(answer, CandidateFailure):
                    raise answer
            metrics: list[dict[str, float]] = [{} for _ in answers]
            if "base_nll" in setting.constraints:
                metrics = [{"base_nll": nll} for nll in await self._generate("base_nll", answers)]
            for answer, measured in zip(answers, metrics, strict=True):
                known[answer.prompt] = KnownAnswer(answer, measured)
                self._known.keep_answer(setting, coefficients, known[answer.prompt])
        return [known[prompt] for prompt in prompts]

    async def _generate(self, method: str, requests: Sequence[Any]) -> list[Any]:
        size = self._piece or len(requests)
        pieces = [requests[start : start + size] for start in range(0, len(requests), size)]
        results = await asyncio.gather(*(self._generate_piece(method, piece) for piece in pieces))
        return [result for results_of_piece in results for result in results_of_piece]

    async def _generate_piece(self, method: str, requests: Sequence[Any]) -> list[Any]:
        index = min(self._load, key=lambda index: self._load[index])
        self._load[index] += len(requests)
        try:
            return list(await getattr(self._generators[index], method).remote(requests))
        except RayError as error:
            if isinstance(error, RayTaskError) and isinstance(error.cause, RunError):
                raise error.cause from None
            raise _failure("generation_raised", error) from None
        finally:
            self._load[index] -= len(requests)

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


class _Recorder:
    """Records in one call all that became ready while the last one was written; what failed is tried by the next."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._ready: list[Evaluation] = []
        self._writing = asyncio.Lock()

    async def record(self, evaluation: Evaluation) -> None:
        self._ready.append(evaluation)
        async with self._writing:
            ready = list(self._ready)
            if ready:
                await asyncio.to_thread(self._record, ready)
                del self._ready[: len(ready)]


class _Scorer:
    """One reward: texts of several candidates that wait for the actor go to it in one call."""

    def __init__(self, name: str, actor: ActorHandle) -> None:
        self._name = name
        self._actor = actor
        self._waiting: list[tuple[list[tuple[str, str]], asyncio.Future[list[float]]]] = []
        self._scoring = asyncio.Lock()

    async def score(self, texts: list[tuple[str, str]]) -> list[float]:
        """
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

    async def _score_together(self, waiting: list[tuple[list[tuple[str, str]], asyncio.Future[list[float]]]]) -> None:
        scores = await self._ask([text for texts, _ in waiting for text in texts])
        if isinstance(scores, CandidateFailure) and len(waiting) > 1:
            for alone in waiting:
                await self._score_together([alone])
            return
        start = 0
        for texts, future in waiting:
            if isinstance(scores, CandidateFailure):
                future.set_exception(scores)
            else:
                future.set_result(scores[start : start + len(texts)])
            start += len(texts)

    async def _ask(self, texts: list[tuple[str, str]]) -> list[float] | CandidateFailure:
        prompts, completions = zip(*texts, strict=True)
        try:
            scores: list[float] | CandidateFailure = await self._actor.score.remote(prompts, completions)
        except RayError as error:
            return _failure("reward_raised", error)
        if isinstance(scores, CandidateFailure):
            return CandidateFailure(scores.kind, f"reward of '{self._name}' {scores.message}")
        return scores


def _failure(raised: str, error: RayError) -> CandidateFailure:
    """What an actor raised, or that it died; the cause in one line, the last one of Ray's text."""
    cause = getattr(error, "cause", None) or error
    if isinstance(cause, CandidateFailure):
        return cause
    kind = raised if isinstance(error, RayTaskError) else "actor_died"
    return CandidateFailure(kind, f"{type(cause).__name__}: {last_line(cause)}")


@contextmanager
def evaluation_broker(
    config: RunConfig,
    adapters: Sequence[AdapterRef],
    settings: Mapping[str, EvaluationSetting],
    record: Record,
    known: KnownAnswers,
) -> Iterator[ActorHandle]:
    """An `EvaluationBroker` with its generators and rewards, as long as the context lasts."""
    generators = start_generators(config, config.base_model, adapters)
    rewards = start_rewards(config)
    actor = ray.remote(EvaluationBroker).options(num_cpus=0, max_concurrency=_ANY_NUMBER)
    broker = actor.remote(dict(settings), generators, rewards, record, known, None if config.engine.openai else _PIECE)
    try:
        yield broker
        report_truncation(rewards)
    finally:
        for handle in (broker, *generators, *rewards.values()):
            ray.kill(handle)


def report_truncation(rewards: Mapping[str, ActorHandle]) -> None:
    for name, actor in rewards.items():
        with suppress(RayError):  # of an actor that died for good, the candidates say so
            if count := ray.get(actor.truncated.remote()):
                log.warning("the reward of '%s' cut %d inputs to its max_length", name, count)


def evaluate_all(broker: ActorHandle, split: str, candidates: Sequence[Coefficients]) -> Iterator[Evaluation]:
    """Evaluate candidates on all prompts of a split; yields evaluations as they are done, in any order."""
    pending = [broker.evaluate.remote(split, candidate) for candidate in candidates]
    while pending:
        done, pending = ray.wait(pending)
        yield from (partial_.evaluation for partial_ in ray.get(done))

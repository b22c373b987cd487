"""Evaluation brokers over real actors, which write down what they are asked."""

import asyncio
import json
import os
from collections.abc import Coroutine, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import ray
import yaml
from ray.actor import ActorHandle

from mva_ray.config import RunConfig, load_config
from mva_ray.config.generation import GenerationSettings
from mva_ray.evaluation.evaluate import EvaluationSetting
from mva_ray.evaluation.known import KnownAnswers
from mva_ray.evaluation.ray_actors import EvaluationBroker, GeneratorActor, PartialEvaluation, start_rewards
from mva_ray.records import SPLITS, AdapterRef, Coefficients, Evaluation
from tests.support.tiny import PROMPTS, random_adapter

REWARDS = """
import json
import os
from pathlib import Path

HERE = Path(__file__).parent

def length(prompts, completions, **kwargs):
    with open(HERE / "scored.jsonl", "a") as file:
        file.write(json.dumps(list(zip(prompts, completions))) + "\\n")
    return [float(len(completion)) for completion in completions]

def vowels(prompts, completions, **kwargs):
    return [float(sum(letter in "aeiou" for letter in completion)) for completion in completions]

def picky(prompts, completions, **kwargs):
    scores = length(prompts, completions)
    dislikes = json.loads((HERE / "dislikes.json").read_text())
    for completion in completions:
        if dislikes.get(completion) == "raises":
            raise KeyError("no such mood")
        if dislikes.get(completion) == "loses":
            return scores[:-1]
    return [float("nan") if completion in dislikes else number for completion, number in zip(completions, scores)]

def broken(prompts, completions, **kwargs):
    raise RuntimeError("the scoring service is down")

def dies(prompts, completions, **kwargs):
    os._exit(1)

def dies_once(prompts, completions, **kwargs):
    marker = HERE / "died"
    if not marker.exists():
        marker.touch()
        os._exit(1)
    return length(prompts, completions)
"""
CANDIDATES = [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (-0.5, 2.0)]


class LoggedGenerator(GeneratorActor):
    """A generator that writes down what it is asked."""

    def __init__(self, log: Path, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._log = log

    async def answer(self, requests: Sequence[tuple[Coefficients, str]]) -> Any:
        with self._log.open("a") as file:
            file.write(json.dumps(list(requests)) + "\n")
        return await super().answer(requests)

    async def pid(self) -> int:
        return os.getpid()


def lines(path: Path) -> list[Any]:
    """What was asked so far, call by call."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def flat(calls: Iterable[Sequence[Any]]) -> list[Any]:
    return [item for call in calls for item in call]


class Bench:
    """Two generators for all tests of this file, adapters, configs, and brokers with rewards of their own."""

    def __init__(self, directory: Path, model: Path) -> None:
        self.directory = directory
        self.model = str(model)
        self.generation = GenerationSettings(max_new_tokens=6, batch_size=8)
        self.adapters = [
            AdapterRef(value, str(random_adapter(directory / value, model, seed, r=2, alpha=4)), value)
            for seed, value in enumerate(("first", "second"))
        ]
        (directory / "own_rewards.py").write_text(REWARDS)
        self.logs = [directory / f"asked{number}.jsonl" for number in range(2)]
        actor = ray.remote(LoggedGenerator).options(
            num_cpus=0, max_restarts=3, max_task_retries=3, max_concurrency=1000
        )
        config = self.config("length")
        self.generators = [actor.remote(log, config, self.model, self.adapters, 1) for log in self.logs]
        self._rewards = start_rewards(config)
        self._ending: list[ActorHandle] = []
        self._loop = asyncio.new_event_loop()
        Thread(target=self._loop.run_forever, daemon=True).start()

    def config(self, first: str, **changes: Any) -> RunConfig:
        """The config of a file whose rewards lie next to it; the first value's is the one under test."""
        path = self.directory / f"{first}.yaml"
        rewards = {"first": first, "second": "vowels"}
        content = {
            "name": "test",
            "base_model": self.model,
            "prompts": {split: {"path": "unused.jsonl"} for split in SPLITS},
            "generation": self.generation.model_dump(exclude_none=True, exclude_defaults=True),
            "values": [{"name": value, "reward": f"own_rewards:{function}"} for value, function in rewards.items()],
        }
        path.write_text(yaml.safe_dump(content | changes))
        return load_config(path)

    def setting(self, first: str = "length", prompts: Sequence[str] = PROMPTS, **changes: Any) -> EvaluationSetting:
        values = ("first", "second")
        setting = EvaluationSetting(
            context="context",
            split="search",
            prompts=tuple(prompts),
            values=values,
            base_model=self.model,
            adapters={value: value for value in values},
            rewards={"first": first, "second": "vowels"},
            seed=0,
            generator="tiny 6",
        )
        return replace(setting, **changes)

    def broker(
        self,
        setting: EvaluationSetting,
        rewards: str = "length",
        known: KnownAnswers | None = None,
        piece: int | None = None,
        generators: Sequence[ActorHandle] | None = None,
        **changes: Any,
    ) -> "Asked":
        """A broker of these settings; it begins with empty logs."""
        for log in (*self.logs, self.directory / "scored.jsonl"):
            log.unlink(missing_ok=True)
        recorded: list[Evaluation] = []
        broker = EvaluationBroker(
            {"search": setting},
            generators or self.generators,
            self.rewards(rewards, **changes),
            recorded.extend,
            known or KnownAnswers(),
            piece,
        )
        return Asked(broker, self._loop, recorded, self.logs, self.directory / "scored.jsonl")

    def broker_actor(self, setting: EvaluationSetting, rewards: str) -> ActorHandle:
        """A broker as a run has it, in a process of its own."""
        actor = ray.remote(EvaluationBroker).options(num_cpus=0, max_concurrency=1000)
        actors = self.rewards(rewards)
        handle = actor.remote({"search": setting}, self.generators, actors, lambda rows: None, KnownAnswers())
        self._ending.append(handle)
        return handle

    def rewards(self, first: str, **changes: Any) -> dict[str, ActorHandle]:
        """Actors of the values' rewards, and of those that changes to the config bring."""
        if first == "length" and not changes:
            return self._rewards
        actors = start_rewards(self.config(first, **changes))
        self._ending += actors.values()
        return actors

    def end(self) -> None:
        """End brokers and their own rewards; generators and the usual rewards serve the next ones, too."""
        for actor in self._ending:
            ray.kill(actor)
        self._ending = []


class Asked:
    """A broker, and what it has asked for and recorded."""

    def __init__(
        self,
        broker: EvaluationBroker,
        loop: asyncio.AbstractEventLoop,
        recorded: Sequence[Evaluation],
        logs: Sequence[Path],
        scored: Path,
    ) -> None:
        self._broker = broker
        self._loop = loop
        self._recorded = recorded
        self.logs = logs
        self._scored = scored

    def evaluate(self, *candidates: Coefficients, n_prompts: int | None = None) -> list[PartialEvaluation]:
        """All at once."""
        return [future.result() for future in self.begin(*candidates, n_prompts=n_prompts)]

    def begin(self, *candidates: Coefficients, n_prompts: int | None = None) -> list[Future[PartialEvaluation]]:
        return [self._run(self._broker.evaluate("search", row, n_prompts)) for row in candidates]

    def stop(self, coefficients: Coefficients, reason: str) -> None:
        self._run(self._broker.stop("search", coefficients, reason)).result()

    def _run(self, call: Coroutine[Any, Any, Any]) -> Future[Any]:
        return asyncio.run_coroutine_threadsafe(call, self._loop)

    @property
    def recorded(self) -> list[Evaluation]:
        return list(self._recorded)

    @property
    def generated(self) -> list[tuple[Coefficients, str]]:
        return [(tuple(weights), prompt) for log in self.logs for weights, prompt in flat(lines(log))]

    @property
    def scored(self) -> list[tuple[str, str]]:
        """Texts that the first value's reward was asked for."""
        return [(prompt, completion) for prompt, completion in flat(lines(self._scored))]

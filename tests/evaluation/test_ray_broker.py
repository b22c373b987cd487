"""What only real processes show: evaluations by a whole set of actors, and actors that die, once or for good."""

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml
from ray.actor import ActorHandle

from mva_ray.config import RunConfig, load_config
from mva_ray.config.generation import GenerationSettings
from mva_ray.constraints import Limit
from mva_ray.errors import RunError
from mva_ray.evaluation.generator import GeneratorClient
from mva_ray.evaluation.known import KnownAnswers
from mva_ray.evaluation.local import LocalGenerator
from mva_ray.evaluation.ray_actors import start_rewards
from mva_ray.evaluation.ray_broker import Broker, engine_seconds, evaluate_all, evaluation_broker, start_broker
from mva_ray.evaluation.ray_clients import RayGenerator, RayReward
from mva_ray.evaluation.scorer import RewardClient
from mva_ray.placement.ray_group import Place
from mva_ray.records import SPLITS, AdapterRef, Coefficients, Evaluation, Generation
from mva_ray.search.ray_search import run_search
from mva_ray.search.results import Reader
from mva_ray.search.rounds import Rounds
from tests.support.brokers import CANDIDATES, PROMPTS, VALUES, PlainReward, broken, length, make_setting, vowels
from tests.support.generators import DyingWords, SlowWords, Unborn, Words
from tests.support.openai_server import MODEL, serving
from tests.support.surfaces import make as make_proposer
from tests.support.tiny import random_adapter

pytestmark = pytest.mark.usefixtures("local_ray")

REWARDS = """
import os
import time
from pathlib import Path

HERE = Path(__file__).parent

def length(prompts, completions, **kwargs):
    return [float(len(completion)) for completion in completions]

def vowels(prompts, completions, **kwargs):
    return [float(sum(letter in "aeiou" for letter in completion)) for completion in completions]

def dies(prompts, completions, **kwargs):
    os._exit(1)

def dies_of_bread(prompts, completions, **kwargs):
    if "[1.0, 0.0] to Bread?" in completions:
        os._exit(0)
    return length(prompts, completions)

def hangs(prompts, completions, **kwargs):
    if "[0.0, 1.0] to Hi" in completions:
        time.sleep(1000)
    return length(prompts, completions)

def dies_once(prompts, completions, **kwargs):
    marker = HERE / "died"
    if not marker.exists():
        marker.touch()
        os._exit(1)
    return length(prompts, completions)
"""


class Bench:
    """Adapters, configs, and brokers whose actors end with the test."""

    def __init__(self, directory: Path, model: Path) -> None:
        self.directory = directory
        self.model = str(model)
        self.generation = GenerationSettings(max_new_tokens=6, batch_size=8)
        self.adapters = [
            AdapterRef(value, str(random_adapter(directory / value, model, seed, r=2, alpha=4)), value)
            for seed, value in enumerate(VALUES)
        ]
        (directory / "own_rewards.py").write_text(REWARDS)
        self._ending: list[ActorHandle] = []

    def config(self, first: str = "length", **changes: Any) -> RunConfig:
        """The config of a file whose rewards lie next to it; the first value's is the one under test."""
        path = self.directory / "test.yaml"
        rewards = {"first": {"function": f"own_rewards:{first}", "timeout": 3.0}, "second": "own_rewards:vowels"}
        content = {
            "name": "test",
            "base_model": self.model,
            "prompts": {split: {"path": "unused.jsonl"} for split in SPLITS},
            "generation": self.generation.model_dump(exclude_none=True, exclude_defaults=True),
            "values": [{"name": value, "reward": reward} for value, reward in rewards.items()],
        }
        path.write_text(yaml.safe_dump(content | changes))
        return load_config(path)

    def engine(self) -> LocalGenerator:
        return LocalGenerator(self.model, self.adapters, self.generation)

    def broker(
        self, generator: GeneratorClient, first: RewardClient | None = None, prompts: Sequence[str] = PROMPTS
    ) -> Broker:
        """A broker in a process of its own; what is no actor lives there, too."""
        rewards = {"first": first or PlainReward(length), "second": PlainReward(vowels)}
        settings = {"search": make_setting(prompts=prompts)}
        broker = start_broker(settings, [generator], rewards, lambda rows: None, KnownAnswers())
        actors = [client.process.actor for client in (generator, first) if isinstance(client, RayGenerator | RayReward)]
        self._ending += [broker, *actors]
        return broker

    def reward(self, function: str) -> RayReward:
        """The reward under test."""
        return start_rewards(self.config(function), ["first"], [Place({}, {"num_cpus": 0.1})])["first"]

    def end(self) -> None:
        for actor in self._ending:
            ray.kill(actor)
        self._ending = []


def generator(kind: type[Words], *arguments: Any) -> RayGenerator:
    options = {"num_cpus": 0, "max_concurrency": 100}
    return RayGenerator(lambda: ray.remote(kind).options(**options).remote(*arguments))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, local_ray: None) -> Bench:
    return Bench(tmp_path_factory.mktemp("actors"), tiny_model)


@pytest.fixture
def bench(shared: Bench) -> Iterator[Bench]:
    yield shared
    shared.end()


def evaluate(broker: Broker, *candidates: Coefficients) -> list[Evaluation]:
    return list(evaluate_all(broker, "search", candidates))


def by_candidate(rows: Sequence[Evaluation]) -> dict[Coefficients, Evaluation]:
    return {tuple(row.coefficients.values()): row for row in rows}


def lengths(answers: Sequence[Any]) -> float:
    """The mean reward of the first value."""
    assert all(isinstance(answer, Generation) for answer in answers)
    return sum(len(answer.completion) for answer in answers) / len(answers)


def test_evaluations_by_actors_equal_those_of_the_plain_engine(bench: Bench, tmp_path: Path) -> None:
    """Two engines and two rewards in processes of their own, which end with the run."""
    limits = {"base_nll": {"max": 9.0}}
    config = bench.config(search={"evaluators": 2, "resources": {"num_cpus": 0.5}}, constraints=limits)
    setting = make_setting(constraints={"base_nll": Limit(max=9.0)})

    def record(rows: Sequence[Evaluation]) -> None:
        with (tmp_path / "recorded").open("a") as file:
            file.writelines(f"{row.candidate}\n" for row in rows)

    with evaluation_broker(config, bench.adapters, {"search": setting}, record, KnownAnswers()) as broker:
        done = by_candidate(evaluate(broker, *CANDIDATES))
        assert engine_seconds(broker) > 0
    engine = bench.engine()
    for row, evaluation in done.items():
        answers: list[Any] = engine.answer([(row, prompt) for prompt in PROMPTS])
        assert evaluation.reward_mean["first"] == pytest.approx(lengths(answers))
        nll = [measured["base_nll"] for measured in engine.measure(["base_nll"], answers)]
        assert evaluation.metrics["base_nll"] == pytest.approx(sum(nll) / len(nll), abs=1e-6)
    recorded = (tmp_path / "recorded").read_text().split()
    assert sorted(recorded) == sorted(evaluation.candidate for evaluation in done.values())
    with pytest.raises(ray.exceptions.RayActorError):
        ray.get(broker.evaluate.remote("search", CANDIDATES[0]))


def test_a_reward_actor_that_dies_once_costs_nothing(bench: Bench) -> None:
    """It is started again and asked again."""
    broker = bench.broker(Words(), bench.reward("dies_once"))
    assert {row.status for row in evaluate(broker, *CANDIDATES)} == {"ok"}
    assert (bench.directory / "died").exists()


def test_a_text_that_ends_the_reward_fails_its_candidate_only(bench: Bench) -> None:
    """As often as it takes: the process is started again until the text is found, and lives on."""
    broker = bench.broker(Words(), bench.reward("dies_of_bread"), PROMPTS[:2])
    done = by_candidate(evaluate(broker, *CANDIDATES))
    culprit = done.pop((1.0, 0.0))
    assert {row.status for row in done.values()} == {"ok"}
    assert (culprit.failure, culprit.error) == (
        "reward_died",
        "reward of 'first' ended its process (an exit, a crash, or killed where memory is short) "
        "on the answer '[1.0, 0.0] to Bread?' to 'Bread?'",
    )


def test_a_text_that_the_reward_never_ends_with_fails_its_candidate_only(bench: Bench) -> None:
    broker = bench.broker(Words(), bench.reward("hangs"), PROMPTS[-1:])
    done = by_candidate(evaluate(broker, *CANDIDATES))
    culprit = done.pop((0.0, 1.0))
    assert {row.status for row in done.values()} == {"ok"}
    assert (culprit.failure, culprit.error) == (
        "reward_timeout",
        "reward of 'first' took longer than its timeout (3 s) on the answer '[0.0, 1.0] to Hi' to 'Hi'",
    )


@pytest.mark.parametrize("quietly", [False, True])
def test_a_generator_that_does_not_start_ends_the_run_with_its_cause(bench: Bench, quietly: bool) -> None:
    """No candidate is to blame. What dies while it starts is not started for ever."""
    broker = bench.broker(generator(Unborn, quietly))
    with pytest.raises(RunError) as raised:
        evaluate(broker, CANDIDATES[0])
    cause = "it ended its process (an exit, a crash, a pass of 15 minutes, or killed where memory is short)"
    expected = cause if quietly else "ValueError: no such architecture"
    assert str(raised.value.cause) == f"the evaluator does not start: {expected}"  # type: ignore[attr-defined]


def wait_for(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_generator_that_is_killed_is_started_and_asked_again(bench: Bench, tmp_path: Path) -> None:
    """SIGKILL while it answers, as where memory is short."""
    log = tmp_path / "pids"
    broker = bench.broker(generator(SlowWords, log))
    pending = [broker.evaluate.remote("search", row) for row in CANDIDATES[:2]]
    wait_for(log.exists)
    pid = int(log.read_text().split()[0])
    os.kill(pid, signal.SIGKILL)
    assert {partial.evaluation.status for partial in ray.get(pending)} == {"ok"}
    assert int(log.read_text().split()[-1]) != pid


def test_a_generator_that_keeps_dying_is_a_typed_failure(bench: Bench) -> None:
    [row] = evaluate(bench.broker(generator(DyingWords)), CANDIDATES[1])
    assert row.failure == "actor_died"


def test_a_reward_that_keeps_dying_fails_candidates_and_not_the_run(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Leaving is not an error where one has died for good."""
    generators = [generator(Words)]
    monkeypatch.setattr("mva_ray.evaluation.ray_broker.start_generators", lambda *_: generators)
    config, settings = bench.config("dies"), {"search": make_setting("dies", PROMPTS[:1])}
    with evaluation_broker(config, bench.adapters, settings, lambda rows: None, KnownAnswers()) as broker:
        assert {row.failure for row in evaluate(broker, *CANDIDATES[:2])} == {"reward_died"}


def test_the_search_stops_when_most_candidates_fail(bench: Bench, tmp_path: Path) -> None:
    """More than half failing ends the search after the first generation, with the cause."""
    broker = bench.broker(Words(), PlainReward(broken))
    rounds = Rounds(make_proposer("nsga2", [(0, 1.5)] * 2, 40, seed=3))
    seen: list[None] = []
    run_search(rounds, Reader(make_setting("broken").values), broker, 2, 4, tmp_path, lambda: seen.append(None))
    assert rounds.too_many_failed is not None
    assert "RuntimeError: the scoring service is down" in rounds.too_many_failed
    assert len(seen) < 40


def test_a_server_in_place_of_the_engine(bench: Bench, float32_products: None, tmp_path: Path) -> None:
    """Candidates that are evaluated at once share the server; evaluations are those of our own engine in float32."""
    engine = bench.engine()
    with serving(Path(bench.model)) as server:
        section = {"base_url": server.url, "model": MODEL, "adapters_dir": str(tmp_path), "max_loras": 2}
        config = bench.config("length", engine={"openai": section})
        setting, known = make_setting(), KnownAnswers()
        with evaluation_broker(config, bench.adapters, {"search": setting}, lambda rows: None, known) as broker:
            done = by_candidate(evaluate(broker, *CANDIDATES))
            assert engine_seconds(broker) > 0
    assert server.most_loaded == 2
    for row, evaluation in done.items():
        assert evaluation.reward_mean["first"] == pytest.approx(
            lengths(engine.answer([(row, prompt) for prompt in PROMPTS]))
        )

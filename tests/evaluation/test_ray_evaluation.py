"""The evaluation on real Ray actors: batching across trials, and what a failure becomes."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import ray
import yaml

from mva_ray.config import Generation, RunConfig, load_config
from mva_ray.evaluation.evaluate import EvaluationSetting
from mva_ray.evaluation.generate import Generator
from mva_ray.evaluation.ray_evaluation import evaluate_all, group_size, start_broker, start_generators, start_rewards
from mva_ray.records import SPLITS, AdapterRef, Evaluation
from mva_ray.search.evolution import EvolutionaryProposer
from mva_ray.search.ray_search import GenerationalSearcher, run_search
from tests.tiny import PROMPTS, random_adapter

pytestmark = pytest.mark.usefixtures("local_ray")

REWARDS = """
import os
from pathlib import Path

calls = 0

def length(prompts, completions, **kwargs):
    return [float(len(completion)) for completion in completions]

def picky(prompts, completions, **kwargs):
    global calls
    calls += 1
    scores = length(prompts, completions)
    if calls == 2:
        raise KeyError("no such mood")
    if calls == 3:
        return scores[:-1]
    if calls == 4:
        return [float("nan"), *scores[1:]]
    return scores

def broken(prompts, completions, **kwargs):
    raise RuntimeError("the scoring service is down")

def dies(prompts, completions, **kwargs):
    os._exit(1)

def dies_once(prompts, completions, **kwargs):
    marker = Path(__file__).with_suffix(".died")
    if not marker.exists():
        marker.touch()
        os._exit(1)
    return length(prompts, completions)
"""
CANDIDATES = [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (-0.5, 2.0)]


class Setup:
    """A config, two adapters, and a place for what is recorded."""

    def __init__(self, directory: Path, model: Path) -> None:
        (directory / "own_rewards.py").write_text(REWARDS)
        self.directory = directory
        self.adapters = [
            AdapterRef(value, str(random_adapter(directory / value, model, seed, r=2, alpha=4)), value)
            for seed, value in enumerate(("first", "second"))
        ]
        self.model = str(model)
        self.generation = Generation(max_new_tokens=6, batch_size=8)

    def config(self, first: str) -> RunConfig:
        """The config of a file whose rewards lie next to it; the first value's is the one under test."""
        path = self.directory / f"{first}.yaml"
        rewards = {"first": first, "second": "length"}
        content = {
            "name": "test",
            "base_model": self.model,
            "prompts": {split: {"path": "unused.jsonl"} for split in SPLITS},
            "generation": self.generation.model_dump(exclude_none=True),
            "values": [{"name": value, "reward": f"own_rewards:{function}"} for value, function in rewards.items()],
        }
        path.write_text(yaml.safe_dump(content))
        return load_config(path)

    def setting(self) -> EvaluationSetting:
        values = ("first", "second")
        adapters, rewards = dict.fromkeys(values, "a"), dict.fromkeys(values, "r")
        return EvaluationSetting("context", "search", PROMPTS, values, self.model, adapters, rewards, 0)


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Setup:
    return Setup(tmp_path_factory.mktemp("actors"), tiny_model)


class Recorder:
    """Keeps what the broker records, in the process of an actor, batch by batch."""

    def __init__(self) -> None:
        self.batches: list[list[Evaluation]] = []

    def record(self, evaluations: Sequence[Evaluation]) -> None:
        self.batches.append(list(evaluations))

    def read(self) -> list[list[Evaluation]]:
        return self.batches


def evaluate(setup: Setup, config: RunConfig) -> tuple[dict[tuple[float, ...], Evaluation], list[list[Evaluation]]]:
    """All candidates by their coefficients, and the batches that were recorded."""
    recorder = ray.remote(Recorder).remote()
    generators = start_generators(config, config.base_model, setup.adapters)
    rewards = start_rewards(config)
    broker = start_broker(
        {"search": setup.setting()}, generators, rewards, lambda rows: ray.get(recorder.record.remote(rows))
    )
    size = group_size(config.generation.batch_size, len(PROMPTS))
    done = {tuple(row.coefficients.values()): row for row in evaluate_all(broker, "search", CANDIDATES, size)}
    batches = ray.get(recorder.read.remote())
    for actor in [broker, *generators, *rewards.values()]:
        ray.kill(actor)
    return done, batches


def test_evaluations_equal_those_of_the_plain_engine(setup: Setup) -> None:
    """Actors, batching and recording change nothing: means, completions and order are those of `Generator`."""
    done, batches = evaluate(setup, setup.config("length"))
    assert set(done) == set(CANDIDATES)
    assert [len(batch) for batch in batches] == [2, 2]
    engine = Generator(setup.model, setup.adapters, setup.generation)
    for batch in batches:
        answers = engine.answer(PROMPTS, [tuple(row.coefficients.values()) for row in batch])
        for row, generations in zip(batch, answers, strict=True):
            lengths = [len(generation.completion) for generation in generations]
            assert [scored.generation for scored in row.generations] == generations
            assert row.reward_mean["first"] == pytest.approx(sum(lengths) / len(lengths))


def test_a_failing_reward_fails_its_candidate_only(setup: Setup) -> None:
    """Raising, a wrong length and NaN are typed failures with their cause; the other candidate is scored."""
    done, _ = evaluate(setup, setup.config("picky"))
    by_failure = {row.failure: row for row in done.values()}
    assert set(by_failure) == {None, "reward_raised", "reward_length", "reward_not_finite"}
    assert by_failure["reward_raised"].error == "reward of 'first' KeyError: 'no such mood'"
    assert by_failure["reward_length"].error == "reward of 'first' returned 3 scores for 4 completions"
    assert by_failure["reward_not_finite"].error == "reward of 'first' returned nan for completion 0"
    assert all(not row.reward_mean for row in done.values() if row.failure)
    assert by_failure[None].status == "ok"


def test_a_reward_actor_that_dies_once_costs_nothing(setup: Setup) -> None:
    """Ray starts it again and asks again."""
    done, _ = evaluate(setup, setup.config("dies_once"))
    assert {row.status for row in done.values()} == {"ok"}


def test_a_reward_actor_that_keeps_dying_is_a_typed_failure(setup: Setup) -> None:
    done, _ = evaluate(setup, setup.config("dies"))
    assert {row.failure for row in done.values()} == {"actor_died"}


def test_the_search_stops_when_most_candidates_fail(setup: Setup, tmp_path: Path) -> None:
    """More than half failing ends the search after the first generation, with the cause."""
    config = setup.config("broken")
    generators = start_generators(config, config.base_model, setup.adapters)
    rewards = start_rewards(config)
    broker = start_broker({"search": setup.setting()}, generators, rewards, lambda rows: None)
    searcher = GenerationalSearcher(EvolutionaryProposer("nsga2", config.bounds, 40, 4, 4, 0), lambda row: None, 2)
    seen: list[None] = []
    run_search(searcher, broker, 4, tmp_path, lambda: seen.append(None))
    for actor in [broker, *generators, *rewards.values()]:
        ray.kill(actor)
    assert searcher.too_many_failed is not None
    assert "RuntimeError: the scoring service is down" in searcher.too_many_failed
    assert len(seen) < 40

"""The evaluation on real Ray actors: what is asked of them and what is not, and what a failure becomes."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import ray

from mva_ray.constraints import Limit
from mva_ray.evaluation.known import KnownAnswers
from mva_ray.evaluation.local import LocalGenerator
from mva_ray.evaluation.ray_actors import evaluate_all, evaluation_broker
from mva_ray.records import Coefficients, Generation
from mva_ray.search.ray_search import run_search
from mva_ray.search.results import Reader
from mva_ray.search.rounds import Rounds
from tests.support.brokers import CANDIDATES, Bench, lines
from tests.support.openai_server import MODEL, serving
from tests.support.surfaces import make as make_proposer
from tests.support.tiny import PROMPTS

pytestmark = pytest.mark.usefixtures("local_ray")
Plain = dict[Coefficients, list[Generation]]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, local_ray: None) -> Bench:
    return Bench(tmp_path_factory.mktemp("actors"), tiny_model)


@pytest.fixture
def bench(shared: Bench) -> Iterable[Bench]:
    yield shared
    shared.end()


@pytest.fixture(scope="module")
def plain(shared: Bench) -> Plain:
    """What the engine without any actor answers."""
    engine = LocalGenerator(shared.model, shared.adapters, shared.generation)
    answers = engine.answer([(row, prompt) for row in CANDIDATES for prompt in PROMPTS])
    generations = [answer for answer in answers if isinstance(answer, Generation)]
    return {row: generations[i * len(PROMPTS) :][: len(PROMPTS)] for i, row in enumerate(CANDIDATES)}


def of(candidates: Iterable[Coefficients], prompts: Iterable[str]) -> list[tuple[Coefficients, str]]:
    prompts = list(prompts)
    return [(row, prompt) for row in candidates for prompt in prompts]


def test_evaluations_equal_those_of_the_plain_engine(bench: Bench, plain: Plain) -> None:
    """Actors, sharing and recording change nothing; both generators take part and each prompt is asked once."""
    asked = bench.broker(bench.setting())
    evaluations = [partial.evaluation for partial in asked.evaluate(*CANDIDATES)]
    done = {tuple(row.coefficients.values()): row for row in evaluations}
    recorded = {tuple(row.coefficients.values()): row for row in asked.recorded}
    assert set(done) == set(recorded) == set(CANDIDATES)
    for row, evaluation in recorded.items():
        lengths = [len(generation.completion) for generation in plain[row]]
        assert [scored.generation for scored in evaluation.generations] == plain[row]
        assert evaluation.reward_mean["first"] == pytest.approx(sum(lengths) / len(lengths))
        assert evaluation.status == "ok"
        assert replace(evaluation, generations=()) == done[row], "texts stay with the table"
    assert sorted(asked.generated) == sorted(of(CANDIDATES, PROMPTS))
    assert all(lines(log) for log in bench.logs)


def test_one_candidate_is_dealt_out_to_all_generators(bench: Bench, plain: Plain) -> None:
    """In pieces, the last one smaller; its answers come back in the order of the prompts."""
    asked = bench.broker(bench.setting(), piece=3)
    asked.evaluate(CANDIDATES[3])
    [row] = asked.recorded
    assert [scored.generation for scored in row.generations] == plain[CANDIDATES[3]]
    assert sorted(len(call) for log in asked.logs for call in lines(log)) == sorted(
        min(3, len(PROMPTS) - start) for start in range(0, len(PROMPTS), 3)
    )
    assert all(lines(log) for log in asked.logs)


def test_an_evaluation_is_recorded_before_it_is_returned(bench: Bench) -> None:
    asked = bench.broker(bench.setting())
    for count, row in enumerate(CANDIDATES[:2], 1):
        [partial] = asked.evaluate(row)
        assert len(asked.recorded) == count
        assert replace(asked.recorded[-1], generations=()) == partial.evaluation


def test_one_candidate_asked_for_several_times_at_once_is_generated_once(bench: Bench) -> None:
    asked = bench.broker(bench.setting())
    first, *others = asked.evaluate(*[CANDIDATES[3]] * 3)
    assert len(asked.recorded) == 1
    assert [partial.rewards for partial in others] == [first.rewards] * 2
    assert sorted(asked.generated) == sorted(of([CANDIDATES[3]], PROMPTS))
    assert len(asked.scored) == len(PROMPTS)


def test_a_part_and_then_the_rest(bench: Bench, plain: Plain) -> None:
    """A race asks block by block: what is there is neither generated nor scored again, one row is recorded."""
    asked, row = bench.broker(bench.setting()), CANDIDATES[3]
    for count, new in ((1, PROMPTS[:1]), (3, PROMPTS[1:3]), (3, ()), (None, PROMPTS[3:])):
        before = len(asked.generated)
        [partial] = asked.evaluate(row, n_prompts=count)
        assert asked.generated[before:] == of([row], new)
        assert len(asked.scored) == len(asked.generated)
        texts = [generation.completion for generation in plain[row][:count]]
        assert partial.rewards == [[len(text), sum(letter in "aeiou" for letter in text)] for text in texts]
        assert partial.evaluation.n_prompts == len(texts)
        assert [row.status for row in asked.recorded] == (["ok"] if count is None else [])


def test_a_candidate_that_is_given_up_is_recorded_as_far_as_it_got(bench: Bench, plain: Plain) -> None:
    asked, row = bench.broker(bench.setting()), CANDIDATES[3]
    asked.evaluate(row, n_prompts=2)
    asked.stop(row, "surely dominated")
    [stopped] = asked.recorded
    assert (stopped.status, stopped.n_prompts, stopped.error) == ("stopped", 2, "surely dominated")
    assert [scored.generation for scored in stopped.generations] == plain[row][:2]
    assert len(asked.generated) == len(asked.scored) == 2


def test_what_earlier_runs_answered_is_not_asked_for(bench: Bench) -> None:
    """Nor what they scored: the reward here would end its process."""
    before = bench.broker(bench.setting())
    before.evaluate(*CANDIDATES[:2])
    before.evaluate(CANDIDATES[2], n_prompts=2)
    before.stop(CANDIDATES[2], "dominated")
    rows = before.recorded
    after = bench.broker(bench.setting(), rewards="dies", known=KnownAnswers(rows))
    again = [partial.evaluation for partial in after.evaluate(*CANDIDATES[:2])]
    assert [row.status for row in again] == ["ok", "ok"]
    assert {row.candidate: row.reward_mean for row in again} == {row.candidate: row.reward_mean for row in rows[:2]}
    assert after.generated == []
    goes_on = bench.broker(bench.setting(), known=KnownAnswers(rows))
    goes_on.evaluate(CANDIDATES[2])
    assert goes_on.generated == of([CANDIDATES[2]], PROMPTS[2:])
    other_version = bench.broker(bench.setting(first="length 2"), known=KnownAnswers(rows))
    other_version.evaluate(CANDIDATES[0])
    assert (other_version.generated, len(other_version.scored)) == ([], len(PROMPTS))


def test_prompts_that_repeat_are_asked_once_and_count_twice(bench: Bench) -> None:
    asked = bench.broker(bench.setting(prompts=[PROMPTS[0], PROMPTS[1], PROMPTS[0]]))
    [partial] = asked.evaluate(CANDIDATES[1])
    assert partial.rewards[0] == partial.rewards[2]
    assert sorted(asked.generated) == sorted(of([CANDIDATES[1]], PROMPTS[:2]))


def test_a_failing_reward_fails_its_candidate_only(bench: Bench, plain: Plain) -> None:
    """Raising, a wrong length and NaN are typed failures with their cause; the other candidate is scored."""
    ways = dict(zip(CANDIDATES, ("raises", "loses", "is nan"), strict=False))
    dislikes = {plain[row][2].completion: way for row, way in ways.items()}
    assert not set(dislikes) & {generation.completion for generation in plain[CANDIDATES[3]]}
    (bench.directory / "dislikes.json").write_text(json.dumps(dislikes))
    asked = bench.broker(bench.setting("picky"), rewards="picky")
    raised, lost, nan, fine = (partial.evaluation for partial in asked.evaluate(*CANDIDATES))
    assert (raised.failure, raised.error) == ("reward_raised", "reward of 'first' KeyError: 'no such mood'")
    assert (lost.failure, lost.error) == ("reward_length", "reward of 'first' returned 3 scores for 4 completions")
    assert (nan.failure, nan.error) == ("reward_not_finite", "reward of 'first' returned nan for completion 2")
    assert (fine.status, fine.failure) == ("ok", None)
    assert raised.reward_mean == lost.reward_mean == nan.reward_mean == {}
    assert {row.candidate: row.failure for row in asked.recorded} == {
        row.candidate: row.failure for row in (raised, lost, nan, fine)
    }


def test_a_reward_actor_that_dies_once_costs_nothing(bench: Bench) -> None:
    """Ray starts it again and asks again."""
    asked = bench.broker(bench.setting("dies_once"), rewards="dies_once")
    assert {partial.evaluation.status for partial in asked.evaluate(*CANDIDATES)} == {"ok"}
    assert (bench.directory / "died").exists()


def test_who_asks_again_gets_the_same_and_nothing_is_recorded_twice(bench: Bench) -> None:
    """The search asks ahead of its trials, and a trial that died is tried again; a failure stays one, too."""
    asked = bench.broker(bench.setting("broken"), rewards="broken")
    partials = [*asked.evaluate(*[CANDIDATES[1]] * 3), *asked.evaluate(CANDIDATES[1])]
    assert {partial.evaluation.failure for partial in partials} == {"reward_raised"}
    assert [partial.rewards for partial in partials] == [[]] * 4
    assert len(asked.generated) == len(PROMPTS)
    assert [row.status for row in asked.recorded] == ["failed"]


def test_constraints_are_measured_beside_the_values(bench: Bench, plain: Plain) -> None:
    """The likelihood under the base model by the engine, other rewards by actors of their own; both are known later."""
    limits = {"base_nll": Limit(max=9.0), "size": Limit(min=0.0, reward="size 1")}
    section = {"base_nll": {"max": 9}, "size": {"min": 0, "reward": "own_rewards:length"}}
    setting, row = bench.setting(constraints=limits), CANDIDATES[3]
    asked = bench.broker(setting, constraints=section)
    [partial] = asked.evaluate(row)
    nll = LocalGenerator(bench.model, bench.adapters, bench.generation).base_nll(plain[row])
    assert partial.evaluation.metrics["base_nll"] == pytest.approx(sum(nll) / len(nll), abs=1e-6)
    assert partial.evaluation.metrics["size"] == partial.evaluation.reward_mean["first"]
    [recorded] = asked.recorded
    assert [scored.metrics["base_nll"] for scored in recorded.generations] == pytest.approx(nll, abs=1e-6)
    again = bench.broker(setting, known=KnownAnswers([recorded], {"base_nll"}), constraints=section)
    [second] = again.evaluate(row)
    assert (again.generated, again.scored) == ([], [])
    assert second.evaluation.metrics == partial.evaluation.metrics


def wait_for(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_generator_that_is_killed_is_started_and_asked_again(bench: Bench) -> None:
    """SIGKILL while it answers, as where memory is short."""
    asked = bench.broker(bench.setting())
    pid = ray.get(bench.generators[0].pid.remote())
    pending = asked.begin(*CANDIDATES)
    wait_for(lambda: bool(lines(bench.logs[0])))
    os.kill(pid, signal.SIGKILL)
    assert {future.result().evaluation.status for future in pending} == {"ok"}
    assert ray.get(bench.generators[0].pid.remote()) != pid


def test_a_generator_that_keeps_dying_is_a_typed_failure(bench: Bench) -> None:

    class DyingGenerator:
        async def answer(self, requests: Sequence[tuple[Coefficients, str]]) -> None:
            os._exit(1)

    generator = ray.remote(DyingGenerator).options(num_cpus=0, max_restarts=1, max_task_retries=1).remote()
    asked = bench.broker(bench.setting(), generators=[generator])
    [partial] = asked.evaluate(CANDIDATES[1])
    assert partial.evaluation.failure == "actor_died"
    assert [row.failure for row in asked.recorded] == ["actor_died"]


def test_a_reward_that_keeps_dying_fails_candidates_and_not_the_run(bench: Bench, tmp_path: Path) -> None:
    """The actors of a run: they end with it, and leaving is not an error where one has died for good."""
    config, setting = bench.config("dies"), bench.setting("dies")
    with evaluation_broker(config, bench.adapters, {"search": setting}, lambda rows: None, KnownAnswers()) as broker:
        done = list(evaluate_all(broker, "search", CANDIDATES[:2]))
        assert {row.failure for row in done} == {"actor_died"}
    with pytest.raises(ray.exceptions.RayActorError):
        ray.get(broker.evaluate.remote("search", CANDIDATES[0]))


def test_the_search_stops_when_most_candidates_fail(bench: Bench, tmp_path: Path) -> None:
    """More than half failing ends the search after the first generation, with the cause."""
    setting = bench.setting("broken")
    rounds = Rounds(make_proposer("nsga2", [(0, 1.5)] * 2, 40, seed=3))
    seen: list[None] = []
    broker = bench.broker_actor(setting, "broken")
    run_search(rounds, Reader(setting.values), broker, 2, 4, tmp_path, lambda: seen.append(None))
    assert rounds.too_many_failed is not None
    assert "RuntimeError: the scoring service is down" in rounds.too_many_failed
    assert len(seen) < 40


def test_a_server_in_place_of_the_engine(bench: Bench, float32_products: None, tmp_path: Path) -> None:
    """Candidates that are evaluated at once share the server; evaluations are those of our own engine in float32."""
    engine = LocalGenerator(bench.model, bench.adapters, bench.generation)
    with serving(Path(bench.model)) as server:
        section = {"base_url": server.url, "model": MODEL, "adapters_dir": str(tmp_path), "max_loras": 2}
        config = bench.config("length", engine={"openai": section})
        setting, known = bench.setting(), KnownAnswers()
        with evaluation_broker(config, bench.adapters, {"search": setting}, lambda rows: None, known) as broker:
            done = {tuple(row.coefficients.values()): row for row in evaluate_all(broker, "search", CANDIDATES)}
            assert ray.get(broker.engine_seconds.remote()) > 0
    assert server.most_loaded == 2
    for row, evaluation in done.items():
        answers = engine.answer([(row, prompt) for prompt in PROMPTS])
        lengths = [len(answer.completion) for answer in answers if isinstance(answer, Generation)]
        assert evaluation.reward_mean["first"] == pytest.approx(sum(lengths) / len(PROMPTS))

"""The broker: what is asked of generators and rewards and what is not, and what a failure becomes."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from mva_ray.config.generation import GenerationSettings
from mva_ray.constraints import Limit
from mva_ray.errors import RunError
from mva_ray.evaluation.answers import Answer
from mva_ray.evaluation.generator import GeneratorClient
from mva_ray.evaluation.known import KnownAnswers
from mva_ray.evaluation.local import LocalGenerator
from mva_ray.evaluation.shared_engine import SharedEngine
from mva_ray.records import AdapterRef, Coefficients, Generation
from tests.support.brokers import CANDIDATES, PROMPTS, VALUES, Asked, broken, length, make_setting
from tests.support.generators import Fragile, Words
from tests.support.tiny import random_adapter

Plain = dict[Coefficients, list[Generation]]


@pytest.fixture(scope="module")
def make_engine(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Callable[[], LocalGenerator]:
    directory = tmp_path_factory.mktemp("adapters")
    adapters = [
        AdapterRef(value, str(random_adapter(directory / value, tiny_model, seed, r=2, alpha=4)), value)
        for seed, value in enumerate(VALUES)
    ]
    return partial(LocalGenerator, str(tiny_model), adapters, GenerationSettings(max_new_tokens=6, batch_size=8))


@pytest.fixture(scope="module")
def engines(make_engine: Callable[[], LocalGenerator]) -> list[GeneratorClient]:
    """Two of them, as a run with two evaluators has."""
    return [SharedEngine(make_engine, 1) for _ in range(2)]


@pytest.fixture(scope="module")
def plain(make_engine: Callable[[], LocalGenerator]) -> Plain:
    """What the engine answers to anyone."""
    answers = make_engine().answer([(row, prompt) for row in CANDIDATES for prompt in PROMPTS])
    generations = [answer for answer in answers if isinstance(answer, Generation)]
    return {row: generations[i * len(PROMPTS) :][: len(PROMPTS)] for i, row in enumerate(CANDIDATES)}


def of(candidates: Iterable[Coefficients], prompts: Iterable[str]) -> list[tuple[Coefficients, str]]:
    prompts = list(prompts)
    return [(row, prompt) for row in candidates for prompt in prompts]


def test_evaluations_equal_those_of_the_plain_engine(engines: list[GeneratorClient], plain: Plain) -> None:
    """Sharing and recording change nothing; both generators take part and each prompt is asked once."""
    asked = Asked(make_setting(), engines)
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
    assert all(generator.calls for generator in asked.generators)


def test_one_candidate_is_dealt_out_to_all_generators(engines: list[GeneratorClient], plain: Plain) -> None:
    """In pieces, the last one smaller; its answers come back in the order of the prompts."""
    asked = Asked(make_setting(), engines, piece=3)
    asked.evaluate(CANDIDATES[3])
    [row] = asked.recorded
    assert [scored.generation for scored in row.generations] == plain[CANDIDATES[3]]
    assert sorted(len(call) for generator in asked.generators for call in generator.calls) == sorted(
        min(3, len(PROMPTS) - start) for start in range(0, len(PROMPTS), 3)
    )
    assert all(generator.calls for generator in asked.generators)


def test_an_evaluation_is_recorded_before_it_is_returned() -> None:
    asked = Asked(make_setting(), [Words()])
    for count, row in enumerate(CANDIDATES[:2], 1):
        [partial] = asked.evaluate(row)
        assert len(asked.recorded) == count
        assert replace(asked.recorded[-1], generations=()) == partial.evaluation


def test_one_candidate_asked_for_several_times_at_once_is_generated_once() -> None:
    asked = Asked(make_setting(), [Words(), Words()])
    first, *others = asked.evaluate(*[CANDIDATES[3]] * 3)
    assert len(asked.recorded) == 1
    assert [partial.rewards for partial in others] == [first.rewards] * 2
    assert sorted(asked.generated) == sorted(of([CANDIDATES[3]], PROMPTS))
    assert len(asked.scored) == len(PROMPTS)


def test_a_part_and_then_the_rest(engines: list[GeneratorClient], plain: Plain) -> None:
    """What is there is neither generated nor scored again; each is a row, the last one of all prompts."""
    asked, row = Asked(make_setting(), engines), CANDIDATES[3]
    for places, new in (((2,), (2,)), ((0, 2), (0,)), ((0, 2), ()), (None, (1, 3))):
        before = len(asked.generated)
        [answered] = asked.evaluate(row, places=places)
        assert asked.generated[before:] == of([row], [PROMPTS[place] for place in new])
        assert len(asked.scored) == len(asked.generated)
        texts = [plain[row][place].completion for place in places or range(len(PROMPTS))]
        assert answered.rewards == [[len(text), sum(letter in "aeiou" for letter in text)] for text in texts]
        assert answered.evaluation.n_prompts == len(texts)
    assert [(found.status, found.n_prompts) for found in asked.recorded] == [("partial", 1), ("partial", 2), ("ok", 4)]


def test_what_earlier_runs_answered_is_not_asked_for() -> None:
    """Nor what they scored: the reward here would fail."""
    before = Asked(make_setting(), [Words()])
    before.evaluate(*CANDIDATES[:2])
    before.evaluate(CANDIDATES[2], places=(0, 1))
    rows = before.recorded
    after = Asked(make_setting(), [Words()], broken, KnownAnswers(rows))
    again = [partial.evaluation for partial in after.evaluate(*CANDIDATES[:2])]
    assert [row.status for row in again] == ["ok", "ok"]
    assert {row.candidate: row.reward_mean for row in again} == {row.candidate: row.reward_mean for row in rows[:2]}
    assert after.generated == []
    goes_on = Asked(make_setting(), [Words()], known=KnownAnswers(rows))
    goes_on.evaluate(CANDIDATES[2])
    assert goes_on.generated == of([CANDIDATES[2]], PROMPTS[2:])
    other_version = Asked(make_setting(first="length 2"), [Words()], known=KnownAnswers(rows))
    other_version.evaluate(CANDIDATES[0])
    assert (other_version.generated, len(other_version.scored)) == ([], len(PROMPTS))


def test_prompts_that_repeat_are_asked_once_and_count_twice() -> None:
    asked = Asked(make_setting(prompts=[PROMPTS[0], PROMPTS[1], PROMPTS[0]]), [Words()])
    [partial] = asked.evaluate(CANDIDATES[1])
    assert partial.rewards[0] == partial.rewards[2]
    assert sorted(asked.generated) == sorted(of([CANDIDATES[1]], PROMPTS[:2]))


def test_a_failing_reward_fails_its_candidate_only(engines: list[GeneratorClient], plain: Plain) -> None:
    """Raising, a wrong length and NaN are typed failures with their cause; the other candidate is scored."""
    ways = dict(zip(CANDIDATES, ("raises", "loses", "is nan"), strict=False))
    dislikes = {plain[row][2].completion: way for row, way in ways.items()}
    assert not set(dislikes) & {generation.completion for generation in plain[CANDIDATES[3]]}

    def picky(prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
        scores = length(prompts, completions)
        for completion in completions:
            if dislikes.get(completion) == "raises":
                raise KeyError("no such mood")
            if dislikes.get(completion) == "loses":
                return scores[:-1]
        return [float("nan") if text in dislikes else number for text, number in zip(completions, scores, strict=True)]

    asked = Asked(make_setting("picky"), engines, picky)
    raised, lost, nan, fine = (partial.evaluation for partial in asked.evaluate(*CANDIDATES))
    assert (raised.failure, raised.error) == ("reward_raised", "reward of 'first' KeyError: 'no such mood'")
    assert (lost.failure, lost.error) == ("reward_length", "reward of 'first' returned 3 scores for 4 completions")
    assert (nan.failure, nan.error) == ("reward_not_finite", "reward of 'first' returned nan for completion 2")
    assert (fine.status, fine.failure) == ("ok", None)
    assert raised.reward_mean == lost.reward_mean == nan.reward_mean == {}
    assert {row.candidate: row.failure for row in asked.recorded} == {
        row.candidate: row.failure for row in (raised, lost, nan, fine)
    }


def test_who_asks_again_gets_the_same_and_nothing_is_recorded_twice() -> None:
    """The search asks ahead of its trials, and a trial that died is tried again; a failure stays one, too."""
    asked = Asked(make_setting("broken"), [Words(), Words()], broken)
    partials = [*asked.evaluate(*[CANDIDATES[1]] * 3), *asked.evaluate(CANDIDATES[1])]
    assert {partial.evaluation.failure for partial in partials} == {"reward_raised"}
    assert [partial.rewards for partial in partials] == [[]] * 4
    assert len(asked.generated) == len(PROMPTS)
    assert [row.status for row in asked.recorded] == ["failed"]


def test_constraints_are_measured_beside_the_values(
    engines: list[GeneratorClient], make_engine: Callable[[], LocalGenerator], plain: Plain
) -> None:
    """The likelihood under the base model by the engine, other rewards as those of values; both are known later."""
    limits = {"base_nll": Limit(max=9.0), "size": Limit(min=0.0, reward="size 1")}
    setting, row = make_setting(constraints=limits), CANDIDATES[3]
    asked = Asked(setting, engines, extra={"size": length})
    [partial] = asked.evaluate(row)
    nll = [measured["base_nll"] for measured in make_engine().measure(["base_nll"], plain[row])]
    assert partial.evaluation.metrics["base_nll"] == pytest.approx(sum(nll) / len(nll), abs=1e-6)
    assert partial.evaluation.metrics["size"] == partial.evaluation.reward_mean["first"]
    [recorded] = asked.recorded
    assert [scored.metrics["base_nll"] for scored in recorded.generations] == pytest.approx(nll, abs=1e-6)
    again = Asked(setting, engines, known=KnownAnswers([recorded]), extra={"size": length})
    [second] = again.evaluate(row)
    assert (again.generated, again.scored) == ([], [])
    assert second.evaluation.metrics == partial.evaluation.metrics


def test_a_metric_that_is_not_asked_for_is_kept_where_all_answers_have_it() -> None:
    """An earlier run measured some of them: no candidate has a mean of a part."""
    limited = Asked(make_setting(constraints={"base_nll": Limit(max=9.0)}), [Words()])
    limited.evaluate(CANDIDATES[0])
    limited.evaluate(CANDIDATES[1], places=(0, 1))
    free = Asked(make_setting(), [Words()], known=KnownAnswers(limited.recorded))
    whole, part = (partial.evaluation for partial in free.evaluate(*CANDIDATES[:2]))
    assert whole.metrics == limited.recorded[0].metrics
    assert "base_nll" not in part.metrics


def test_a_candidate_that_ends_the_generator_fails_alone() -> None:
    """And is a row that says so; what was answered beside it is answered."""
    asked = Asked(make_setting(), [Fragile(deadly=[1.0])], piece=2)
    evaluations = [partial.evaluation for partial in asked.evaluate(*CANDIDATES)]
    assert [row.failure for row in evaluations] == [None, "actor_died", None, None]
    assert sorted(row.status for row in asked.recorded) == ["failed", "ok", "ok", "ok"]


def test_a_text_that_ends_the_reward_fails_its_candidate_alone() -> None:
    """And is a row that says so, with the text."""
    poison = f"{list(CANDIDATES[1])} to {PROMPTS[1]}"
    asked = Asked(make_setting(), [Words()])
    asked.rewards["first"].deadly = {poison}
    evaluations = [partial.evaluation for partial in asked.evaluate(*CANDIDATES)]
    assert [row.failure for row in evaluations] == [None, "reward_died", None, None]
    assert poison in str(evaluations[1].error)
    assert sorted(row.status for row in asked.recorded) == ["failed", "ok", "ok", "ok"]


class Down(Words):
    """No server."""

    async def answer(self, requests: Sequence[tuple[Coefficients, str]]) -> list[Answer]:
        raise RunError("the server is down")


def test_what_no_candidate_can_get_over_is_no_failure_of_one() -> None:
    """It is raised, not recorded; who asks again later may have more luck."""
    asked = Asked(make_setting(), [Down()])
    for attempt in (1, 2):
        with pytest.raises(RunError, match="the server is down"):
            asked.evaluate(CANDIDATES[0])
        assert len(asked.generated) == attempt * len(PROMPTS)
    assert asked.recorded == []


def test_engine_seconds_are_a_mean_over_generators() -> None:
    class Worked(Words):
        def __init__(self, seconds: float | None) -> None:
            self._seconds = seconds

        async def busy_seconds(self) -> float:
            if self._seconds is None:
                raise RunError("it died for good: idle")
            return self._seconds

    asked = Asked(make_setting(), [Worked(3.0), Worked(None), Worked(6.0)])
    assert asked.run(asked.broker.engine_seconds()) == 3.0
    asked.run(asyncio.wait_for(asked.broker.ready(), 5))

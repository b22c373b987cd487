"""The search on real Tune: parts of the prompts, failures and processes that live as long as the search."""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
from ray.actor import ActorHandle

from mva_ray.errors import CandidateFailure, RunError
from mva_ray.evaluation.broker import Places
from mva_ray.evaluation.evaluate import EvaluationSetting, failed, succeeded
from mva_ray.records import Coefficients, Evaluation, Generation, Proposal
from mva_ray.search.ray_search import run_search
from mva_ray.search.ray_trial import ProposalQueue
from mva_ray.search.results import Reader
from mva_ray.search.rounds import Rounds
from tests.support.surfaces import Scripted

pytestmark = pytest.mark.usefixtures("local_ray")

SETTING = EvaluationSetting("now", "search", ("p",) * 12, ("a", "b"), "org/tiny", {"a": "1", "b": "2"}, {}, 0)
READER = Reader(SETTING.values)
FAILS, KILLS_ITS_TRIAL, PART = (0.0, 3.0), (0.0, 4.0), (9.0, 9.0)
PROMPTS = (1, 4, 5)
GENERATIONS = [
    [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0)],
    [FAILS, PART, KILLS_ITS_TRIAL, (0.5, 0.5)],
    [(0.4, 0.4), (0.3, 0.3)],
]


@dataclass(frozen=True)
class Answer:
    """What the evaluation broker returns."""

    evaluation: Evaluation
    rewards: list[list[float]]


class Broker:
    """Answers at once; rewards fall with the coefficients' distance from 0, on both values."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self.asked: list[tuple[Coefficients, Places | None]] = []

    async def evaluate(self, split: str, coefficients: Coefficients, places: Places | None) -> Answer:
        self.asked.append((coefficients, places))
        if coefficients == FAILS:
            return Answer(failed(SETTING, coefficients, CandidateFailure("reward_raised", "no luck"), 0.0), [])
        if coefficients == KILLS_ITS_TRIAL and not self._scratch.exists():
            self._scratch.touch()
            raise RuntimeError("the broker is out of order")
        levels = np.random.default_rng(0).normal(0, 0.1, (12, 2))
        rewards = (levels - np.abs([coefficients]).sum())[list(places or range(12))].tolist()
        columns = dict(zip("ab", np.array(rewards).T.tolist(), strict=True))
        generations = [Generation("p", "x", 1, False)] * len(rewards)
        return Answer(succeeded(SETTING, coefficients, generations, columns, 0.0), rewards)

    async def ready(self) -> None:
        """At once."""

    async def engine_seconds(self) -> float:
        return 1.5

    async def seen(self) -> list[Any]:
        return self.asked


class Asking(Scripted):
    """Asks for one candidate on some prompts."""

    def ask(self) -> list[Proposal]:
        return [replace(asked, prompts=PROMPTS) if asked.coefficients == PART else asked for asked in super().ask()]


@pytest.fixture(scope="module")
def search(local_ray: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One search of three generations, and all that was seen of it."""
    scratch = tmp_path_factory.mktemp("search")
    broker = ray.remote(Broker).options(num_cpus=0, max_concurrency=100).remote(scratch / "died")
    proposer, done = Asking(GENERATIONS), list[float]()
    rounds = Rounds(proposer)
    seconds = run_search(rounds, READER, broker, 3, 0, scratch, lambda: done.append(time.monotonic()))
    asked = ray.get(broker.seen.remote())
    return {
        "proposer": proposer,
        "rounds": rounds,
        "seconds": seconds,
        "done": done,
        "seconds_after_the_last": time.monotonic() - done[-1],
        "asked": asked,
        "storage": scratch,
    }


def test_every_candidate_is_told_once_in_the_order_of_its_proposal(search: dict[str, Any]) -> None:
    rows = [row for generation in GENERATIONS for row in generation]
    assert [outcome.coefficients for outcome in search["proposer"].outcomes] == rows
    assert len(search["done"]) == len(rows), "trials that got no candidate do not count"
    assert search["rounds"].finished
    assert search["seconds"] == 1.5, "what the broker says that the engine worked"


def test_a_candidate_answers_the_prompts_that_are_asked_for_and_is_told_with_them(search: dict[str, Any]) -> None:
    told = {outcome.coefficients: outcome for outcome in search["proposer"].outcomes}
    levels = np.random.default_rng(0).normal(0, 0.1, (12, 2))[list(PROMPTS)]
    assert dict(search["asked"]) == {row: PROMPTS if row == PART else None for rows in GENERATIONS for row in rows}
    assert told[PART].rewards == pytest.approx(tuple(levels.mean(axis=0) - 18))
    assert told[PART].answers == {place: tuple(row) for place, row in zip(PROMPTS, levels - 18, strict=True)}
    assert told[FAILS].rewards is None


def test_a_trial_whose_call_raised_is_tried_again(search: dict[str, Any]) -> None:
    told = {outcome.coefficients: outcome for outcome in search["proposer"].outcomes}
    assert told[KILLS_ITS_TRIAL].rewards is not None
    assert search["rounds"].too_many_failed is None


def test_tune_leaves_no_log_behind_and_no_wait(search: dict[str, Any]) -> None:
    """Its tear-down waits ten seconds for processes that are stopped while they start: none may be."""
    assert not list(search["storage"].rglob("result.json"))
    assert search["seconds_after_the_last"] < 9


class DownBroker:
    """Nothing can be evaluated: its server is gone."""

    def __init__(self) -> None:
        self.asked: list[Coefficients] = []

    async def evaluate(self, split: str, coefficients: Coefficients, places: Places | None) -> Answer:
        self.asked.append(coefficients)
        raise RunError("the server fails")

    async def ready(self) -> None:
        """At once."""

    async def seen(self) -> list[Coefficients]:
        return self.asked


def test_an_error_of_the_run_ends_the_search_at_once(local_ray: None, tmp_path: Path) -> None:
    """No trial is tried again, and the next generation never comes."""
    broker = ray.remote(DownBroker).options(num_cpus=0, max_concurrency=100).remote()
    proposer = Scripted(GENERATIONS)
    with pytest.raises(RunError, match=r"^the server fails$"):
        run_search(Rounds(proposer), READER, broker, 3, 0, tmp_path, lambda: None)
    asked = ray.get(broker.seen.remote())
    assert len(asked) == len(set(asked)) <= 3
    assert proposer.outcomes == []


def test_a_place_waits_for_its_proposal_or_for_the_end() -> None:
    queue = ray.remote(ProposalQueue).options(num_cpus=0, max_concurrency=10).remote(None, 0)
    first, second = queue.at.remote(0), queue.at.remote(1)
    assert ray.wait([first, second], num_returns=2, timeout=0.2)[0] == []
    ray.get(queue.extend.remote([Proposal((0.5,), (4, 2))], False))
    assert ray.get(first, timeout=10) == Proposal((0.5,), (4, 2))
    assert ray.wait([second], timeout=0.2)[0] == []
    ray.get(queue.extend.remote([], True))
    assert ray.get(second, timeout=10) is None


def test_the_broker_is_asked_ahead_of_the_trials(tmp_path: Path) -> None:
    """For the next proposals; one more with each place that is taken, and for none twice."""
    broker = ray.remote(Broker).options(num_cpus=0).remote(tmp_path / "died")
    queue = ray.remote(ProposalQueue).options(num_cpus=0).remote(broker, 2)
    rows: list[Coefficients] = [(float(number), 0.0) for number in range(4)]
    ray.get(queue.extend.remote([Proposal(rows[0], (4, 2)), None, *map(Proposal, rows[1:])], False))
    expected: list[tuple[Coefficients, Places | None]] = [(rows[0], (4, 2))]
    assert asked_within(broker, 1) == expected
    for place, row in ((0, rows[1]), (1, rows[2]), (2, rows[3])):
        ray.get(queue.at.remote(place))
        expected.append((row, None))
        assert asked_within(broker, len(expected)) == expected
    ray.get(queue.at.remote(4))
    assert asked_within(broker, 4) == expected


def asked_within(broker: ActorHandle, count: int) -> list[tuple[Coefficients, Places | None]]:
    """What the broker was asked for, as soon as it is so much."""
    deadline = time.monotonic() + 10
    while True:
        asked: list[tuple[Coefficients, Places | None]] = ray.get(broker.seen.remote())
        if len(asked) >= count or time.monotonic() > deadline:
            return asked

"""How the broker's scorers and its recorder put calls together, step by step in one event loop."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from mva_ray.errors import CandidateFailure
from mva_ray.evaluation.ray_actors import _Recorder, _Scorer
from tests.support.evaluations import ok


class Reward:
    """Stands in for a reward's actor handle: `score.remote` can be awaited. Texts named "bad" cannot be scored."""

    def __init__(self) -> None:
        self.calls: list[Sequence[str]] = []
        self.score = self

    async def remote(self, prompts: Sequence[str], completions: Sequence[str]) -> list[float] | CandidateFailure:
        self.calls.append(completions)
        await asyncio.sleep(0)
        if "bad" in completions:
            return CandidateFailure("reward_raised", "KeyError: 'bad'")
        return [float(len(completion)) for completion in completions]


def score(reward: Reward, *groups: str) -> list[Any]:
    """Each group is a candidate with one text a letter or word."""

    async def run() -> list[Any]:
        scorer = _Scorer("mood", reward)
        texts = [[("prompt", text) for text in group.split()] for group in groups]
        return list(await asyncio.gather(*map(scorer.score, texts), return_exceptions=True))

    return asyncio.run(run())


def test_candidates_that_wait_are_scored_in_one_call() -> None:
    reward = Reward()
    assert score(reward, "a bb", "ccc", "dddd e") == [[1.0, 2.0], [3.0], [4.0, 1.0]]
    assert reward.calls == [("a", "bb"), ("ccc", "dddd", "e")]


def test_a_failure_in_a_common_call_is_of_its_candidate_alone() -> None:
    reward = Reward()
    first, second, third, fourth = score(reward, "a", "b c", "bad d", "e")
    assert [first, second, fourth] == [[1.0], [1.0, 1.0], [1.0]]
    assert str(third) == "reward_raised: reward of 'mood' KeyError: 'bad'"
    assert reward.calls == [("a",), ("b", "c", "bad", "d", "e"), ("b", "c"), ("bad", "d"), ("e",)]


def test_one_that_fails_alone_is_not_asked_again() -> None:
    reward = Reward()
    [failure] = score(reward, "bad")
    assert isinstance(failure, CandidateFailure)
    assert reward.calls == [("bad",)]


class Table:
    """Keeps what is recorded; the first writes may fail."""

    def __init__(self, failures: int = 0) -> None:
        self.batches: list[list[str]] = []
        self._failures = failures

    def append(self, rows: Sequence[Any]) -> None:
        if self._failures:
            self._failures -= 1
            raise OSError("disk full")
        self.batches.append([row.candidate for row in rows])


def record(table: Table, names: str) -> list[Any]:
    async def run() -> list[Any]:
        recorder = _Recorder(table.append)
        rows = [ok(name, {"brief": 1.0}, {"brief": 0.0}) for name in names]
        return list(await asyncio.gather(*map(recorder.record, rows), return_exceptions=True))

    return asyncio.run(run())


def test_rows_that_become_ready_during_a_write_share_the_next() -> None:
    table = Table()
    assert record(table, "abc") == [None, None, None]
    assert table.batches == [["a"], ["b", "c"]]


@pytest.mark.parametrize("failures", [1, 2])
def test_nobody_is_told_that_a_row_is_there_when_it_is_not(failures: int) -> None:
    """Who wrote hears of the error; the next one tries again, with the rows that were left."""
    table = Table(failures)
    results = record(table, "abc")
    assert [isinstance(result, OSError) for result in results] == [True, failures == 2, False]
    assert table.batches == [["a", "b", "c"]]

"""How a scorer puts calls together, step by step in one event loop."""

import asyncio
from collections.abc import Sequence
from typing import Any

from mva_ray.errors import CandidateFailure
from mva_ray.evaluation.scorer import Scorer


class Reward:
    """Scores a text by its length. Texts named "bad" cannot be scored."""

    def __init__(self) -> None:
        self.calls: list[Sequence[str]] = []

    async def score(self, prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
        self.calls.append(completions)
        await asyncio.sleep(0)
        if "bad" in completions:
            raise CandidateFailure("reward_raised", "KeyError: 'bad'")
        return [float(len(completion)) for completion in completions]


def score(reward: Reward, *groups: str) -> list[Any]:
    """Each group is a candidate with one text a letter or word."""

    async def run() -> list[Any]:
        scorer = Scorer("mood", reward)
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

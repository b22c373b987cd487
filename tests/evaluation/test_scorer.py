"""How a scorer puts calls together and finds the one text that is to blame, step by step in one event loop."""

import asyncio
from collections.abc import Callable, Sequence
from math import ceil, log2
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mva_ray.errors import CandidateFailure, RunError
from mva_ray.evaluation.process import ProcessEnded
from mva_ray.evaluation.scorer import IN_A_ROW, MOST, Scorer

DIED = ProcessEnded("reward_died", "ended its process")
TOO_LONG = ProcessEnded("reward_timeout", "took longer than its timeout (5 s)", by_chance=False)


class Reward:
    """Scores a text by its length. Texts named "bad" cannot be scored; `ends` says which calls end its process."""

    truncated = 0

    def __init__(self, ends: Callable[[Sequence[str]], ProcessEnded | None] = lambda texts: None) -> None:
        self.calls: list[Sequence[str]] = []
        self.ended = 0
        self._ends = ends

    async def score(self, prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
        self.calls.append(completions)
        await asyncio.sleep(0)
        if ended := self._ends(completions):
            self.ended += 1
            raise ended
        if "bad" in completions:
            raise CandidateFailure("reward_raised", "KeyError: 'bad'")
        return [float(len(completion)) for completion in completions]


def deadly(*texts: str, ended: ProcessEnded = DIED) -> Callable[[Sequence[str]], ProcessEnded | None]:
    return lambda asked: ended if set(asked) & set(texts) else None


def score(reward: Reward, *groups: str) -> list[Any]:
    """Each group is a candidate with one text a letter or word; all of them wait at once."""
    return rounds(reward, groups)[0]


def rounds(reward: Reward, *rounds: Sequence[str]) -> list[list[Any]]:
    """The same scorer is asked round by round."""

    async def run() -> list[list[Any]]:
        scorer, results = Scorer("mood", reward), []
        for groups in rounds:
            texts = [[("prompt", text) for text in group.split()] for group in groups]
            results.append(list(await asyncio.gather(*map(scorer.score, texts), return_exceptions=True)))
        return results

    return asyncio.run(run())


def test_candidates_that_wait_are_scored_in_one_call() -> None:
    reward = Reward()
    assert score(reward, "a bb", "ccc", "dddd e") == [[1.0, 2.0], [3.0], [4.0, 1.0]]
    assert reward.calls == [("a", "bb"), ("ccc", "dddd", "e")]


def test_a_call_has_so_many_texts_at_most() -> None:
    """Its time limit is for so many; a candidate with more has several calls."""
    reward = Reward()
    [_, many, few] = score(reward, "a", " ".join("x" * (1 + i % 7) for i in range(MOST + 10)), "bb ccc")
    assert many == [float(1 + i % 7) for i in range(MOST + 10)]
    assert few == [2.0, 3.0]
    assert [len(call) for call in reward.calls] == [1, MOST, 12]


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


def candidate(letter: str, count: int = 16) -> str:
    """Texts of a candidate, all different: a0, a1, ..."""
    return " ".join(f"{letter}{number}" for number in range(count))


@pytest.mark.parametrize("culprit", ["b0", "b7", "b15", "e0", "e15"])
@pytest.mark.parametrize("ended", [DIED, TOO_LONG])
def test_a_text_that_ends_the_process_fails_its_candidate_only(culprit: str, ended: ProcessEnded) -> None:
    reward = Reward(deadly(culprit, ended=ended))
    results = dict(zip("abcde", score(reward, *map(candidate, "abcde")), strict=True))
    failure = results.pop(culprit[0])
    assert isinstance(failure, CandidateFailure)
    assert failure.kind == ended.kind
    assert failure.message == f"reward of 'mood' {ended.message} on the answer '{culprit}' to 'prompt'"
    assert all(scores == [float(len(text)) for text in candidate(name).split()] for name, scores in results.items())
    assert reward.ended <= 3 + ceil(log2(4 * 16))
    assert len(reward.calls) <= 5 + 2 * ceil(log2(4 * 16)), "found by halving"


def test_a_process_that_ends_once_is_nobodys_fault() -> None:
    """A machine that was lost: the same call is asked again, whole."""
    accidents = [None, DIED]
    reward = Reward(lambda texts: accidents.pop(0) if accidents else None)
    assert score(reward, "a", "bb ccc", "d") == [[1.0], [2.0, 3.0], [1.0]]
    assert reward.calls == [("a",), ("bb", "ccc", "d"), ("bb", "ccc", "d")]


def test_a_call_that_took_too_long_is_not_waited_for_twice() -> None:
    reward = Reward(deadly("slow", ended=TOO_LONG))
    [failure] = score(reward, "slow")
    assert failure.kind == "reward_timeout"
    assert reward.calls == [("slow",)]


def test_two_culprits_are_both_found() -> None:
    reward = Reward(deadly("b3", "d9"))
    a, b, c, d = score(reward, *map(candidate, "abcd"))
    assert [type(result) for result in (a, b, c, d)] == [list, CandidateFailure, list, CandidateFailure]
    assert "'b3'" in str(b)
    assert "'d9'" in str(d)


def test_a_culprit_is_remembered_and_not_asked_again() -> None:
    """By text: it fails other candidates that say the same, too, now and later."""
    reward = Reward(deadly("poison"))
    [_, first, same], [later, fine] = rounds(reward, ["a", "poison b", "c poison"], ["d poison e", "f"])
    assert [failure.kind for failure in (first, same, later)] == ["reward_died"] * 3
    assert fine == [1.0]
    assert [call for call in reward.calls if "poison" in call][-1] == ("poison",)
    assert reward.calls[-1] == ("f",)


def test_what_is_too_much_at_once_is_nobodys_fault_and_asked_in_smaller_calls() -> None:
    """Memory or time that is short for many texts: all of them are scored, and the next calls are smaller."""
    reward = Reward(lambda texts: DIED if len(texts) > 10 else None)
    first, second = rounds(reward, [candidate("a", 64)], [candidate("b", 64)])
    assert [len(scores) for scores in (first[0], second[0])] == [64, 64]
    assert max(len(call) for call in reward.calls[-8:]) <= 8
    assert reward.ended <= 8, "none of them by the second candidate"


def test_a_reward_that_ends_over_everything_is_not_asked_for_ever() -> None:
    """After a few texts in a row it is not the texts: no further candidate fails for what is not its fault."""
    reward = Reward(lambda texts: DIED)
    first, *others = score(reward, *map(candidate, "abcdefgh"))
    assert first.kind == "reward_died"
    assert [type(other) for other in others] == [CandidateFailure] * (IN_A_ROW - 2) + [RunError] * (8 - IN_A_ROW + 1)
    assert str(others[-1]).endswith("and on 2 other texts before it: it is not the texts")
    assert reward.ended < 30


def test_a_reward_that_does_not_start_is_said_to_all_who_wait() -> None:
    class Absent(Reward):
        async def score(self, prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
            await asyncio.sleep(0)
            raise RunError("the reward of 'mood' does not start")

    results = score(Absent(), "a", "b", "c")
    assert [str(result) for result in results] == ["the reward of 'mood' does not start"] * 3


def test_long_texts_are_shortened_in_errors() -> None:
    culprit = "x" * 5000
    [failure] = score(Reward(deadly(culprit)), culprit)
    assert len(str(failure)) < 200
    assert "xxx…' to 'prompt'" in str(failure)


GROUPS = st.lists(st.lists(st.integers(0, 40), min_size=1, max_size=40), min_size=1, max_size=6)


@given(GROUPS, st.sets(st.integers(0, 40), max_size=2), st.integers(0, 1))
def test_whoever_waits_gets_scores_or_the_failure_of_a_text_of_its_own(
    groups: list[list[int]], guilty: set[int], accidents: int
) -> None:
    left = [DIED] * accidents
    poison = {f"t{number}" for number in guilty}

    def ends(texts: Sequence[str]) -> ProcessEnded | None:
        return DIED if poison & set(texts) else left.pop() if left else None

    reward = Reward(ends)
    results = score(reward, *(" ".join(f"t{number}" for number in group) for group in groups))
    for group, result in zip(groups, results, strict=True):
        if guilty & set(group):
            assert isinstance(result, CandidateFailure)
            assert any(f"the answer 't{number}'" in str(result) for number in guilty & set(group))
        else:
            assert result == [float(len(f"t{number}")) for number in group]
    assert reward.ended <= accidents + len(guilty) * (4 + ceil(log2(MOST)))

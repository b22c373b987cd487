"""Yardsticks by hand: what is asked for in words, and which of several answers a preference gets."""

import pytest

from mva_ray.compare.yardsticks import Answers, arranged, best_of, prompting, wishes
from mva_ray.records import Generation

LABELS = {"brief": "Be short.", "warm": "Be kind.", "plain": "Use simple words."}


def answers(brief: list[list[float]], warm: list[list[float]], cut: bool = False) -> Answers:
    return Answers(
        completions=[[f"{row}.{place}" for place in range(len(of_prompt))] for row, of_prompt in enumerate(brief)],
        truncated=[[cut and place == 0 for place in range(len(of_prompt))] for of_prompt in brief],
        rewards={"brief": brief, "warm": warm},
    )


def test_each_value_each_two_and_all_are_asked_for() -> None:
    asked = wishes(LABELS)
    assert list(asked) == [
        *("brief", "warm", "plain"),
        *("brief and warm", "brief and plain", "warm and plain"),
        "brief and warm and plain",
    ]
    assert asked["brief and plain"] == "Be short. Use simple words."
    assert list(wishes({"brief": "Be short.", "warm": "Be kind."})) == ["brief", "warm", "brief and warm"]
    assert len(wishes({f"v{number}": "w" for number in range(8)})) == 8 + 28 + 1


def test_a_preference_gets_its_best_answer_to_each_prompt() -> None:
    """Warmth counts in tenths, and a standard deviation of it is as much as one of brevity."""
    search = answers([[0.0, 2.0], [0.0, 2.0]], [[0.2, 0.0], [0.2, 0.0]])
    held_out = answers([[0.0, 1.0, 5.0]], [[0.9, 0.85, 0.0]], cut=True)
    preferences = [{"warm": warm, "brief": 1 - warm} for warm in (0.0, 0.5, 1.0)]
    brief, even, warm = best_of({"search": search, "held_out": held_out}, preferences)
    assert brief.rewards == {"brief": [5.0], "warm": [0.0]}
    assert even.rewards == {"brief": [1.0], "warm": [0.85]}
    assert warm.rewards == {"brief": [0.0], "warm": [0.9]}
    assert (even.completions, warm.completions) == (["0.1"], ["0.0"])
    assert (even.cut_off, warm.cut_off) == (0.0, 1.0)
    assert brief.search_means == {"brief": 2.0, "warm": 0.0}
    assert warm.search_means == {"brief": 0.0, "warm": 0.2}
    assert even.preference == {"warm": 0.5, "brief": 0.5}


def test_a_value_that_never_differs_decides_nothing() -> None:
    same = answers([[1.0, 1.0]], [[0.1, 0.3]])
    (found,) = best_of({"search": same, "held_out": same}, [{"brief": 0.9, "warm": 0.1}])
    assert found.completions == ["0.1"]


def test_a_wish_is_a_candidate_by_its_only_answers() -> None:
    one = {"search": answers([[1.0], [3.0]], [[0.0], [0.0]]), "held_out": answers([[2.0]], [[0.5]])}
    (found,) = prompting({"brief": one})
    assert (found.label, found.preference) == ("brief", {})
    assert found.search_means == {"brief": 2.0, "warm": 0.0}
    assert found.rewards == {"brief": [2.0], "warm": [0.5]}


def test_answers_come_back_by_what_was_asked_for_and_by_split() -> None:
    prompts = {"search": ["a", "b"], "held_out": ["c"]}
    rows = [
        [Generation(prompt, f"{label} {prompt}", tokens=3, truncated=prompt == "b")]
        for label in ("x", "y")
        for prompt in "abc"
    ]
    rewards = {"brief": [[float(place)] for place in range(6)], "warm": [[-float(place)] for place in range(6)]}
    found = arranged(["x", "y"], prompts, rows, rewards)
    assert found["x"]["search"].completions == [["x a"], ["x b"]]
    assert found["x"]["search"].truncated == [[False], [True]]
    assert found["y"]["search"].rewards == {"brief": [[3.0], [4.0]], "warm": [[-3.0], [-4.0]]}
    assert found["y"]["held_out"] == Answers(
        completions=[["y c"]], truncated=[[False]], rewards={"brief": [[5.0]], "warm": [[-5.0]]}
    )
    for fewer in (rows[:-1], [*rows, rows[0]]):
        with pytest.raises(ValueError, match="zip"):
            arranged(["x", "y"], prompts, fewer, rewards)

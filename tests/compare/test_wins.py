"""Which candidates meet, and who wins, by hand."""

from pathlib import Path

import numpy as np
import pytest

from mva_ray.compare.results import Candidate, ComparisonResult, JudgedPair, JudgeResult, MethodResult
from mva_ray.compare.wins import choose, criteria, judge_methods, judged_wins, reward_wins
from mva_ray.config.compare import JudgeSettings
from tests.support.comparisons import make_result
from tests.support.judges import endpoint

EQUAL = {"x": 1.0, "y": 1.0}


def candidate(x: list[float], y: list[float], **more: dict[str, float]) -> Candidate:
    return Candidate(label=f"{x}", rewards={"x": x, "y": y}, **more)  # type: ignore[arg-type]


def comparison(methods: dict[tuple[str, int], list[Candidate]]) -> ComparisonResult:
    return ComparisonResult(
        name="n",
        base_model="b",
        command="c",
        values=["x", "y"],
        seeds=[0, 1],
        prompts=["p", "q"],
        prompts_hash="h",
        base={"x": [0, 0], "y": [0, 0]},
        methods=[
            MethodResult(name=name, title=name.upper(), description="", seed=seed, candidates=candidates)
            for (name, seed), candidates in methods.items()
        ],
    )


BALANCED, LEFT, RIGHT = candidate([2, 2], [2, 2]), candidate([4, 4], [0, 0]), candidate([0, 0], [4, 4])


def test_preference_weights_choose() -> None:
    result = comparison({("a", 0): [LEFT, BALANCED, RIGHT]})
    assert choose(result, EQUAL)["a", 0] is BALANCED
    assert choose(result, {"x": 1.0})["a", 0] is LEFT
    assert choose(result, {"x": 0.1, "y": 0.9})["a", 0] is RIGHT


def test_candidates_are_chosen_on_the_search_split_where_all_were_scored_there() -> None:
    lucky = candidate([9, 9], [9, 9], search_means={"x": 0, "y": 0})
    good = candidate([1, 1], [1, 1], search_means={"x": 5, "y": 5})
    assert choose(comparison({("a", 0): [lucky, good]}), EQUAL)["a", 0] is good
    assert choose(comparison({("a", 0): [lucky, good, BALANCED]}), EQUAL)["a", 0] is lucky


def test_reward_wins_by_hand() -> None:
    """x has twice the spread of y, so equal weights halve it: 2/2 + 1 against 0 + 0, then a tie."""
    first, second = candidate([4, 0], [1, 0]), candidate([0, 0], [0, 0])
    wins = reward_wins(comparison({("a", 0): [first], ("b", 0): [second]}), EQUAL)
    assert wins[0, 1] == 0.75
    assert wins[1, 0] == 0.25
    assert np.isnan(wins[0, 0])


def test_a_reward_of_another_unit_does_not_decide_alone() -> None:
    first, second = candidate([1000, 1000], [0, 0]), candidate([0, 0], [1, 1])
    assert reward_wins(comparison({("a", 0): [first], ("b", 0): [second]}), EQUAL)[0, 1] == 0.5


def test_wins_are_paired_by_seed_and_missing_without_a_common_one() -> None:
    result = comparison({("a", 0): [LEFT], ("a", 1): [BALANCED], ("b", 0): [LEFT], ("b", 1): [LEFT], ("c", 1): []})
    wins = reward_wins(result, {"x": 1.0})
    assert wins[0, 1] == 0.25  # a tie with seed 0, lost with seed 1
    assert np.isnan(wins[2]).all()


def test_without_methods() -> None:
    assert reward_wins(comparison({}), EQUAL).shape == (0, 0)


def test_judged_wins_leave_missing_answers_out() -> None:
    pair = JudgedPair(first="a", second="b", seed=0, first_wins=2, second_wins=1, ties=1, contradictions=1, missing=6)
    nothing = pair.model_copy(update={"second": "c", "first_wins": 0, "second_wins": 0, "ties": 0})
    result = comparison({(name, 0): [LEFT] for name in "abc"}).model_copy(
        update={"judge": JudgeResult(model="m", preference=EQUAL, pairs=[pair, nothing])}
    )
    wins = judged_wins(result)
    assert wins[0, 1] == pytest.approx(2.5 / 4)
    assert wins[1, 0] == pytest.approx(1.5 / 4)
    assert np.isnan(wins[0, 2])


def test_criteria_for_the_judge() -> None:
    text = criteria({"x": 1, "y": 3, "z": 0}, {"y": "kind to the reader"})
    assert text == "an answer should be kind to the reader (weight 75 %), and x (weight 25 %)."


def test_judging_methods_asks_about_every_prompt_of_every_pair(tmp_path: Path) -> None:
    result = make_result(prompts=3, layers=1)
    result = result.model_copy(update={"methods": result.methods[:3], "seeds": [11]})
    with endpoint(lambda a, b, n: "[[A]]" if a > b else "[[B]]") as server:
        settings = JudgeSettings(base_url=server.url, model="m")
        judged = judge_methods(result, {"brief": 1, "thorough": 1}, settings, tmp_path)
    assert [(pair.first, pair.second, pair.seed) for pair in judged.pairs] == [
        ("mva", "mva_no_hsic", 11),
        ("mva", "mva_convex", 11),
        ("mva_no_hsic", "mva_convex", 11),
    ]
    assert all(pair.first_wins + pair.second_wins + pair.ties + pair.missing == 3 for pair in judged.pairs)
    assert len(server.asked) == 18

"""From generations and rewards to a row of the Pareto table: the arithmetic by hand, ids, and failures."""

from dataclasses import replace
from datetime import UTC, datetime
from math import copysign, sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mva_ray.constraints import Limit
from mva_ray.errors import CandidateFailure
from mva_ray.evaluation.evaluate import EvaluationSetting, candidate_id, failed, on_prompts, succeeded
from mva_ray.records import Generation, ScoredGeneration, rounded

SETTING = EvaluationSetting(
    context="now",
    split="search",
    prompts=("a", "b", "c", "d"),
    values=("warm", "brief"),
    base_model="org/tiny",
    adapters={"warm": "ab", "brief": "cd"},
    rewards={"warm": "m:warm@1", "brief": "m:brief@2"},
    seed=3,
)
GENERATIONS = [
    Generation("a", "yes", 1, False),
    Generation("b", "yes yes", 2, True),
    Generation("c", "", 0, False),
    Generation("d", "no no no", 3, True),
]
REWARDS = {"warm": [1.0, 2.0, 3.0, 6.0], "brief": [-1.0, -1.0, -1.0, -1.0]}
finite = st.floats(-1e6, 1e6)


def test_mean_and_standard_error_by_hand() -> None:
    """Mean 3, squared deviations 4 + 1 + 0 + 9 = 14, variance 14 / 3, error sqrt(14 / 3 / 4)."""
    row = succeeded(SETTING, (1, -0.5), GENERATIONS, REWARDS, seconds=2.5)
    assert row.status == "ok"
    assert row.reward_mean == {"warm": 3.0, "brief": -1.0}
    assert row.reward_se == {"warm": pytest.approx(sqrt(14 / 12)), "brief": 0.0}
    assert (row.metrics["tokens"], row.metrics["truncated"]) == (1.5, 0.5)
    assert (row.failure, row.error, row.seconds) == (None, None, 2.5)


def test_a_single_prompt_has_no_spread() -> None:
    setting = replace(SETTING, prompts=("a",))
    row = succeeded(setting, (0, 0), GENERATIONS[:1], {"warm": [0.25], "brief": [-2.0]}, 1.0)
    assert row.reward_mean == {"warm": 0.25, "brief": -2.0}
    assert row.reward_se == {"warm": 0.0, "brief": 0.0}
    assert row.n_prompts == 1


def test_every_generation_keeps_its_own_rewards() -> None:
    row = succeeded(SETTING, (0, 0), GENERATIONS, REWARDS, 1.0)
    assert row.generations == tuple(
        ScoredGeneration(generation, {"warm": warm, "brief": -1.0})
        for generation, warm in zip(GENERATIONS, REWARDS["warm"], strict=True)
    )


def test_metrics_are_means_over_the_prompts_and_what_no_text_tells_is_kept_with_each() -> None:
    metrics = {"base_nll": [1.0, 2.0, 3.0, 4.0]}
    row = succeeded(SETTING, (0, 0), GENERATIONS, REWARDS, 1.0, metrics)
    distinct = (1 + 1 / 2 + 0 + 1 / 3) / 4
    assert row.metrics == pytest.approx(
        {"tokens": 1.5, "truncated": 0.5, "repetition": 0.0, "distinct": distinct, "base_nll": 2.5}
    )
    assert [scored.metrics for scored in row.generations] == [{"base_nll": float(nll)} for nll in (1, 2, 3, 4)]


def test_a_partial_evaluation_has_the_means_of_the_prompts_it_answered() -> None:
    """Mean of 1 and 2; squared deviations 1/4 + 1/4, variance 1/2, error sqrt(1/2 / 2) = 1/2."""
    first = {value: numbers[:2] for value, numbers in REWARDS.items()}
    row = succeeded(SETTING, (0, 0), GENERATIONS[:2], first, 1.0)
    assert (row.status, row.n_prompts, row.failure, row.error) == ("partial", 2, None, None)
    assert row.reward_mean["warm"] == 1.5
    assert row.reward_se["warm"] == pytest.approx(0.5)
    assert row.prompts_hash == SETTING.prompts_hash, "it stays a row of the whole split"
    assert [scored.generation for scored in row.generations] == GENERATIONS[:2]


def test_a_row_on_some_of_its_prompts_is_what_these_alone_would_have_given() -> None:
    """To the bit, since a search that goes on is told it again."""
    nll = {"base_nll": [1.0, 2.0, 3.0, 4.0]}
    whole = succeeded(SETTING, (0.5, 1), GENERATIONS, REWARDS, 1.0, nll)
    part = on_prompts(SETTING, whole, ["c", "a"])
    alone = succeeded(
        SETTING,
        (0.5, 1),
        [GENERATIONS[2], GENERATIONS[0]],
        {value: [numbers[2], numbers[0]] for value, numbers in REWARDS.items()},
        1.0,
        {"base_nll": [3.0, 1.0]},
    )
    assert part
    assert replace(part, created_at=alone.created_at) == alone
    assert on_prompts(SETTING, part, SETTING.prompts) is None


def test_a_row_names_its_generator_and_every_reward_that_scored_it() -> None:
    limits = {"fluency": Limit(min=0.1, reward="m:fluency 3"), "base_nll": Limit(max=3.5)}
    setting = replace(SETTING, generator="tiny 40", constraints=limits)
    row = succeeded(setting, (0, 0), GENERATIONS, REWARDS, 1.0, {"fluency": [0.0, 0.1, 0.2, 0.3]})
    assert row.generator == "tiny 40"
    assert row.rewards == {**SETTING.rewards, "fluency": "m:fluency 3"}
    assert row.metrics["fluency"] == pytest.approx(0.15)


def test_a_failed_candidate_is_a_row_with_its_reason_and_no_rewards() -> None:
    row = failed(SETTING, (0.5, 0), CandidateFailure("reward_length", "returned 3 scores"), seconds=0.5)
    assert (row.status, row.failure, row.error) == ("failed", "reward_length", "returned 3 scores")
    assert (row.reward_mean, row.reward_se, row.generations) == ({}, {}, ())
    assert row.metrics == {}


def test_failed_and_successful_rows_share_what_names_them() -> None:
    weights = (0.123456, -0.0)
    good = succeeded(SETTING, weights, GENERATIONS, REWARDS, 1.0)
    bad = failed(SETTING, weights, CandidateFailure("reward_raised", "x"), 1.0)
    for row in (good, bad):
        assert row.candidate == candidate_id(SETTING.values, weights)
        assert row.coefficients == {"warm": 0.1235, "brief": 0.0}
        assert (row.context, row.split, row.n_prompts, row.seed) == ("now", "search", 4, 3)
        assert row.prompts_hash == SETTING.prompts_hash
        assert row.adapters == SETTING.adapters
        assert row.rewards == SETTING.rewards
        assert row.base_model == "org/tiny"
        assert abs((datetime.now(UTC) - row.created_at).total_seconds()) < 60


def test_a_wrong_number_of_coefficients_is_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        succeeded(SETTING, (1.0,), GENERATIONS, REWARDS, 1.0)


def test_candidate_ids_are_the_same_in_every_run_and_version() -> None:
    """People quote these ids: a change here would break every reference to an existing table."""
    assert candidate_id(("warm", "brief"), (0.0, 0.0)) == "117d326a"
    assert candidate_id(("warm", "brief"), (1.0, 0.5)) == "228579f6"
    assert candidate_id(("warm", "brief"), (1, 0.5)) == "228579f6"
    assert candidate_id(("warm", "brief"), (1.00001, 0.5)) == "228579f6"


def test_candidate_ids_tell_coefficients_and_values_apart() -> None:
    ids = [
        candidate_id(values, weights)
        for values in (("warm", "brief"), ("brief", "warm"), ("warm", "plain"))
        for weights in ((0, 0), (0, 1), (1, 0), (1, 0.0001), (1, -0.0001))
    ]
    assert len(set(ids)) == len(ids)


@given(st.lists(finite, min_size=1, max_size=5))
def test_rounded_is_four_decimals_without_negative_zero_and_stays_so(numbers: list[float]) -> None:
    once = rounded(numbers)
    assert rounded(once) == once
    assert all(abs(a - b) <= 0.5001e-4 for a, b in zip(once, numbers, strict=True))
    assert all(number != 0 or copysign(1, number) == 1 for number in once)


def test_negative_zero_is_the_base_model() -> None:
    assert [copysign(1, number) for number in rounded((-0.0, -0.00001))] == [1, 1]
    assert candidate_id(("warm",), (-0.0,)) == candidate_id(("warm",), (0,))


@given(st.lists(finite, min_size=2, max_size=20), st.floats(-100, 100))
def test_a_shift_of_all_rewards_moves_the_mean_alone(rewards: list[float], shift: float) -> None:
    setting = replace(SETTING, prompts=tuple("p" * len(rewards)), values=("warm",), adapters={"warm": "ab"})
    generations = [Generation("p", "x", 1, False)] * len(rewards)
    before = succeeded(setting, (1,), generations, {"warm": rewards}, 1.0)
    after = succeeded(setting, (1,), generations, {"warm": [number + shift for number in rewards]}, 1.0)
    assert after.reward_mean["warm"] == pytest.approx(before.reward_mean["warm"] + shift, abs=1e-6)
    assert after.reward_se["warm"] == pytest.approx(before.reward_se["warm"], rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("other", [("a", "b"), ("b", "a", "c"), ("a\nb", "c"), ("a", "b\nc"), ("a\nb\nc",)])
def test_other_prompts_have_another_hash(other: tuple[str, ...]) -> None:
    """Order counts (means of the same prompts are compared prompt by prompt), and so does where a prompt ends."""
    first = replace(SETTING, prompts=("a", "b", "c")).prompts_hash
    assert first == replace(SETTING, prompts=("a", "b", "c"), split="held_out").prompts_hash
    assert replace(SETTING, prompts=other).prompts_hash != first

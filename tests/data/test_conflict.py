"""The conflict of values: in rewards within a prompt, not between prompts, and in opposite preferences."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from mva_ray.data.conflict import Conflict, conflicts, shared_prompts, within_prompt_correlation
from mva_ray.records import PreferencePair, Prompt

Table = NDArray[np.float64]
tables = arrays(np.float64, (4, 3), elements=st.integers(-20, 20).map(float))


def test_differences_between_prompts_do_not_count() -> None:
    """Over all samples these two agree (the second prompt is better on both), within a prompt they are opposed."""
    warm = [[0.0, 1.0], [10.0, 11.0]]
    brief = [[1.0, 0.0], [11.0, 10.0]]
    assert np.corrcoef(np.ravel(warm), np.ravel(brief))[0, 1] > 0.9
    np.testing.assert_allclose(within_prompt_correlation({"warm": warm, "brief": brief}), [[1, -1], [-1, 1]])


def test_by_hand() -> None:
    """Around the mean: (-1, 0, 1) and (-1, 2, -1) / (0, 1, -1): 0 / ..., -1 / 2 and 3 / sqrt(12)."""
    found = within_prompt_correlation({"a": [[1.0, 2.0, 3.0]], "b": [[0.0, 3.0, 0.0]], "c": [[5.0, 6.0, 4.0]]})
    half, root = 0.5, 3 / np.sqrt(12)
    np.testing.assert_allclose(found, [[1, 0, -half], [0, 1, root], [-half, root, 1]], atol=1e-12)


@pytest.mark.filterwarnings("error")
def test_a_value_that_never_varies_within_a_prompt_correlates_with_nothing() -> None:
    found = within_prompt_correlation({"flat": [[2.0, 2.0], [3.0, 3.0]], "warm": [[0.0, 1.0], [1.0, 0.0]]})
    assert found.tolist() == [[1.0, 0.0], [0.0, 1.0]]


def test_prompts_may_have_different_numbers_of_completions() -> None:
    found = within_prompt_correlation(
        {"a": [[0.0, 1.0, 2.0], [5.0], [1.0, 0.0]], "b": [[2.0, 1.0, 0.0], [9.0], [0.0, 1.0]]}
    )
    np.testing.assert_allclose(found, [[1, -1], [-1, 1]])


@given(tables, tables, st.floats(0.1, 10), st.floats(-100, 100))
def test_symmetric_bounded_and_blind_to_scale(one: Table, other: Table, scale: float, shift: float) -> None:
    found = within_prompt_correlation({"a": one.tolist(), "b": other.tolist()})
    assert np.isfinite(found).all()
    assert found[0, 1] == found[1, 0]
    assert abs(found[0, 1]) <= 1 + 1e-9
    moved = within_prompt_correlation({"a": (scale * one + shift).tolist(), "b": (-other).tolist()})
    assert moved[0, 1] == pytest.approx(-found[0, 1], abs=1e-6)


def pair(prompt: Prompt, chosen: str, rejected: str) -> PreferencePair:
    return PreferencePair(prompt, chosen, rejected)


def test_conflicts_by_hand() -> None:
    """Three values: the same two answers are compared, on whatever prompts both have, however they are written."""
    pairs = {
        "a": [pair("p", "x", "y"), pair("q", "x", "y"), pair("r", "x", "y"), pair("only a", "x", "y")],
        "b": [pair(" p", "y", "x"), pair((("user", "q"),), "x ", "y"), pair("r", "x", "z"), pair("p", "y", "x")],
        "c": [pair("p", "y", "x"), pair("s", "x", "y")],
    }
    assert conflicts(pairs) == [
        Conflict("a", "b", prompts=3, agree=1, opposite=1),
        Conflict("a", "c", prompts=1, agree=0, opposite=1),
        Conflict("b", "c", prompts=1, agree=1, opposite=0),
    ]
    assert [found.opposite_share for found in conflicts(pairs)] == [0.5, 1.0, 0.0]


def test_a_value_that_prefers_both_ways_agrees_and_opposes() -> None:
    [found] = conflicts({"a": [pair("p", "x", "y"), pair("p", "y", "x")], "b": [pair("p", "x", "y")]})
    assert (found.agree, found.opposite) == (1, 1)


def test_values_with_nothing_in_common() -> None:
    [found] = conflicts({"a": [], "b": [pair("p", "x", "y")]})
    assert found == Conflict("a", "b", 0, 0, 0)
    assert found.opposite_share is None


TEXTS = st.sampled_from("xyz")
PAIRS = st.lists(st.tuples(TEXTS, TEXTS, TEXTS).filter(lambda row: row[1] != row[2]), max_size=8)


@given(PAIRS, PAIRS)
def test_conflicts_equal_a_slow_count(first: list[tuple[str, str, str]], second: list[tuple[str, str, str]]) -> None:
    [found] = conflicts({"a": [pair(*row) for row in first], "b": [pair(*row) for row in second]})
    one, other = sorted(set(first)), sorted(set(second))
    assert found.prompts == len([p for p in "xyz" if any(p == row[0] for row in one) and any(p == r[0] for r in other)])
    assert found.agree == sum(row == against for row in one for against in other)
    assert found.opposite == sum((p, r, c) == against for p, c, r in one for against in other)
    [turned] = conflicts({"a": [pair(p, r, c) for p, c, r in first], "b": [pair(*row) for row in second]})
    assert (turned.agree, turned.opposite) == (found.opposite, found.agree)


def test_shared_prompts_come_once_in_their_own_order() -> None:
    turns = (("user", "b"),)
    assert shared_prompts(["c", turns, "a", "b", "d"], ["b", "c "]) == ["c", turns]
    assert shared_prompts(["a"], []) == shared_prompts([], ["a"]) == []

"""The conflict of values: correlation within a prompt, not between prompts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from mva_ray.data.conflict import within_prompt_correlation

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

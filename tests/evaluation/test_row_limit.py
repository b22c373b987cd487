"""How many rows at once: the search for a fast number by made-up times, and what fits into memory by hand."""

import logging
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mva_ray.evaluation.row_limit import FIRST, MOST, RowLimit, rows_that_fit


def decode(limit: RowLimit, seconds: Callable[[int], float], steps: int = 200) -> int:
    """The limit after full steps that take so long."""
    for _ in range(steps):
        limit.observe(limit.rows, seconds(limit.rows))
    return limit.rows


def test_a_number_that_is_given_stays() -> None:
    assert decode(RowLimit(7), lambda rows: 1.0) == 7


def test_it_grows_as_long_as_a_token_takes_less_time() -> None:
    """A step that costs the same for any number of rows: the more the better, up to the most."""
    assert RowLimit().rows == FIRST
    assert decode(RowLimit(), lambda rows: 1.0) == MOST
    assert decode(RowLimit(most=200), lambda rows: 1.0) == 128
    assert decode(RowLimit(most=20), lambda rows: 1.0) == 20


def test_it_stays_where_more_rows_gain_nothing() -> None:
    """Time in proportion to the rows from 128 on: 256 are tried, and no faster."""
    assert decode(RowLimit(), lambda rows: max(rows, 128) / 1000) == 128
    assert decode(RowLimit(), lambda rows: rows / 1000) == FIRST


def test_one_slow_step_does_not_decide() -> None:
    limit = RowLimit()
    limit.observe(FIRST, 100.0)
    assert decode(limit, lambda rows: 1.0) == MOST


def test_steps_that_are_not_full_say_nothing() -> None:
    limit = RowLimit()
    for _ in range(100):
        limit.observe(FIRST - 1, 0.001)
    assert limit.rows == FIRST


def test_where_memory_runs_out_it_halves_and_stays(caplog: pytest.LogCaptureFixture) -> None:
    limit = RowLimit()
    with caplog.at_level(logging.WARNING):
        limit.halve()
    assert decode(limit, lambda rows: 1.0) == FIRST // 2
    assert caplog.messages == [f"out of memory: from now on {FIRST // 2} rows at once"]
    one = RowLimit(1)
    one.halve()
    assert one.rows == 1


@given(st.lists(st.floats(1e-6, 1e3), max_size=200), st.integers(1, 2000))
def test_whatever_is_measured_the_limit_is_allowed(seconds: list[float], most: int) -> None:
    limit = RowLimit(most=most)
    for number in seconds:
        limit.observe(limit.rows, number)
        assert 1 <= limit.rows <= most


def test_rows_that_fit_by_hand() -> None:
    """Llama-2-7B in bfloat16: 0.5 MiB a token for keys and values, 1024 tokens a row; 20 GiB hold 31 such rows."""
    config = SimpleNamespace(
        num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=32, hidden_size=4096, vocab_size=32000
    )
    row = 1024 * 2 * 32 * 4096 * 2 + 2 * 4 * 32000
    assert rows_that_fit(20 * 2**30, config, 1024, 2) == int(0.8 * 20 * 2**30 / row) == 31
    assert rows_that_fit(1000, config, 1024, 2) == 1
    assert rows_that_fit(2**50, config, 1024, 2) == MOST


def test_key_heads_and_their_width_count() -> None:
    """Fewer key heads than heads, and a width that is not hidden_size / heads; GPT-2 names neither."""
    grouped = SimpleNamespace(
        num_hidden_layers=2, num_attention_heads=8, num_key_value_heads=2, head_dim=16, hidden_size=64, vocab_size=1
    )
    plain = SimpleNamespace(num_hidden_layers=2, num_attention_heads=8, hidden_size=64, vocab_size=1)
    assert rows_that_fit(10**6, grouped, 10, 4) == int(0.8 * 10**6 / (2 * 2 * 2 * 16 * 10 * 4 + 8))
    assert rows_that_fit(10**6, plain, 10, 4) == int(0.8 * 10**6 / (2 * 2 * 64 * 10 * 4 + 8))

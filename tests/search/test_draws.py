"""Which prompts candidates answer."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mva_ray.search.draws import Draws


@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 9), st.integers(1, 40))
def test_each_draw_has_as_many_distinct_prompts_and_all_prompts_come_as_often(
    n_prompts: int, size: int, seed: int, times: int
) -> None:
    size = min(size, n_prompts)
    draws = Draws(n_prompts, size, seed)
    drawn = [draws.next() for _ in range(times)]
    assert all(len(set(places)) == len(places) == size and set(places) <= set(range(n_prompts)) for places in drawn)
    counts = Counter(place for places in drawn for place in places)
    assert max(counts.values()) - min(counts[place] for place in range(n_prompts)) <= 1


def test_the_same_seed_draws_the_same_whatever_was_answered() -> None:
    def drawn(seed: int) -> list[tuple[int, ...]]:
        draws = Draws(10, 4, seed)
        return [draws.next() for _ in range(7)]

    assert drawn(3) == drawn(3) != drawn(4)


def test_every_prompt_is_as_likely_in_every_draw() -> None:
    """Also in the one that begins with what is left of the last round: means over the prompts are unbiased."""
    counts = Counter[tuple[int, int]]()
    for seed in range(2000):
        draws = Draws(5, 3, seed)
        counts.update((turn, place) for turn in range(3) for place in draws.next())
    assert [counts[turn, place] / 2000 for turn in range(3) for place in range(5)] == pytest.approx(
        [0.6] * 15, abs=0.04
    )

"""Preference pairs: best against worst of a prompt's samples, ties dropped, nothing lost on the way."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mva_ray.data.pairs import best_against_worst, best_and_worst
from mva_ray.records import Generation, PreferencePair


def samples(prompt: str, *texts: str, truncated: int | None = None) -> list[Generation]:
    """One generation a text; the one at `truncated` was cut off."""
    return [Generation(prompt, text, len(text), index == truncated, ids_of(text)) for index, text in enumerate(texts)]


def ids_of(text: str) -> tuple[int, ...]:
    return tuple(text.encode())


def test_best_against_worst_by_hand() -> None:
    made = best_against_worst(
        [samples("p", "good", "bad", "fair", truncated=1), samples("q", "x", "y", truncated=1)],
        [[3.0, -1.0, 0.5], [0.0, 2.0]],
        margin=1.0,
    )
    assert made.pairs == (
        PreferencePair("p", "good", "bad", True, False, 3.0, -1.0, 1.0, 0.0, ids_of("good"), ids_of("bad")),
        PreferencePair("q", "y", "x", False, True, 2.0, 0.0, 1.0, 0.0, ids_of("y"), ids_of("x")),
    )
    assert (made.prompts, made.ties) == (2, 0)


@pytest.mark.parametrize(("margin", "kept"), [(0.0, 3), (0.5, 3), (1.0, 2), (1.5, 1), (2.0, 1), (2.1, 0)])
def test_the_margin_is_the_least_difference_kept(margin: float, kept: int) -> None:
    tables = [[0.0, 0.5], [1.0, 0.0], [-1.0, 1.0]]
    made = best_against_worst([samples("p", "a", "b")] * 3, tables, margin)
    assert (len(made.pairs), made.prompts, made.ties) == (kept, 3, 3 - kept)


def test_equal_rewards_are_a_tie_at_any_margin() -> None:
    """At margin 0 too: there is nothing to prefer."""
    made = best_against_worst([samples("p", "a", "b", "c")], [[0.5, 0.5, 0.5]], margin=0.0)
    assert (made.pairs, made.ties) == ((), 1)


def test_a_single_sample_gives_no_pair() -> None:
    assert best_against_worst([samples("p", "a")], [[1.0]], margin=0.0).ties == 1


def test_of_equally_good_samples_the_first_is_taken() -> None:
    """Else a resumed run could pair others."""
    [pair] = best_against_worst([samples("p", "a", "b", "c", "d")], [[1.0, 0.0, 1.0, 0.0]], 0.0).pairs
    assert (pair.chosen, pair.rejected) == ("a", "b")


def test_no_scores_have_no_best() -> None:
    """All responses of a prompt may be unrated."""
    assert best_and_worst([], 0.0) is best_and_worst([1.0], 0.0) is None


def test_no_samples_no_pairs() -> None:
    made = best_against_worst([], [], margin=0.0)
    assert (made.pairs, made.prompts, made.ties) == ((), 0, 0)


@pytest.mark.parametrize("rewards", [[[1.0, 2.0]], [[1.0, 2.0]] * 3])
def test_rewards_of_other_prompts_are_refused(rewards: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="zip"):
        best_against_worst([samples("p", "a", "b")] * 2, rewards, 0.0)


@given(st.lists(st.lists(st.floats(-10, 10), min_size=1, max_size=5), max_size=8), st.floats(0, 5))
def test_every_prompt_gives_its_widest_pair_or_is_a_tie(rewards: list[list[float]], margin: float) -> None:
    tables = [samples(str(i), *map(str, range(len(row)))) for i, row in enumerate(rewards)]
    made = best_against_worst(tables, rewards, margin)
    assert made.prompts == len(rewards) == len(made.pairs) + made.ties
    pairs = {int(str(pair.prompt)): pair for pair in made.pairs}
    assert [int(str(pair.prompt)) for pair in made.pairs] == sorted(pairs)
    for i, row in enumerate(rewards):
        wide = max(row) - min(row) >= margin and max(row) > min(row)
        assert (i in pairs) == wide
        if wide:
            assert (pairs[i].chosen_reward, pairs[i].rejected_reward) == (max(row), min(row))
            assert row[int(pairs[i].chosen)] == max(row)
            assert row[int(pairs[i].rejected)] == min(row)

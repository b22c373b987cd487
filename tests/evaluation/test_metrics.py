"""Signs of a broken model: by hand, on the texts that extrapolation makes, and never NaN."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mva_ray.evaluation.metrics import WORD, distinct, repetition, text_metrics
from mva_ray.records import METRICS, Generation


def metrics(completion: str) -> dict[str, float]:
    return text_metrics(Generation("p", completion, 7, True))


@pytest.mark.parametrize(
    ("words", "n", "expected"),
    [
        ("a b c d e f", 4, 0.0),
        ("a a a a a a", 4, 2 / 3),  # three 4-grams, all alike
        ("a b a b a b a b", 4, 3 / 5),  # five: abab, baba, abab, baba, abab
        ("a b c a b c", 3, 1 / 4),  # four: abc, bca, cab, abc
        ("a b c", 4, 0.0),
        ("", 4, 0.0),
    ],
)
def test_repetition_by_hand(words: str, n: int, expected: float) -> None:
    assert repetition(words.split(), n) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("words", "expected"), [("a b c d", 1.0), ("a a a a", 0.25), ("a b a", 2 / 3), ("a", 1.0), ("", 0.0)]
)
def test_distinct_by_hand(words: str, expected: float) -> None:
    assert distinct(words.split()) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("It's fine, no?", ["It", "'", "s", "fine", ",", "no", "?"]),
        ("!!!", ["!", "!", "!"]),
        ("\u597d\u597d\u5b66", ["\u597d", "\u597d", "\u5b66"]),
        ("GPT\u597d", ["GPT", "\u597d"]),
        ("  \n\t", []),
    ],
)
def test_words_are_those_of_any_script_and_punctuation_counts(text: str, words: list[str]) -> None:
    """A model that only says "!!!!" repeats itself, and Chinese has words without spaces."""
    assert WORD.findall(text) == words


@pytest.mark.parametrize("text", ["the " * 30, "!" * 30, "\u597d" * 30, "yes, yes, " * 20])
def test_a_model_that_is_stuck_stands_out(text: str) -> None:
    assert metrics(text)["repetition"] > 0.9
    assert metrics(text)["distinct"] < 0.1


def test_good_text_does_not() -> None:
    found = metrics(
        "Bread needs flour, water, salt and time; bake it in a covered pan, and let it rest before you cut it."
    )
    assert found["repetition"] == 0.0
    assert found["distinct"] > 0.7


def test_an_empty_completion_has_every_metric() -> None:
    found = text_metrics(Generation("p", "", 0, False))
    assert found == {"tokens": 0.0, "truncated": 0.0, "repetition": 0.0, "distinct": 0.0}
    assert [*found, "base_nll"] == list(METRICS)


@given(st.text(max_size=200))
def test_any_text_has_shares_between_0_and_1(text: str) -> None:
    found = metrics(text)
    assert 0 <= found["repetition"] < 1
    assert 0 <= found["distinct"] <= 1


@given(st.lists(st.sampled_from("abc"), max_size=12), st.integers(1, 5))
def test_repetition_is_that_of_a_plain_count(words: list[str], n: int) -> None:
    grams = [words[start : start + n] for start in range(max(0, len(words) - n + 1))]
    again = sum(gram in grams[:place] for place, gram in enumerate(grams))
    assert repetition(words, n) == pytest.approx(again / len(grams) if grams else 0.0)

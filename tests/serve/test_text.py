"""Text that comes token by token: whole characters, stop strings wherever they are cut, and nothing lost."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from mva_ray.serve.text import TextStream

CHARACTERS = st.text(alphabet="ab é🙂\nß", max_size=30)


@pytest.fixture(scope="module")
def tokenizer(tiny_model: object) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast.from_pretrained(str(tiny_model))


@settings(max_examples=60, deadline=None)
@given(text=CHARACTERS, stops=st.lists(st.text(alphabet="ab \n", min_size=1, max_size=3), max_size=3), data=st.data())
def test_pieces_make_the_text_up_to_the_first_stop(
    tokenizer: PreTrainedTokenizerFast, text: str, stops: list[str], data: st.DataObject
) -> None:
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    stream, said, at = TextStream(tokenizer, stops), "", 0
    while at < len(ids):
        step = data.draw(st.integers(1, 3))
        piece = stream.add(ids[at : at + step], at + step >= len(ids))
        assert "\ufffd" not in piece
        said, at = said + piece, at + step
    found = [text.index(stop) for stop in stops if stop in text]
    assert said == text[: min(found, default=len(text))]
    assert (stream.stop is not None) == bool(found)


def test_what_may_become_a_stop_is_held_back(tokenizer: PreTrainedTokenizerFast) -> None:
    stream = TextStream(tokenizer, ["aab"])
    ids = {letter: tokenizer(letter, add_special_tokens=False)["input_ids"] for letter in "abé"}
    assert stream.add(ids["a"], False) == ""
    assert stream.add(ids["a"], False) == ""
    assert stream.add(ids["a"], False) == "a"
    assert stream.add(ids["b"], False) == ""
    assert stream.stop == "aab"
    assert stream.add(ids["a"], True) == ""


def test_a_character_that_is_cut_off_is_shown_at_the_end(tokenizer: PreTrainedTokenizerFast) -> None:
    ids = tokenizer("🙂", add_special_tokens=False)["input_ids"]
    assert len(ids) > 1, "several tokens a character"
    stream = TextStream(tokenizer)
    assert stream.add(ids[:-1], False) == ""
    assert stream.add([], True) == tokenizer.decode(ids[:-1])

"""Dialogues: turns from text and messages, and the prompt that two dialogues share."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mva_ray.data.dialogues import (
    helpsteer_prompt,
    hh_turns,
    make_pair,
    merged,
    message_turns,
    pair_of_dialogues,
    same_prompt,
)
from mva_ray.data.files import BadRow
from mva_ray.records import PreferencePair

SAID = st.text(alphabet="ab \n", min_size=1).map(str.strip).filter(bool)


def test_turns_of_hh() -> None:
    assert hh_turns("\n\nHuman: Hi \n\nAssistant: Yes?\n\nNo.\n\nHuman: So\n\nAssistant:") == (
        ("user", "Hi"),
        ("assistant", "Yes?\n\nNo."),
        ("user", "So"),
        ("assistant", ""),
    )


def test_a_name_within_a_turn_begins_no_turn() -> None:
    """Only a blank line before it does, or the beginning of the text."""
    assert hh_turns("Human: a\nAssistant: b, Human: c\n\nAssistant: d") == (
        ("user", "a\nAssistant: b, Human: c"),
        ("assistant", "d"),
    )


def test_turns_in_a_row_are_one() -> None:
    """As in some rows of HH; templates that want roles to alternate would raise."""
    text = "\n\nHuman: a\n\nHuman: b\n\nAssistant: c\n\nAssistant: \n\nAssistant: d"
    assert hh_turns(text) == (("user", "a\n\nb"), ("assistant", "c\n\nd"))


@pytest.mark.parametrize("text", ["Hi", "Hi\n\nHuman: a\n\nAssistant: b", ""])
def test_what_begins_with_no_turn_is_no_dialogue(text: str) -> None:
    with pytest.raises(BadRow, match="expected a dialogue") as caught:
        hh_turns(text)
    assert caught.value.reason == "no dialogue"


@given(st.lists(st.tuples(SAID, SAID), min_size=1, max_size=4))
def test_hh_text_and_turns_are_the_same(exchanges: list[tuple[str, str]]) -> None:
    text = "".join(f"\n\nHuman: {asked}\n\nAssistant: {said}" for asked, said in exchanges)
    turns = tuple(turn for asked, said in exchanges for turn in (("user", asked), ("assistant", said)))
    assert hh_turns(text) == turns == merged(turns)


def test_prompts_of_helpsteer() -> None:
    assert helpsteer_prompt("a\n<b>") == "a\n<b>"
    text = "a\n<extra_id_1>Assistant\nb\n<extra_id_1>User\nc"
    assert helpsteer_prompt(text) == (("user", "a"), ("assistant", "b"), ("user", "c"))


@pytest.mark.parametrize(
    "messages",
    [None, "a", [], [1], [{"role": "user"}], [{"role": "tool", "content": "a"}], [{"role": "user", "content": None}]],
)
def test_messages_of_the_wrong_kind(messages: object) -> None:
    with pytest.raises(BadRow, match=r"expected a text or a list of messages with role \(system, user, assistant\)"):
        message_turns({"chosen": messages}, "chosen")


ASKED = (("user", "a"), ("assistant", "b"), ("user", "c"))


def test_the_prompt_is_all_before_the_last_answer() -> None:
    """Also where the answers begin alike."""
    pair = pair_of_dialogues((*ASKED, ("assistant", "yes, do")), (*ASKED, ("assistant", "yes, no")))
    assert pair == PreferencePair(ASKED, "yes, do", "yes, no")


@pytest.mark.parametrize(
    ("chosen", "rejected", "reason", "text"),
    [
        (ASKED, ASKED, "chosen has no answer", "'chosen' ends with a user turn; expected the assistant's"),
        ((*ASKED, ("assistant", "d")), ASKED, "rejected has no answer", "'rejected' ends with a user turn"),
        (
            (*ASKED, ("assistant", "d")),
            (("user", "a"), ("assistant", "x"), ("user", "c"), ("assistant", "e")),
            "no common prompt",
            "differ before the last answer, in turn 2",
        ),
        ((*ASKED, ("assistant", "d")), ASKED[:2], "no common prompt", "in turn 3"),
        ((*ASKED, ("assistant", "d")), (*ASKED, ("assistant", "d")), "equal answers", "the same text"),
        ((*ASKED, ("assistant", "")), (*ASKED, ("assistant", "d")), "chosen is empty", "non-empty text for 'chosen'"),
        ((("assistant", "d"),), (("assistant", "e"),), "no prompt", "got nothing"),
        ((("system", "s"), ("assistant", "d")), (("system", "s"), ("assistant", "e")), "no prompt", "got system"),
        ((("user", ""), ("assistant", "d")), (("user", ""), ("assistant", "e")), "prompt is empty", "got "),
        (
            (("assistant", "a"), ("user", "b"), ("assistant", "d")),
            (("assistant", "a"), ("user", "b"), ("assistant", "e")),
            "no prompt",
            "expected turns user, assistant, ..., user before the answer, got assistant, user",
        ),
    ],
)
def test_dialogues_that_are_no_pair(
    chosen: tuple[tuple[str, str], ...], rejected: tuple[tuple[str, str], ...], reason: str, text: str
) -> None:
    with pytest.raises(BadRow) as caught:
        pair_of_dialogues(chosen, rejected)
    assert caught.value.reason == reason
    assert text in str(caught.value)


def test_a_system_turn_may_come_first() -> None:
    prompt = (("system", "s"), ("user", "a"))
    assert pair_of_dialogues((*prompt, ("assistant", "d")), (*prompt, ("assistant", "e"))).prompt == prompt


def test_answers_that_differ_in_space_alone_are_equal() -> None:
    with pytest.raises(BadRow, match="the same text"):
        make_pair("p", " a", "a\n")


def test_one_prompt_however_it_is_written() -> None:
    turns = (("user", "Hi"),)
    for prompt in (" Hi\n", turns, "\n\nHuman: Hi\n\nAssistant:", "\n\nHuman: Hi"):
        assert same_prompt(prompt) == turns
    assert same_prompt("\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant:") == ASKED
    assert same_prompt("Hi there") != turns

"""What a user may not mean is counted, and nothing else."""

from mva_ray.data.doubts import contradicted, doubts, echoing, repeated, written_dialogues
from mva_ray.data.source import PairData
from mva_ray.records import PreferencePair, Prompt

ONE = PreferencePair("Why is the sky blue?", "Because.", "No idea.")
REVERSED = PreferencePair("Why is the sky blue?", "No idea.", "Because.")
OTHER = PreferencePair("How do I bake bread?", "Because.", "No idea.")


def test_pairs_that_are_there_before_are_counted() -> None:
    spaced = PreferencePair((("user", "Why is the sky blue?"),), " Because.", "No idea.\n")
    assert repeated([ONE, OTHER, REVERSED]) == 0
    assert repeated([ONE, OTHER, spaced, ONE]) == 2


def test_pairs_that_are_judged_both_ways_are_counted() -> None:
    assert contradicted([ONE, OTHER, ONE]) == 0
    assert contradicted([ONE, REVERSED, ONE, OTHER]) == 3


def test_prompts_in_both_answers_are_counted() -> None:
    """One answer may repeat the question to make its point; a short prompt is no sign."""
    question = "Why is the sky blue?"
    both = PreferencePair(question, f"{question} Because.", f"\n{question} No idea.")
    one = PreferencePair(question, f"{question} Because.", "No idea.")
    short = PreferencePair("Hi", "Hi there", "Hi you")
    dialogue = PreferencePair((("user", "x"), ("assistant", "y"), ("user", question)), both.chosen, both.rejected)
    assert echoing([both, one, short, dialogue]) == 2


def test_dialogues_in_one_text_are_counted() -> None:
    prompts: list[Prompt] = [
        "\n\nHuman: Hi\n\nAssistant:",
        "Human: Hi\n\nAssistant: Yes?\n\nHuman: No",
        "A Human: no",
        (("user", "Hi"),),
    ]
    assert written_dialogues(prompts) == 2


def test_each_kind_is_a_line() -> None:
    pairs = (ONE, ONE, REVERSED)
    data = PairData("pairs", 3, pairs, (), columns=("system", "prompt", "chosen", "rejected"))
    assert list(doubts(data)) == [
        "1 of 3 pairs are there before, word for word",
        "3 of 3 pairs prefer what another one rejects of the same two answers",
        "the column 'system' is not read: make it the first message of a prompt in messages",
    ]
    assert list(doubts(PairData("pairs", 1, (ONE,), (), columns=("prompt", "chosen", "rejected")))) == []

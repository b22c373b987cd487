"""What a model sees of a prompt: the same tokens in sampling, training and evaluation."""

from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerBase

from mva_ray.adapters.base_model import load_tokenizer
from mva_ray.adapters.prompting import BATCH_TEXTS, completion_ids, pair_lengths, prompt_ids, render_prompt
from mva_ray.adapters.tokenizer_file import read_tokenizer
from mva_ray.records import PreferencePair
from tests.support.endings import BOS, END, adding_ends


@pytest.fixture
def chat(tiny_model: Path) -> PreTrainedTokenizerBase:
    return load_tokenizer(str(tiny_model))


@pytest.fixture
def plain(tiny_gpt2: Path) -> PreTrainedTokenizerBase:
    return load_tokenizer(str(tiny_gpt2))


def test_a_chat_template_is_used_with_the_opening_of_the_answer(chat: PreTrainedTokenizerBase) -> None:
    assert render_prompt(chat, "Hi", None) == "<s>user Hi</s><s>assistant "


def test_a_system_prompt_comes_first_an_empty_one_too(chat: PreTrainedTokenizerBase) -> None:
    """An empty text replaces the template's own system turn; None keeps it."""
    assert render_prompt(chat, "Hi", "Be kind.") == "<s>system Be kind.</s><s>user Hi</s><s>assistant "
    assert render_prompt(chat, "Hi", "") == "<s>system </s><s>user Hi</s><s>assistant "


def test_without_a_template_the_prompt_is_the_text_itself(plain: PreTrainedTokenizerBase) -> None:
    assert render_prompt(plain, "Hi", None) == "Hi"
    assert render_prompt(plain, "Hi", "") == "Hi"
    assert render_prompt(plain, "Hi", "Be kind.") == "Be kind.\n\nHi"


DIALOGUE = (("user", "Hi"), ("assistant", "Yes?"), ("user", "Why"))


def test_a_dialogue_is_rendered_turn_by_turn(chat: PreTrainedTokenizerBase) -> None:
    turns = "<s>user Hi</s><s>assistant Yes?</s><s>user Why</s><s>assistant "
    assert render_prompt(chat, DIALOGUE, None) == turns
    assert render_prompt(chat, DIALOGUE, "Be kind.") == f"<s>system Be kind.</s>{turns}"
    assert render_prompt(chat, (("user", "Hi"),), "Be kind.") == render_prompt(chat, "Hi", "Be kind.")


def test_a_dialogue_without_a_template_is_that_of_hh(plain: PreTrainedTokenizerBase) -> None:
    text = "\n\nHuman: Hi\n\nAssistant: Yes?\n\nHuman: Why\n\nAssistant:"
    assert render_prompt(plain, DIALOGUE, None) == text
    assert render_prompt(plain, DIALOGUE, "Be kind.") == f"Be kind.{text}"
    assert render_prompt(plain, DIALOGUE, "") == text
    assert render_prompt(plain, (("user", "Hi"),), None) == "\n\nHuman: Hi\n\nAssistant:"


@pytest.mark.parametrize("tokenizer", ["chat", "plain"])
def test_a_dialogue_keeps_its_own_system_turn(tokenizer: str, request: pytest.FixtureRequest) -> None:
    loaded = request.getfixturevalue(tokenizer)
    own = (("system", "Be brief."), *DIALOGUE)
    assert render_prompt(loaded, own, "Be kind.") == render_prompt(loaded, DIALOGUE, "Be brief.")


@pytest.mark.parametrize("tokenizer", ["chat", "plain"])
def test_lengths_are_those_that_training_sees(tokenizer: str, request: pytest.FixtureRequest) -> None:
    """A cut-off answer has no end token. More pairs than are tokenised at a time."""
    loaded = request.getfixturevalue(tokenizer)
    end = loaded.eos_token_id
    pairs = [PreferencePair("Hi", "You can", ""), PreferencePair(DIALOGUE, "bake", "bread", rejected_finished=False)]
    by_hand = [
        [
            len(prompt_ids(loaded, pair.prompt, "Be kind.")),
            len(completion_ids(loaded, pair.chosen, end if pair.chosen_finished else None)),
            len(completion_ids(loaded, pair.rejected, end if pair.rejected_finished else None)),
        ]
        for pair in pairs
    ]
    many = BATCH_TEXTS // 2 + 1
    assert pair_lengths(loaded, pairs * many, "Be kind.").tolist() == by_hand * many
    assert pair_lengths(loaded, [], None).shape == (0, 3)


def test_special_tokens_of_the_template_are_single_tokens_and_not_doubled(chat: PreTrainedTokenizerBase) -> None:
    ids = prompt_ids(chat, "Hi", None)
    assert ids.count(chat.bos_token_id) == 2
    assert ids.count(chat.eos_token_id) == 1
    assert chat.decode(ids) == "<s>user Hi</s><s>assistant "


def test_prompt_and_completion_ids_join_to_the_ids_of_the_whole_conversation(chat: PreTrainedTokenizerBase) -> None:
    ids = prompt_ids(chat, "Why is the sky blue?", None) + completion_ids(chat, "Because air scatters", END)
    assert chat.decode(ids) == "<s>user Why is the sky blue?</s><s>assistant Because air scatters</s>"


def test_only_finished_completions_end_with_the_end_token(chat: PreTrainedTokenizerBase) -> None:
    """A completion that was cut off must not teach the model to stop there."""
    finished, cut = (completion_ids(chat, "You can bake", end) for end in (chat.eos_token_id, None))
    assert finished == [*cut, chat.eos_token_id]
    assert chat.eos_token_id not in cut
    assert completion_ids(chat, "", chat.eos_token_id) == [chat.eos_token_id]


@pytest.mark.parametrize("read", [load_tokenizer, lambda directory: read_tokenizer(Path(directory))])
def test_a_prompt_does_not_end_with_the_end_token_that_a_tokenizer_adds(
    tiny_gpt2: Path, tmp_path: Path, read: Callable[[str], PreTrainedTokenizerBase]
) -> None:
    """As those of Llama with add_eos_token: what it adds before the text stays, and so does what the user wrote."""
    tokenizer = read(str(adding_ends(tiny_gpt2, tmp_path / "model")))
    assert tokenizer("Hi")["input_ids"][-1] == END, "the tokenizer adds it by itself"
    for prompt in ("Hi", "a", "Why is the sky blue?", (("user", "Hi"),), "a </s>", "</s>"):
        text = tokenizer(render_prompt(tokenizer, prompt, "Be kind."), add_special_tokens=False)["input_ids"]
        assert prompt_ids(tokenizer, prompt, "Be kind.") == [BOS, *text]
    pairs = [PreferencePair("Hi", "You can", "no"), PreferencePair(DIALOGUE, "bake", "bread")]
    lengths = [len(prompt_ids(tokenizer, pair.prompt, None)) for pair in pairs]
    assert pair_lengths(tokenizer, pairs, None)[:, 0].tolist() == lengths


def test_tokenizers_pad_on_the_left_and_have_a_pad_token(tiny_gpt2: Path, tmp_path: Path) -> None:
    """Generation continues the right end of each row; a tokenizer without pad token pads with its end token."""
    tokenizer = load_tokenizer(str(tiny_gpt2))
    tokenizer.pad_token = None
    tokenizer.save_pretrained(tmp_path)
    for directory, pad in ((tiny_gpt2, "<pad>"), (tmp_path, "</s>")):
        loaded = load_tokenizer(str(directory))
        assert loaded.padding_side == "left"
        assert loaded.pad_token == pad

"""What a model sees of a prompt: the same tokens in sampling, training and evaluation."""

from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerBase

from mva_ray.adapters.base_model import load_tokenizer
from mva_ray.adapters.prompting import completion_ids, prompt_ids, render_prompt


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


def test_special_tokens_of_the_template_are_single_tokens_and_not_doubled(chat: PreTrainedTokenizerBase) -> None:
    ids = prompt_ids(chat, "Hi", None)
    assert ids.count(chat.bos_token_id) == 2
    assert ids.count(chat.eos_token_id) == 1
    assert chat.decode(ids) == "<s>user Hi</s><s>assistant "


def test_prompt_and_completion_ids_join_to_the_ids_of_the_whole_conversation(chat: PreTrainedTokenizerBase) -> None:
    ids = prompt_ids(chat, "Why is the sky blue?", None) + completion_ids(chat, "Because air scatters", finished=True)
    assert chat.decode(ids) == "<s>user Why is the sky blue?</s><s>assistant Because air scatters</s>"


def test_only_finished_completions_end_with_the_end_token(chat: PreTrainedTokenizerBase) -> None:
    """A completion that was cut off must not teach the model to stop there."""
    finished, cut = (completion_ids(chat, "You can bake", finished) for finished in (True, False))
    assert finished == [*cut, chat.eos_token_id]
    assert chat.eos_token_id not in cut
    assert completion_ids(chat, "", finished=True) == [chat.eos_token_id]


def test_tokenizers_pad_on_the_left_and_have_a_pad_token(tiny_gpt2: Path, tmp_path: Path) -> None:
    """Generation continues the right end of each row; a tokenizer without pad token pads with its end token."""
    tokenizer = load_tokenizer(str(tiny_gpt2))
    tokenizer.pad_token = None
    tokenizer.save_pretrained(tmp_path)
    for directory, pad in ((tiny_gpt2, "<pad>"), (tmp_path, "</s>")):
        loaded = load_tokenizer(str(directory))
        assert loaded.padding_side == "left"
        assert loaded.pad_token == pad

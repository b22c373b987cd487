"""How a user's prompt becomes the tokens a model sees: one place for sampling, training and evaluation."""

from transformers import PreTrainedTokenizerBase


def render_prompt(tokenizer: PreTrainedTokenizerBase, prompt: str, system_prompt: str | None) -> str:
    """The prompt in the model's chat template; the bare text where the tokenizer has none.

    `system_prompt=None` keeps the template's own system turn.
    """
    if tokenizer.chat_template is None:
        return f"{system_prompt}\n\n{prompt}" if system_prompt else prompt
    messages = [{"role": "user", "content": prompt}]
    if system_prompt is not None:
        messages.insert(0, {"role": "system", "content": system_prompt})
    return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))


def prompt_ids(tokenizer: PreTrainedTokenizerBase, prompt: str, system_prompt: str | None) -> list[int]:
    """Token ids of the rendered prompt; special tokens are added only where no template wrote them."""
    text = render_prompt(tokenizer, prompt, system_prompt)
    return list(tokenizer(text, add_special_tokens=tokenizer.chat_template is None)["input_ids"])


def completion_ids(tokenizer: PreTrainedTokenizerBase, completion: str, finished: bool) -> list[int]:
    """Token ids of a completion, with the end token only where the model ended it itself."""
    ids = list(tokenizer(completion, add_special_tokens=False)["input_ids"])
    return [*ids, tokenizer.eos_token_id] if finished else ids

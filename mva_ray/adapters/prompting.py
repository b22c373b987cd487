"""How a user's prompt becomes the tokens a model sees: one place for sampling, training and evaluation."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mva_ray.records import PreferencePair, Prompt, Turn

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from mva_ray.adapters.tokenizer_file import FileTokenizer

    AnyTokenizer: TypeAlias = PreTrainedTokenizerBase | FileTokenizer

SPEAKERS = {"user": "Human", "assistant": "Assistant"}
BATCH_TEXTS = 1024


def render_prompt(tokenizer: "AnyTokenizer", prompt: Prompt, system_prompt: str | None) -> str:
    """The prompt in the model's chat template. Where the tokenizer has none, a text is left as it is.

    A dialogue then becomes `\\n\\nHuman: ...\\n\\nAssistant:`, as in Anthropic's HH. `system_prompt=None` keeps the
    template's own system turn; a dialogue that begins with one keeps that.
    """
    turns = (("user", prompt),) if isinstance(prompt, str) else prompt
    if system_prompt is not None and turns[0][0] != "system":
        turns = (("system", system_prompt), *turns)
    if tokenizer.chat_template is not None:
        return str(tokenizer.apply_chat_template(messages(turns), tokenize=False, add_generation_prompt=True))
    if isinstance(prompt, str):
        return f"{system_prompt}\n\n{prompt}" if system_prompt else prompt
    return plain_text(turns)


def messages(prompt: Prompt) -> list[dict[str, str]]:
    """A prompt as chat templates take it; a text is what the user says."""
    turns = (("user", prompt),) if isinstance(prompt, str) else prompt
    return [{"role": role, "content": text} for role, text in turns]


def plain_text(prompt: Prompt) -> str:
    """A prompt without a template, as base models and rewards see it: a text as it is, turns in the form of HH."""
    return prompt if isinstance(prompt, str) else "".join(map(_as_text, prompt)) + "\n\nAssistant:"


def _as_text(turn: Turn) -> str:
    role, text = turn
    return text if role == "system" else f"\n\n{SPEAKERS[role]}: {text}"


def prompt_ids(tokenizer: "AnyTokenizer", prompt: Prompt, system_prompt: str | None) -> list[int]:
    """Token ids of the rendered prompt, which an answer goes on from.

    Special tokens are added only where no template wrote them.
    """
    text = render_prompt(tokenizer, prompt, system_prompt)
    if tokenizer.chat_template is not None:
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])
    return text_ids(tokenizer, text)


def text_ids(tokenizer: "AnyTokenizer", text: str) -> list[int]:
    """Token ids of a text that no template wrote, which an answer goes on from.

    Special tokens are added only before it: an end token after it would end the answer before it begins.
    """
    ids = list(tokenizer(text, add_special_tokens=True)["input_ids"])
    return ids[: len(ids) - added_after(tokenizer)]


def added_after(tokenizer: "AnyTokenizer") -> int:
    """How many special tokens the tokenizer adds after a text, such as the end token of `add_eos_token`."""
    text, whole = (list(tokenizer("a", add_special_tokens=special)["input_ids"]) for special in (False, True))
    starts = range(len(whole) - len(text) + 1)
    return next((len(whole) - at - len(text) for at in starts if whole[at : at + len(text)] == text), 0)


def completion_ids(tokenizer: "AnyTokenizer", completion: str, end: int | None) -> list[int]:
    """Token ids of a completion that came as text; `end` is the end token, None where it was cut off."""
    ids = list(tokenizer(completion, add_special_tokens=False)["input_ids"])
    return ids if end is None else [*ids, end]


def pair_lengths(
    tokenizer: "AnyTokenizer", pairs: Sequence[PreferencePair], system_prompt: str | None
) -> NDArray[np.int64]:
    """Tokens as training counts pairs that came as text, [pairs, 3]: of the rendered prompt, chosen and rejected."""
    rendered = [render_prompt(tokenizer, pair.prompt, system_prompt) for pair in pairs]
    prompts = _lengths(tokenizer, rendered)
    if tokenizer.chat_template is None:
        prompts = _lengths(tokenizer, rendered, add_special_tokens=True) - added_after(tokenizer)
    chosen = _lengths(tokenizer, [pair.chosen for pair in pairs]) + [pair.chosen_finished for pair in pairs]
    rejected = _lengths(tokenizer, [pair.rejected for pair in pairs]) + [pair.rejected_finished for pair in pairs]
    return np.stack([prompts, chosen, rejected], axis=1)


def _lengths(tokenizer: "AnyTokenizer", texts: Sequence[str], add_special_tokens: bool = False) -> NDArray[np.int64]:
    starts = range(0, len(texts), BATCH_TEXTS)
    batches = (tokenizer(list(texts[i : i + BATCH_TEXTS]), add_special_tokens=add_special_tokens) for i in starts)
    return np.array([len(ids) for batch in batches for ids in batch["input_ids"]], dtype=np.int64)

"""Where an answer ends: one place for engines, scoring and training. Light: imports neither torch nor transformers."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mva_ray.errors import RunError

if TYPE_CHECKING:
    from mva_ray.adapters.prompting import AnyTokenizer

SETTINGS_FILES = ("generation_config.json", "config.json")
_ANSWER = "An answer."


class Ends(NamedTuple):
    """Token ids that end an answer.

    `every` are those at which generation stops: of the model's generation settings, then the tokenizer's own. `turn` is
    the one that the model itself puts after a whole answer, and that answers which came as data get.
    """

    every: tuple[int, ...]
    turn: int


def read_ends(directory: Path, tokenizer: "AnyTokenizer") -> Ends:
    """The ends of a model by its files.

    The tokenizer's end token is no more than one of them: those of Gemma and Phi-3 stand for the end of a text, and
    answers end with another.

    Raises:
        RunError: neither the settings nor the tokenizer name one.
    """
    configured, own = _configured(directory), tokenizer.eos_token_id
    every = tuple(dict.fromkeys([*configured, *([] if own is None else [own])]))
    if not every:
        raise RunError(
            f"base_model: {directory} names no token that ends an answer: set eos_token in tokenizer_config.json, or "
            "eos_token_id in generation_config.json"
        )
    after_answers = _in_template(tokenizer, every)
    if after_answers is not None:
        return Ends(every, after_answers)
    return Ends(every, own if own is not None and (own in configured or not configured) else every[0])


def _configured(directory: Path) -> list[int]:
    """By the first of the files that is there, as transformers reads them."""
    for path in (directory / name for name in SETTINGS_FILES):
        if path.is_file():
            settings = json.loads(path.read_text(encoding="utf-8"))
            ends = settings.get("eos_token_id", (settings.get("text_config") or {}).get("eos_token_id"))
            return ends if isinstance(ends, list) else [] if ends is None else [ends]
    return []


def _in_template(tokenizer: "AnyTokenizer", ends: Sequence[int]) -> int | None:
    """The first end after an assistant's text in the chat template, None where there is none."""
    if tokenizer.chat_template is None:
        return None
    turns = [{"role": "user", "content": "A question?"}, {"role": "assistant", "content": _ANSWER}]
    try:
        text = str(tokenizer.apply_chat_template(turns, tokenize=False))
    except Exception:  # it asks for other turns, or fails in what it calls: the checks say so of prompts
        return None
    _, found, rest = text.rpartition(_ANSWER)
    ids = tokenizer(rest, add_special_tokens=False)["input_ids"] if found else []
    return next((token for token in ids if token in ends), None)

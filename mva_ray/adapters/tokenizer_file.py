"""A tokenizer as its files describe it, without transformers: what counting tokens needs, in a tenth of the time."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenizers import AddedToken, Regex, Tokenizer, normalizers, pre_tokenizers

from mva_ray.adapters.model_size import model_config

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TOKENIZER_FILE = "tokenizer.json"
NAMED = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")

AS_WRITTEN = ("llama", "gpt2", "gpt_neox", "qwen3", "smollm3")
"""Models for which transformers takes the class of tokenizer that the files name; qwen2 always gets its own."""

_QWEN2_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_BEYOND_PLAIN_JINJA = re.compile(r"namespace|dict\(|tojson|strftime_now|\{%-?\s*generation")


class FileTokenizer:
    """A tokenizer.json and a chat template, with the names that `prompting` uses of transformers' tokenizers."""

    def __init__(self, tokenizer: Tokenizer, tokens: Mapping[str, str], chat_template: str | None) -> None:
        self._tokenizer = tokenizer
        self._tokens = dict(tokens)
        self.chat_template = chat_template
        self._render = _renderer(chat_template) if chat_template is not None else None

    @property
    def eos_token_id(self) -> Any:
        return self._id("eos_token")

    @property
    def pad_token_id(self) -> Any:
        return self._id("pad_token")

    def __call__(self, text: str | Sequence[str], add_special_tokens: bool = True) -> dict[str, Any]:
        if isinstance(text, str):
            return {"input_ids": self._tokenizer.encode(text, add_special_tokens=add_special_tokens).ids}
        encoded = self._tokenizer.encode_batch(list(text), add_special_tokens=add_special_tokens)
        return {"input_ids": [each.ids for each in encoded]}

    def apply_chat_template(
        self, messages: Sequence[Mapping[str, str]], tokenize: bool = False, add_generation_prompt: bool = False
    ) -> str:
        """
        Raises:
            jinja2.TemplateError: the template refuses the messages.
        """
        assert self._render is not None
        assert not tokenize
        return self._render(messages=messages, add_generation_prompt=add_generation_prompt, **self._tokens)

    def _id(self, name: str) -> int | None:
        """None where there is no such token."""
        return self._tokenizer.token_to_id(self._tokens[name]) if name in self._tokens else None


def has_tokenizer(directory: Path) -> bool:
    return any((directory / name).is_file() for name in (TOKENIZER_FILE, "tokenizer.model"))


@lru_cache
def read_tokenizer(directory: Path) -> "FileTokenizer | PreTrainedTokenizerBase":
    """The tokenizer of a model directory, by its files where they say all of it, else by transformers.

    Raises:
        Exception: of several libraries, where the files are not right.
    """
    if (tokenizer := file_tokenizer(directory)) is not None:
        return tokenizer
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(directory, padding_side="left")


def file_tokenizer(directory: Path) -> FileTokenizer | None:
    """None where transformers would make something else of the files, or where that is not known."""
    settings = _settings(directory)
    change = _change(directory, settings)
    if change is None or not (directory / TOKENIZER_FILE).is_file():
        return None
    tokenizer = Tokenizer.from_file(str(directory / TOKENIZER_FILE))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    change(tokenizer)
    tokens = {name: _text(settings[name]) for name in NAMED if settings.get(name)}
    says_what_is_added = settings.keys() & {"add_bos_token", "add_eos_token"} and tokenizer.encode("").ids
    if says_what_is_added or not tokenizer.get_vocab().keys() >= {*tokens.values(), *_more_tokens(settings)}:
        return None
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in tokens.values()])
    return FileTokenizer(tokenizer, tokens, _chat_template(directory, settings))


def _settings(directory: Path) -> dict[str, Any]:
    path = directory / "tokenizer_config.json"
    settings: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return settings


def _change(directory: Path, settings: Mapping[str, Any]) -> Callable[[Tokenizer], None] | None:
    """What transformers' class makes of a tokenizer.json that it loads; None where that is not known."""
    model = model_config(directory).get("model_type")
    unusual = {"auto_map", "add_bos_token", "add_eos_token", "add_prefix_space", "split_special_tokens"}
    older = (directory / "special_tokens_map.json").is_file() and "added_tokens_decoder" not in settings
    if older or any(settings.get(key) for key in unusual) or model not in (*AS_WRITTEN, "qwen2"):
        return None
    declared = str(settings.get("tokenizer_class")).removesuffix("Fast") if model != "qwen2" else "Qwen2Tokenizer"
    if declared in ("TokenizersBackend", "PreTrainedTokenizer"):
        return _as_it_is
    changes = {"GPT2Tokenizer": _as_gpt2, "Qwen2Tokenizer": _as_qwen2}
    return changes.get(declared) if settings.get("eos_token") else None


def _as_it_is(tokenizer: Tokenizer) -> None:
    pass


def _as_gpt2(tokenizer: Tokenizer) -> None:
    tokenizer.normalizer = None
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)


def _as_qwen2(tokenizer: Tokenizer) -> None:
    words = pre_tokenizers.Split(Regex(_QWEN2_WORDS), behavior="isolated")
    as_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, as_bytes])


def _text(token: str | Mapping[str, Any]) -> str:
    return token if isinstance(token, str) else str(token["content"])


def _more_tokens(settings: Mapping[str, Any]) -> set[str]:
    """Further tokens that the settings name; transformers adds those that the vocabulary lacks."""
    lists = (settings.get("additional_special_tokens") or (), settings.get("extra_special_tokens") or ())
    listed = [token for tokens in lists for token in (tokens.values() if isinstance(tokens, dict) else tokens)]
    return {_text(token) for token in [*listed, *(settings.get("added_tokens_decoder") or {}).values()]}


def _chat_template(directory: Path, settings: Mapping[str, Any]) -> str | None:
    file = directory / "chat_template.jinja"
    template = file.read_text(encoding="utf-8") if file.is_file() else settings.get("chat_template")
    if isinstance(template, list):
        template = {entry["name"]: entry["template"] for entry in template}.get("default")
    return template


def _renderer(template: str) -> Callable[..., str]:
    """Hub templates are foreign code: a sandbox without what it would have to be guarded for, or transformers' own."""
    if _BEYOND_PLAIN_JINJA.search(template):
        from transformers.utils.chat_template_utils import render_jinja_template

        return lambda messages, **rest: str(
            render_jinja_template([list(messages)], chat_template=template, **rest)[0][0]
        )
    from jinja2 import TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def refuse(message: str) -> None:
        raise TemplateError(message)

    sandbox = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    sandbox.globals = {"raise_exception": refuse, "range": sandbox.globals["range"]}
    return sandbox.from_string(template).render

"""A tokenizer by its files gives what transformers gives, or leaves it to transformers."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from jinja2 import TemplateError
from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from transformers import AutoTokenizer

from mva_ray.adapters.prompting import pair_lengths, prompt_ids
from mva_ray.adapters.tokenizer_file import AS_WRITTEN, FileTokenizer, file_tokenizer, read_tokenizer
from mva_ray.records import PreferencePair
from tests.support.tiny import CHAT_TEMPLATE, SENTENCES

TEXTS = (*SENTENCES, "", " ", "  two  spaces\n\nand 12345 lines", "naïve café 🙂", "<s>user hi</s><pad>", "don't I'LL")
CLASSES = ["TokenizersBackend", "PreTrainedTokenizerFast", "GPT2Tokenizer", "Qwen2Tokenizer", "Qwen2TokenizerFast"]
CHATML = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}<s>system\nHelp.</s>\n"
    "{% endif %}{{'<s>' + message['role'] + '\n' + message['content'] + '</s>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<s>assistant\n' }}{% endif %}"
)
NAMESPACED = (
    "{%- set ns = namespace(n=0) -%}{% for message in messages %}{% set ns.n = ns.n + 1 %}{{ bos_token }}{{ ns.n }}"
    "{{ message.content | trim | tojson }}{% endfor %}"
)
LIMITED = (
    "{{ raise_exception('System role not supported') if messages[0]['role'] == 'system' }}{{ messages[0].content }}"
)


@pytest.fixture
def directory(tmp_path: Path, tiny_model: Path) -> Path:
    """A model's directory without its weights."""
    return Path(shutil.copytree(tiny_model, tmp_path / "model", ignore=shutil.ignore_patterns("*.safetensors")))


def described(directory: Path, model_type: str = "llama", **settings: Any) -> Path:
    """The directory with another model type, and other settings of the tokenizer; None takes one out."""
    for name, changes in (("config.json", {"model_type": model_type}), ("tokenizer_config.json", settings)):
        content = json.loads((directory / name).read_text()) | changes
        (directory / name).write_text(json.dumps({key: each for key, each in content.items() if each is not None}))
    return directory


def change(directory: Path, **parts: Any) -> Path:
    """The directory with other parts of its tokenizer.json."""
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    for name, part in parts.items():
        setattr(tokenizer, name, part)
    tokenizer.save(str(directory / "tokenizer.json"))
    return directory


def assert_equal(directory: Path) -> FileTokenizer:
    ours, theirs = file_tokenizer(directory), AutoTokenizer.from_pretrained(directory)
    assert ours is not None
    assert (ours.eos_token_id, ours.pad_token_id) == (theirs.eos_token_id, theirs.pad_token_id)
    for special in (False, True):
        ids = [ours(text, add_special_tokens=special)["input_ids"] for text in TEXTS]
        assert ids == [list(theirs(text, add_special_tokens=special)["input_ids"]) for text in TEXTS]
        assert ours(list(TEXTS), add_special_tokens=special)["input_ids"] == ids
    return ours


@pytest.mark.parametrize("declared", CLASSES)
@pytest.mark.parametrize("model_type", [*AS_WRITTEN, "qwen2"])
def test_ids_are_those_of_transformers(directory: Path, model_type: str, declared: str) -> None:
    """Some classes make their own splits into words, whatever tokenizer.json says of them."""
    directory = described(directory, model_type, tokenizer_class=declared)
    digits = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(False)])
    assert_equal(change(directory, pre_tokenizer=digits, normalizer=normalizers.Lowercase()))


def test_special_tokens_that_are_added_are_those_of_transformers(directory: Path) -> None:
    ends = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)])
    tokenizer = assert_equal(change(directory, post_processor=ends))
    assert tokenizer("user")["input_ids"][-1] == 1
    assert file_tokenizer(described(directory, add_bos_token=False)) is None
    assert_equal(change(directory, post_processor=processors.TemplateProcessing(single="$A")))


@pytest.mark.parametrize("template", [CHAT_TEMPLATE, CHATML, NAMESPACED, None])
@pytest.mark.parametrize("as_file", [True, False])
def test_prompts_and_pairs_are_rendered_alike(directory: Path, template: str | None, as_file: bool) -> None:
    (directory / "chat_template.jinja").unlink()
    if as_file and template is not None:
        (directory / "chat_template.jinja").write_text(template)
    listed = template if as_file else [{"name": "default", "template": template}]
    described(directory, chat_template=None if as_file or template is None else listed)
    ours, theirs = assert_equal(directory), AutoTokenizer.from_pretrained(directory)
    dialogue = (("user", "Why?"), ("assistant", "So."), ("user", "How?"))
    for system_prompt in (None, "Be brief."):
        for prompt in ("Why is it so?", dialogue, (("system", "Rhyme."), *dialogue)):
            assert prompt_ids(ours, prompt, system_prompt) == prompt_ids(theirs, prompt, system_prompt)
        pairs = [PreferencePair(dialogue, "Because.", "No."), PreferencePair("Why?", "So it is.", "Hm", False)]
        assert (pair_lengths(ours, pairs, system_prompt) == pair_lengths(theirs, pairs, system_prompt)).all()


def test_a_template_may_refuse(directory: Path) -> None:
    (directory / "chat_template.jinja").write_text(LIMITED)
    tokenizer = assert_equal(directory)
    with pytest.raises(TemplateError, match="System role not supported"):
        prompt_ids(tokenizer, "Why?", "Be brief.")


@pytest.mark.parametrize(
    ("model_type", "settings"),
    [
        ("gemma", {}),
        ("llama", {"tokenizer_class": "LlamaTokenizer"}),
        ("llama", {"add_bos_token": True}),
        ("llama", {"add_prefix_space": True}),
        ("llama", {"pad_token": "<unheard of>"}),
        ("llama", {"extra_special_tokens": ["<unheard of>"]}),
        ("llama", {"tokenizer_class": "GPT2Tokenizer", "eos_token": None}),
    ],
)
def test_what_transformers_changes_is_left_to_it(directory: Path, model_type: str, settings: dict[str, Any]) -> None:
    assert file_tokenizer(described(directory, model_type, **settings)) is None


def test_transformers_reads_what_is_left_to_it(directory: Path) -> None:
    described(directory, pad_token="<unheard of>")
    assert read_tokenizer(directory).pad_token_id == AutoTokenizer.from_pretrained(directory).pad_token_id

"""What becomes of texts as tokens: what is harmless is let through, what is not is one line."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from mva_ray.checks.subject import Finding, Subject
from mva_ray.checks.tokenizer import (
    is_readable,
    length_problems,
    template_problems,
    token_problems,
    tokenizer_problems,
)
from mva_ray.config import read_config
from mva_ray.config.document import Problem
from tests.support.extreme import write
from tests.support.extreme.case import Case, Settings, own_model

Change = Callable[[Path, Settings], Any]


@pytest.fixture
def subject_of(tmp_path: Path, tiny_model: Path) -> Callable[[Change], Subject]:
    """A config that is right but for what changes its settings and its own copy of the base model."""

    def make(change: Change) -> Subject:
        def on_copy(directory: Path, settings: Settings) -> None:
            change(own_model(directory, settings), settings)

        draft = read_config(write(tmp_path, tiny_model, Case("", on_copy)))
        return Subject(draft, base_directory=tmp_path / "model")

    return make


def texts(findings: Iterable[Finding]) -> list[str]:
    found = [finding.text if isinstance(finding, Problem) else finding for finding in findings]
    return [text.partition(": ")[2] if text.startswith("line ") else text for text in found]


def test_a_pad_token_beyond_the_embeddings_is_harmless(subject_of: Callable[[Change], Subject], tmp_path: Path) -> None:
    """Neither engine nor training pads with it; many chat models were given one without a row of its own."""

    def with_pad(model: Path, _: Settings) -> None:
        tokenizer = AutoTokenizer.from_pretrained(model)
        tokenizer.add_special_tokens({"pad_token": "<beyond>"})
        tokenizer.save_pretrained(model)

    subject = subject_of(with_pad)
    assert texts(token_problems(subject)) == []
    rows = json.loads((tmp_path / "model" / "config.json").read_text())["vocab_size"]
    assert AutoTokenizer.from_pretrained(tmp_path / "model").pad_token_id >= rows, "or the test shows nothing"


def test_an_end_token_beyond_the_embeddings_is_not(subject_of: Callable[[Change], Subject], tmp_path: Path) -> None:
    def with_end(model: Path, _: Settings) -> None:
        tokenizer = AutoTokenizer.from_pretrained(model)
        tokenizer.add_special_tokens({"eos_token": "<beyond>"})
        tokenizer.save_pretrained(model)

    assert texts(token_problems(subject_of(with_end))) == [
        f"the eos_token of {tmp_path / 'model'} is token 300, and the model has embeddings for 300"
    ]


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ messages[-1].content }}", "generation.system_prompt is not seen by the base model"),
        (
            "{{ raise_exception('no system') if messages[0].role == 'system' else messages[-1].content }}",
            "the base model's chat template refuses a system turn: no system",
        ),
        ("{% for message in messages %}{{ message.content }}{% endfor %}", None),
    ],
    ids=["left out", "refused", "seen"],
)
def test_what_a_template_does_with_the_system_prompt_is_said(
    subject_of: Callable[[Change], Subject], template: str, said: str | None
) -> None:
    def change(model: Path, settings: Settings) -> None:
        (model / "chat_template.jinja").write_text(template)
        settings["generation"] = {"system_prompt": "Be brief."}

    found = texts(template_problems(subject_of(change)))
    assert [text.startswith(str(said)) for text in found] == [True] * bool(said)


@pytest.mark.parametrize(
    ("section", "written", "said"),
    [
        ("generation", {"max_new_tokens": 200}, None),
        ("generation", {"max_new_tokens": 250}, "250 new tokens are too many: with a prompt, the base model has 256"),
        ("training", {"max_length": 5}, "no prompt of values[1].pairs is shorter than 5 tokens"),
    ],
)
def test_texts_have_to_fit_into_the_model(
    subject_of: Callable[[Change], Subject], section: str, written: dict[str, Any], said: str | None
) -> None:
    subject = subject_of(lambda _, settings: settings.update({section: settings.get(section, {}) | written}))
    found = texts(length_problems(subject))
    assert bool(found) is bool(said)
    assert all(text.startswith(str(said)) for text in found[:1])


def test_a_prompt_that_is_too_long_is_shown_with_its_tokens(
    subject_of: Callable[[Change], Subject], tmp_path: Path
) -> None:
    long = "x" * 300
    subject = subject_of(lambda _, settings: None)
    (tmp_path / "search.jsonl").write_text(json.dumps({"prompt": long}) + '\n{"prompt": "a"}\n')
    (found,) = texts(length_problems(subject))
    assert found.startswith("1 prompts are too long for the base model: its 256 positions leave ")
    assert f"{long[:60]!r} has 3" in found


@pytest.mark.parametrize("broken", [False, True])
def test_a_tokenizer_that_cannot_be_read_is_one_line(
    subject_of: Callable[[Change], Subject], tiny_model: Path, broken: bool
) -> None:
    def change(model: Path, _: Settings) -> None:
        if broken:
            (model / "tokenizer.json").write_text("{}")
        else:
            (model / "tokenizer.json").unlink()

    subject = subject_of(change)
    (found,) = texts(tokenizer_problems(subject))
    assert ("cannot be read" in found) is broken
    assert ("has no tokenizer (tokenizer.json)" in found) is not broken
    assert "\n" not in found
    assert not is_readable(subject.base)
    assert is_readable(tiny_model)

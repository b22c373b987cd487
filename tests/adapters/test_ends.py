"""Where answers end: the model's own files decide, the tokenizer's end token is no more than one of them."""

from pathlib import Path

import pytest

from mva_ray.adapters.base_model import load_tokenizer
from mva_ray.adapters.ends import Ends, read_ends
from mva_ray.adapters.tokenizer_file import read_tokenizer
from mva_ray.errors import RunError
from tests.support.endings import END, OTHER, OTHER_TOKEN, edit, ending


def ends_of(directory: Path) -> Ends:
    """The same by our reading of the tokenizer's file and by transformers."""
    tokenizers = read_tokenizer(directory), load_tokenizer(str(directory))
    [ends] = {read_ends(directory, tokenizer) for tokenizer in tokenizers}
    return ends


def test_a_model_whose_files_agree(tiny_model: Path, tiny_gpt2: Path) -> None:
    assert ends_of(tiny_model) == ends_of(tiny_gpt2) == Ends((END,), END)


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        ([OTHER, END], Ends((OTHER, END), END)),
        ([END], Ends((END, OTHER), END)),
        (END, Ends((END, OTHER), END)),
        ([OTHER], Ends((OTHER,), OTHER)),
        ([7, 8], Ends((7, 8, OTHER), 7)),
        (None, Ends((OTHER,), OTHER)),
    ],
)
def test_in_a_chat_answers_end_as_the_template_ends_them(
    tiny_model: Path, tmp_path: Path, ends: list[int] | int | None, expected: Ends
) -> None:
    """Gemma, Phi-3: the tokenizer's end is that of a text. Where nothing stops at the template's end, it is none."""
    assert ends_of(ending(tiny_model, tmp_path / "model", OTHER_TOKEN, ends)) == expected


@pytest.mark.parametrize(
    ("ends", "turn"), [([END, OTHER], OTHER), ([OTHER], OTHER), ([END], END), ([7, END], 7), (None, OTHER)]
)
def test_without_a_template_they_end_with_the_tokenizers_end_if_the_model_stops_there(
    tiny_gpt2: Path, tmp_path: Path, ends: list[int] | None, turn: int
) -> None:
    assert ends_of(ending(tiny_gpt2, tmp_path / "model", OTHER_TOKEN, ends)).turn == turn


@pytest.mark.parametrize(
    ("template", "turn"),
    [
        (
            "{% for m in messages %}[{{ m['content'] }}]{{ ' </s>' if m['role'] == 'assistant' else '' }}{% endfor %}",
            END,
        ),
        ("{% for m in messages %}</s>{{ m['role'] }}: {{ m['content'] | trim }}<pad>\n{% endfor %}</s>", OTHER),
        ("{% for m in messages %}</s>{{ m['role'] }}{% endfor %}", OTHER),
        ("{{ raise_exception('a system turn is wanted') }}", OTHER),
        ("{% for m in messages %}{{ m['content'] }}{{ eos_token }}{% endfor %}", OTHER),
    ],
    ids=["after a space", "first of several", "leaves the answer out", "refuses", "by name"],
)
def test_what_stands_after_an_answer_in_the_template(
    tiny_model: Path, tmp_path: Path, template: str, turn: int
) -> None:
    directory = ending(tiny_model, tmp_path / "model", OTHER_TOKEN, [END, OTHER])
    (directory / "chat_template.jinja").write_text(template)
    assert ends_of(directory).turn == turn


def test_ends_may_stand_in_config_json_alone(tiny_gpt2: Path, tmp_path: Path) -> None:
    directory = ending(tiny_gpt2, tmp_path / "model", None, END)
    (directory / "generation_config.json").unlink()
    assert ends_of(directory) == Ends((END,), END)
    edit(directory / "config.json", eos_token_id=None, text_config={"eos_token_id": [OTHER]})
    assert read_ends(directory, read_tokenizer(directory)) == Ends((OTHER,), OTHER)


def test_a_model_without_any_end_is_refused_by_name(tiny_gpt2: Path, tmp_path: Path) -> None:
    directory = ending(tiny_gpt2, tmp_path / "endless", None, None)
    with pytest.raises(RunError, match=r"^base_model: .*endless names no token that ends an answer: set eos_token in"):
        read_ends(directory, read_tokenizer(directory))

"""Prompt and pair files: what is read, and each bad line with its number."""

from pathlib import Path

import pytest

from mva_ray.data.files import read_prompts
from mva_ray.errors import ConfigError
from mva_ray.records import PreferencePair


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "lines.jsonl"


def problems_of(file: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read_prompts(file)
    assert caught.value.source == str(file)
    return caught.value.problems


def test_prompts_in_order_as_written(file: Path) -> None:
    file.write_text(
        '{"prompt": " b "}\n\n{"prompt": "a\\n\\u2028c", "topic": 1}\r\n{"prompt": "日本 😀"}', encoding="utf-8"
    )
    assert read_prompts(file) == [" b ", "a\n\u2028c", "日本 😀"]


def test_a_line_separator_within_a_prompt_does_not_end_the_line(file: Path) -> None:
    file.write_text('{"prompt": "a\u2028b\u0085c"}\n', encoding="utf-8")
    assert read_prompts(file) == ["a\u2028b\u0085c"]


def test_a_byte_order_mark_is_no_text(file: Path) -> None:
    file.write_text('{"prompt": "a"}\n', encoding="utf-8-sig")
    assert read_prompts(file) == ["a"]


def test_an_empty_file_has_no_prompts(file: Path) -> None:
    file.write_text("\n  \n")
    assert read_prompts(file) == []


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("prompt", "not valid JSON: Expecting value: line 1 column 1 (char 0)"),
        ("[" * 100_000, None),
        ('["a"]', 'expected an object such as {"prompt": "..."}'),
        ('"a"', 'expected an object such as {"prompt": "..."}'),
        ("{}", "expected a non-empty text for 'prompt', it is missing"),
        ('{"prompt": ""}', "expected a non-empty text for 'prompt', got \"\""),
        ('{"prompt": null}', "expected a non-empty text for 'prompt', got null"),
        ('{"prompt": 3}', "expected a non-empty text for 'prompt', got 3"),
        ('{"prompt": ["é"]}', "expected a non-empty text for 'prompt', got [\"é\"]"),
    ],
)
def test_a_bad_line_is_named(file: Path, line: str, problem: str | None) -> None:
    file.write_text(f'{{"prompt": "good"}}\n{line}\n', encoding="utf-8")
    [found] = problems_of(file)
    assert found.startswith("line 2: not valid JSON") if problem is None else found == f"line 2: {problem}"


def test_many_bad_lines_are_counted(file: Path) -> None:
    file.write_text("{}\n" * 12)
    problems = problems_of(file)
    assert problems[:5] == [f"line {n}: expected a non-empty text for 'prompt', it is missing" for n in range(1, 6)]
    assert problems[5:] == ["and 7 more bad lines"]


def test_unreadable_files(tmp_path: Path) -> None:
    assert problems_of(tmp_path / "none.jsonl") == ["no such file"]
    assert problems_of(tmp_path) == ["cannot be read: Is a directory"]
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    assert problems_of(tmp_path / "binary") == ["not UTF-8 text; expected JSONL"]


def test_pairs(file: Path) -> None:
    file.write_text(
        '{"prompt": "p", "chosen": "c", "rejected": "r"}\n{"prompt": "q", "chosen": "d", "rejected": "s"}\n'
    )
    assert read_pairs(file) == [PreferencePair("p", "c", "r"), PreferencePair("q", "d", "s")]


def test_pairs_need_all_three_texts(file: Path) -> None:
    file.write_text('{"prompt": "p", "chosen": "c"}\n{"prompt": "p", "chosen": [], "rejected": "r"}\n')
    with pytest.raises(ConfigError) as caught:
        read_pairs(file)
    assert caught.value.problems == [
        "line 1: expected a non-empty text for 'rejected', it is missing",
        "line 2: expected a non-empty text for 'chosen', got []",
    ]

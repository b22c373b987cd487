"""Data files: the same rows from every format, and each bad row with its place."""

import gzip
import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mva_ray.data.files import BATCH_ROWS, read_prompts
from mva_ray.errors import ConfigError


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


def test_a_file_of_prompts_is_read_once_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each check asks for them, and the plan; what one of them does with its list is nothing to the others."""
    file = tmp_path / "a.jsonl"
    file.write_text('{"prompt": "a"}')
    read_prompts(file).append("b")
    with monkeypatch.context() as patch:
        patch.setattr("mva_ray.data.files.read_rows", None)
        assert read_prompts(file) == ["a"]
    file.write_text('{"prompt": "other"}')
    assert read_prompts(file) == ["other"]


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


ROWS = [{"prompt": 'a\u2028\nb, "c"'}, {"prompt": "日本"}]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)
CSV = 'prompt,topic\r\n"a\u2028\nb, ""c""",1\r\n日本,2\r\n'


def write_gzip(path: Path, text: str) -> None:
    path.write_bytes(gzip.compress(text.encode()))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", LINES),
        ("a.txt", LINES),
        ("a.json", LINES),
        ("a.json", json.dumps(ROWS, indent=1)),
        ("a.json", "\n" + json.dumps(ROWS)),
        ("A.CSV", CSV),
        ("a.v1.csv", "\ufeff" + CSV),
        ("a.jsonl.gz", LINES),
        ("a.gz", LINES),
        ("a.csv.gz", CSV),
        ("a.json.GZ", json.dumps(ROWS)),
    ],
)
def test_prompts_are_the_same_in_every_text_format(tmp_path: Path, name: str, content: str) -> None:
    path = tmp_path / name
    if name.lower().endswith("gz"):
        write_gzip(path, content)
    else:
        path.write_bytes(content.encode())
    assert read_prompts(path) == [row["prompt"] for row in ROWS]


def test_prompts_of_parquet(tmp_path: Path) -> None:
    """More rows than are unpacked at a time."""
    prompts = [f"prompt {number}" for number in range(2 * BATCH_ROWS + 1)]
    pq.write_table(pa.table({"prompt": prompts}), tmp_path / "a.parquet")
    assert read_prompts(tmp_path / "a.parquet") == prompts
    pq.write_table(pa.table({"prompt": [*prompts, None]}), tmp_path / "a.parquet")
    [problem] = problems_of(tmp_path / "a.parquet")
    assert problem == f"row {len(prompts) + 1}: expected a non-empty text for 'prompt', got null"


def test_lines_of_csv_are_those_where_the_rows_begin(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('prompt,x\n"a\nb\nc",1\n,2\n"d\ne",3\nf,4,5\n')
    assert problems_of(path) == [
        "line 5: expected a non-empty text for 'prompt', got \"\"",
        "line 8: more fields than the header has columns (2)",
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "topic\nb\n", "its columns are topic; expected prompt"),
        ("a.jsonl", '{"question": "b", "id": 1}\n{"question": "c"}', "its columns are question, id; expected prompt"),
        (
            "a.csv",
            "prompt;topic\nb, or c;1\n",
            'its only column is "prompt;topic": separate columns by commas (tabs in a file called .tsv)',
        ),
        (
            "a.csv.gz",
            "prompt\ttopic\nb\t1\n",
            r'its only column is "prompt\ttopic": separate columns by commas (tabs in a file called .tsv)',
        ),
        ("a.tsv", "prompt,topic\nb,1\n", 'its only column is "prompt,topic": separate columns by tabs'),
    ],
)
def test_columns_found_are_named(tmp_path: Path, name: str, content: str, message: str) -> None:
    packed = gzip.compress(content.encode()) if name.endswith(".gz") else content.encode()
    (tmp_path / name).write_bytes(packed)
    assert problems_of(tmp_path / name) == [message]


def test_what_one_row_lacks_is_said_of_the_row(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"question": "b"}\n{"prompt": "c"}')
    assert problems_of(tmp_path / "a.jsonl") == ["line 1: expected a non-empty text for 'prompt', it is missing"]


def test_tabs_separate_columns_of_tsv(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text('prompt\tx\nb, "or" c\t1\n"two\nlines"\t2\n')
    assert read_prompts(tmp_path / "a.tsv") == ['b, "or" c', "two\nlines"]
    (tmp_path / "b.tsv.gz").write_bytes(gzip.compress((tmp_path / "a.tsv").read_bytes()))
    assert read_prompts(tmp_path / "b.tsv.gz") == ['b, "or" c', "two\nlines"]


def test_pipes_and_devices_are_refused_unread(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jsonl")
    for path in (tmp_path / "pipe.jsonl", Path("/dev/zero")):
        assert problems_of(path) == ["is a pipe or a device; expected a file, which is read more than once"]


def test_a_long_field_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f"prompt\n{'a' * 200_000}\n")
    assert len(read_prompts(tmp_path / "a.csv")[0]) == 200_000


def test_entries_of_a_json_list_are_counted(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('[{"prompt": "a"}, 3, {}]')
    assert problems_of(tmp_path / "a.json") == [
        'entry 2: expected an object such as {"prompt": "..."}',
        "entry 3: expected a non-empty text for 'prompt', it is missing",
    ]


def test_half_a_surrogate_pair_is_no_text(file: Path) -> None:
    """JSON can hold it; tokenizers raise."""
    file.write_text('{"prompt": "a\\ud800b"}\n{"prompt": "\\ud83d\\ude00"}\n')
    assert problems_of(file) == ["line 1: 'prompt' is not valid Unicode: surrogates not allowed"]


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.jsonl.gz", b"plain", "cannot be read: Not a gzipped file"),
        ("a.jsonl.gz", gzip.compress(LINES.encode())[:-12], "cannot be unpacked, is it complete?"),
        ("a.parquet", b"plain", "not a readable Parquet file: "),
        ("a.json", b'[{"prompt": "a"}', "not valid JSON: "),
        ("a.csv", b'prompt\n"a', "line 2: not valid CSV: unexpected end of data"),
        ("a.csv", b"\xff", "not UTF-8 text; expected CSV"),
        ("a.json", b"\xff", "not UTF-8 text; expected JSON"),
    ],
)
def test_broken_files(tmp_path: Path, name: str, content: bytes, problem: str) -> None:
    (tmp_path / name).write_bytes(content)
    [found] = problems_of(tmp_path / name)
    assert found.startswith(problem)

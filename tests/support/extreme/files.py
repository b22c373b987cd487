"""YAML that never ends, and files of prompts and pairs that are none."""

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path

import yaml

from tests.support.extreme.case import Case, Settings


def text(key: str, write: Callable[[str], str]) -> Case:
    """Another text in place of the YAML of the settings."""
    return Case(key, lambda directory, settings: write(yaml.safe_dump(settings, sort_keys=False)))


def file(key: str, name: str, content: str | bytes) -> Case:
    """Prompts to search with, or pairs where the key is theirs, from another file."""

    def change(directory: Path, settings: Settings) -> None:
        (directory / name).write_bytes(content.encode() if isinstance(content, str) else content)
        use(settings, key, name)

    return Case(key, change)


def use(settings: Settings, key: str, name: str) -> None:
    if "pairs" in key:
        settings["values"][1]["pairs"] = name
    else:
        settings["prompts"]["search"]["path"] = name


def special(key: str, make: Callable[[Path], Path]) -> Case:
    """A file of another kind than those with content."""
    return Case(key, lambda directory, settings: use(settings, key, str(make(directory))))


def pipe(directory: Path) -> Path:
    os.mkfifo(directory / "pipe.jsonl")
    return directory / "pipe.jsonl"


def long_prompts(split: str) -> Case:
    def change(directory: Path, settings: Settings) -> None:
        rows = [json.dumps({"prompt": f"{split} {number}"}) for number in range(8)]
        (directory / f"{split}.jsonl").write_text("\n".join([*rows, json.dumps({"prompt": "Why? " * 6000})]))

    return Case(f"prompts.{split}.path", change)


def long_pairs(directory: Path, settings: Settings) -> None:
    pair = {"prompt": "Why?", "chosen": "Because. " * 200, "rejected": "No."}
    (directory / "pairs.jsonl").write_text("\n".join([json.dumps(pair)] * 8))


BOMB = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x, x]"] + [f"a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 9)}]" for n in range(12)]
)
SEARCH, PAIRS = "prompts.search.path", "values[1].pairs"
ROWS = [("a", "b", "c"), ("d", "e", "f"), ("g", "h", "i"), ("j", "k", "l")]


def table(header: str, separator: str) -> str:
    return "\n".join([header, *(separator.join(row) for row in ROWS)])


FILES: dict[str, Case] = {
    "alias bomb": text("entries", lambda good: f"{BOMB}\n{good}"),
    "alias bomb inside a key": text("entries", lambda good: f"{good}\n{BOMB}"),
    "ten megabytes": text("bytes", lambda good: f"{good}\n# {'x' * 10_000_000}"),
    "many entries": text("entries", lambda good: good + "x: [" + ",".join(["1"] * 21_000) + "]"),
    "nested without end": text("nested", lambda good: f"{good}x: {'[' * 5000}{']' * 5000}"),
    "a number of five thousand digits": text("seed", lambda good: f"{good}seed: {'9' * 5000}"),
    "a float of five thousand digits": text(
        "search.bounds", lambda good: good.replace("\nsearch:", f"\nsearch:\n  bounds: [0, 0.{'1' * 5000}]")
    ),
    "a merge key": text("search.<<", lambda good: good.replace("\nsearch:", "\nsearch:\n  <<: {candidates: 8}")),
    "an entry in itself": text("contains itself", lambda good: f"{good}x: &x [*x]"),
    "zeros": text("YAML", lambda good: "\0" * 1000),
    "prompts from a pipe": special(SEARCH, pipe),
    "prompts without end": special(SEARCH, lambda directory: Path("/dev/zero")),
    "prompts from nowhere": special(SEARCH, lambda directory: directory / "nowhere.jsonl"),
    "prompts in a directory": special(SEARCH, lambda directory: directory),
    "pairs from a pipe": special(PAIRS, pipe),
    "pairs without end": special(PAIRS, lambda directory: Path("/dev/zero")),
    "prompts under another name": file(SEARCH, "a.jsonl", '{"question": "a"}\n{"question": "b"}'),
    "prompts between semicolons": file(SEARCH, "a.csv", table("prompt;x;y", ";")),
    "prompts between commas called tsv": file(SEARCH, "a.tsv", table("prompt,x,y", ",")),
    "prompts between tabs called csv": file(SEARCH, "a.csv", table("prompt\tx\ty", "\t")),
    "prompts under another name in csv": file(SEARCH, "a.csv", table("question,x,y", ",")),
    "prompts in json without end": file(SEARCH, "a.json", "[" * 100_000),
    "prompts that are no json": file(SEARCH, "a.json", '[{"prompt": "a"},'),
    "prompts cut short": file(SEARCH, "a.jsonl.gz", gzip.compress(b'{"prompt": "a"}\n' * 1000)[:40]),
    "prompts that are no parquet": file(SEARCH, "a.parquet", b"PAR1" + b"\0" * 100 + b"PAR1"),
    "prompts of zeros": file(SEARCH, "a.jsonl", b"\0" * 1_000_000),
    "prompts of numbers": file(SEARCH, "a.jsonl", '{"prompt": 1}\n{"prompt": 2}'),
    "prompts of half a surrogate": file(SEARCH, "a.jsonl", '{"prompt": "\\ud800"}\n{"prompt": "b"}'),
    "one prompt": file(SEARCH, "a.jsonl", '{"prompt": "a"}'),
    "pairs between semicolons": file(PAIRS, "a.csv", table("prompt;chosen;rejected", ";")),
    "pairs between tabs called csv": file(PAIRS, "a.csv", table("prompt\tchosen\trejected", "\t")),
    "pairs under other names": file(PAIRS, "a.csv", table("prompt,good,bad", ",")),
    "pairs with a question": file(PAIRS, "a.tsv", table("question\tchosen\trejected", "\t")),
    "pairs of one answer": file(PAIRS, "a.jsonl", '{"prompt": "a", "chosen": "b", "rejected": "b"}'),
    "pairs of nothing": file(PAIRS, "a.jsonl", ""),
    "pairs of equal length and no columns": file(PAIRS, "a.csv", "a,b,c\n1,2,3\n"),
    "pairs beyond the positions": Case("training.max_length", long_pairs),
    "a search prompt of thirty thousand tokens": long_prompts("search"),
    "a held-out prompt of thirty thousand tokens": long_prompts("held_out"),
    "a train prompt of thirty thousand tokens": long_prompts("train"),
}

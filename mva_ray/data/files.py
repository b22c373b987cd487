"""Prompt and preference pair files: JSONL, UTF-8, one object a line; empty lines and further keys are passed over."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from mva_ray.errors import ConfigError
from mva_ray.records import PreferencePair

SHOWN_LINES = 5
"""Bad lines that are listed one by one; the others are counted."""

T = TypeVar("T")


def read_prompts(path: Path) -> list[str]:
    """The prompts of a file of `{"prompt": "..."}` lines, in its order.

    Raises:
        ConfigError: the file cannot be read, or has bad lines: the first five are listed, the others counted.
    """
    return _read_lines(path, lambda entry: _text(entry, "prompt"))


def read_pairs(path: Path) -> list[PreferencePair]:
    """The pairs of a file of `{"prompt": "...", "chosen": "...", "rejected": "..."}` lines, in its order.

    Raises:
        ConfigError: the file cannot be read, or has bad lines: the first five are listed, the others counted.
    """
    return _read_lines(
        path,
        lambda entry: PreferencePair(_text(entry, "prompt"), _text(entry, "chosen"), _text(entry, "rejected")),
    )


def _read_lines(path: Path, parse: Callable[[Any], T]) -> list[T]:
    parsed, problems = [], []
    for number, line in _lines(path):
        try:
            parsed.append(parse(_json_object(line)))
        except ValueError as error:
            problems.append(f"line {number}: {error}")
    if len(problems) > SHOWN_LINES:
        problems[SHOWN_LINES:] = [f"and {len(problems) - SHOWN_LINES} more bad lines"]
    if problems:
        raise ConfigError(str(path), problems)
    return parsed


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise ConfigError(str(path), ["no such file"]) from error
    except OSError as error:
        raise ConfigError(str(path), [f"cannot be read: {error.strerror}"]) from error
    except UnicodeDecodeError as error:
        raise ConfigError(str(path), ["not UTF-8 text; expected JSONL"]) from error
    return ((number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip())


def _json_object(line: str) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not valid JSON: {error}") from error
    if not isinstance(entry, dict):
        raise ValueError('expected an object such as {"prompt": "..."}')
    return entry


def _text(entry: dict[str, Any], key: str) -> str:
    text = entry.get(key)
    if not isinstance(text, str) or not text.strip():
        found = "it is missing" if key not in entry else f"got {json.dumps(text, ensure_ascii=False)[:60]}"
        raise ValueError(f"expected a non-empty text for {key!r}, {found}")
    return text

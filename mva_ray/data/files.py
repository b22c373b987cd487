"""Rows of data files: JSONL, JSON, CSV, TSV (each also as .gz) and Parquet, each with the place where it stands."""

import csv
import gzip
import json
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from mva_ray.config.generation import PromptFile, PromptSplits
from mva_ray.errors import ConfigError, last_line

SHOWN_ROWS = 5
"""Bad rows that are listed one by one; the others are counted."""

KEPT_IN_MEMORY = 8
"""Files and data sets that are kept, so that a run that checks, plans and trains reads each once."""

LONGEST_FIELD = 2**31 - 1
"""Of a CSV file, in characters; Python's own limit of 131,072 is less than some dialogues have."""


BATCH_ROWS = 4096
"""Rows of Parquet and of the hub that are unpacked at a time."""


class BadRow(ValueError):
    """A row that cannot be used: `reason` says what is wrong with all rows of its kind, the text with this one."""

    def __init__(self, reason: str, text: str) -> None:
        self.reason = reason
        super().__init__(text)


class Row(NamedTuple):
    """One row and its place, such as `line 12` (of a text file) or `row 12` (of any other), from 1."""

    place: str
    content: Mapping[str, Any] | BadRow


class Rejected(NamedTuple):
    """A bad row as people see it."""

    place: str
    reason: str
    text: str


def read_rows(path: Path) -> Iterator[Row]:
    """The rows of a data file; empty lines are passed over. What is not called .json, .csv, .tsv or .parquet is JSONL.

    Raises:
        ConfigError: while iterating, where the file cannot be read.
    """
    kinds = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"]
    read = _READERS.get("".join(kinds[-1:]), _jsonl_rows)
    if path.exists() and not path.is_file() and not path.is_dir():
        raise ConfigError(str(path), ["is a pipe or a device; expected a file, which is read more than once"])
    try:
        yield from read(path)
    except FileNotFoundError as error:
        raise ConfigError(str(path), ["no such file"]) from error
    except UnicodeDecodeError as error:
        raise ConfigError(str(path), [f"not UTF-8 text; expected {_NAMES.get(read, 'JSONL')}"]) from error
    except OSError as error:
        raise ConfigError(str(path), [f"cannot be read: {error.strerror or last_line(error)}"]) from error
    except (EOFError, zlib.error) as error:
        raise ConfigError(str(path), [f"cannot be unpacked, is it complete? {error}"]) from error


def stamp(path: Path) -> tuple[int, int] | None:
    """What changes with a file: when it was written, and its bytes; None where there is none."""
    found = path.stat() if path.is_file() else None
    return (found.st_mtime_ns, found.st_size) if found else None


def read_prompts(path: Path) -> list[str]:
    """The prompts of a file of rows with a column `prompt`, in its order.

    Raises:
        ConfigError: the file cannot be read, or has bad rows: the first five are listed, the others counted.
    """
    return list(_prompts(path, stamp(path)))


def split_prompts(prompts: PromptSplits, split: str) -> list[str]:
    """The prompts of a config's split: the first `count` of its file, all where that is not given."""
    file: PromptFile = getattr(prompts, split)
    return read_prompts(Path(file.path))[: file.count]


@lru_cache(KEPT_IN_MEMORY)
def _prompts(path: Path, _: object) -> list[str]:
    prompts, rejected = [], []
    columns: Mapping[str, Any] = {}
    for row in read_rows(path):
        columns = columns or (row.content if not isinstance(row.content, BadRow) else {})
        try:
            prompts.append(text_of(content_of(row), "prompt"))
        except BadRow as error:
            rejected.append(Rejected(row.place, error.reason, str(error)))
    if rejected and not prompts and (line := other_columns(columns, ("prompt",))):
        raise ConfigError(str(path), [line])
    if rejected:
        raise ConfigError(str(path), first_of(rejected))
    return prompts


def other_columns(columns: Iterable[str], wanted: Sequence[str]) -> str | None:
    """What there is in place of what is wanted; None where nothing is missing, or nothing else is there."""
    found = [str(column) for column in columns]
    if set(wanted) <= set(found) or set(found) <= set(wanted):
        return None
    return f"its columns are {', '.join(found)[:200]}; expected {', '.join(wanted)}"


def first_of(rejected: Sequence[Rejected]) -> list[str]:
    """One line for each of the first five bad rows, and one that counts the others."""
    lines = [f"{place}: {text}" for place, _, text in rejected[:SHOWN_ROWS]]
    if len(rejected) > SHOWN_ROWS:
        unit = rejected[0].place.partition(" ")[0]
        lines.append(f"and {len(rejected) - SHOWN_ROWS} more bad {unit}s")
    return lines


def reasons_of(rejected: Sequence[Rejected]) -> Counter[str]:
    """How many bad rows there are of each kind."""
    return Counter(row.reason for row in rejected)


def content_of(row: Row) -> Mapping[str, Any]:
    """The columns of a row.

    Raises:
        BadRow: it has none that could be read.
    """
    if isinstance(row.content, BadRow):
        raise row.content
    return row.content


def text_of(row: Mapping[str, Any], key: str) -> str:
    """The text in a column.

    Raises:
        BadRow: it is missing, no text, empty, or holds half of a surrogate pair, which no tokenizer takes.
    """
    text = row.get(key)
    if isinstance(text, str) and text.strip():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise BadRow(f"{key} is not Unicode", f"{key!r} is not valid Unicode: {error.reason}") from error
        return text
    found = "it is missing" if key not in row else f"got {shown(text)}"
    what = "missing" if text is None else "empty" if isinstance(text, str) else "not a text"
    raise BadRow(f"{key} is {what}", f"expected a non-empty text for {key!r}, {found}")


def shown(value: Any) -> str:
    """What a row has, short enough for a message."""
    return json.dumps(value, ensure_ascii=False, default=str)[:60]


def arrow_rows(batches: Iterable[Any]) -> Iterator[Row]:
    """The rows of Arrow tables or batches, numbered through."""
    contents = chain.from_iterable(batch.to_pylist() for batch in batches)
    return (Row(f"row {number}", content) for number, content in enumerate(contents, start=1))


@contextmanager
def _open(path: Path, newline: str) -> Iterator[TextIO]:
    unpack = gzip.open if path.suffix.lower() == ".gz" else open
    with unpack(path, "rt", encoding="utf-8-sig", newline=newline) as file:
        yield file


def _jsonl_rows(path: Path) -> Iterator[Row]:
    with _open(path, "\n") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield Row(f"line {number}", _parsed(line))


def _parsed(line: str) -> Mapping[str, Any] | BadRow:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError) as error:
        return BadRow("not valid JSON", f"not valid JSON: {error}")
    return _object(entry)


def _object(entry: Any) -> Mapping[str, Any] | BadRow:
    if isinstance(entry, dict):
        return entry
    return BadRow("not an object", 'expected an object such as {"prompt": "..."}')


def _json_rows(path: Path) -> Iterator[Row]:
    """A list of objects, or JSONL under this name, as many published files are."""
    with _open(path, "\n") as file:
        if not file.read(4096).lstrip().startswith("["):
            yield from _jsonl_rows(path)
            return
        file.seek(0)
        try:
            entries = json.load(file)
        except (json.JSONDecodeError, RecursionError) as error:
            raise ConfigError(str(path), [f"not valid JSON: {error}"]) from error
    for number, entry in enumerate(entries, start=1):
        yield Row(f"entry {number}", _object(entry))


def _csv_rows(path: Path, delimiter: str = ",") -> Iterator[Row]:
    csv.field_size_limit(LONGEST_FIELD)
    with _open(path, "") as file:
        reader = csv.DictReader(file, strict=True, delimiter=delimiter)
        before = 1
        try:
            _check_separator(path, reader.fieldnames or ())
            for row in reader:
                yield Row(f"line {before + 1}", _columns(row))
                before = reader.line_num
        except csv.Error as error:
            raise ConfigError(str(path), [f"line {before + 1}: not valid CSV: {error}"]) from error


def _tsv_rows(path: Path) -> Iterator[Row]:
    return _csv_rows(path, delimiter="\t")


def _check_separator(path: Path, names: Sequence[str]) -> None:
    """A header that is one name with separators of another kind in it: every row would be one field."""
    if len(names) == 1 and any(other in names[0] for other in ";\t|,"):
        wanted = "tabs" if ".tsv" in path.suffixes else "commas (tabs in a file called .tsv)"
        raise ConfigError(str(path), [f"its only column is {shown(names[0])}: separate columns by {wanted}"])


def _columns(row: dict[str | Any, Any]) -> Mapping[str, Any] | BadRow:
    if None in row:
        return BadRow("more fields than columns", f"more fields than the header has columns ({len(row) - 1})")
    return row


def _parquet_rows(path: Path) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with path.open("rb") as raw, pq.ParquetFile(raw) as file:
            yield from arrow_rows(file.iter_batches(BATCH_ROWS))
    except pa.ArrowException as error:
        raise ConfigError(str(path), [f"not a readable Parquet file: {last_line(error)}"]) from error


_READERS: dict[str, Callable[[Path], Iterator[Row]]] = {
    ".parquet": _parquet_rows,
    ".csv": _csv_rows,
    ".tsv": _tsv_rows,
    ".json": _json_rows,
}
_NAMES: dict[Callable[[Path], Iterator[Row]], str] = {_csv_rows: "CSV", _tsv_rows: "TSV", _json_rows: "JSON"}

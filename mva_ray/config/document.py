"""A YAML file with the line of every key, so that each message can say where it is about."""

import re
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from mva_ray.errors import ConfigError

Location = tuple[str | int, ...]
"""The way from the top of the file to an entry: keys of mappings and indices of lists."""


class Problem(NamedTuple):
    """One thing that is wrong; the line sorts the problems of a file and is 0 where there is none."""

    line: int
    text: str


@dataclass(frozen=True)
class Document:
    """The content of a YAML file, the line of each of its entries and the keys that are in it twice."""

    data: dict[str, Any]
    lines: dict[Location, int]
    repeated: list[Problem]

    def get(self, *location: str | int) -> Any:
        """The entry at a location, None where there is none."""
        entry: Any = self.data
        for key in location:
            try:
                entry = entry[key]
            except (LookupError, TypeError):
                return None
        return entry

    def written(self, location: Location) -> Location:
        """The longest beginning of a location that is in the file."""
        while location and location not in self.lines:
            location = location[:-1]
        return location

    def problem(self, location: Location, message: str) -> Problem:
        """A problem with the line and the path of the entry in front: `line 12, values[1].margin: ...`."""
        location = self.written(location)
        if not location:
            return Problem(0, message)
        line = self.lines[location]
        return Problem(line, f"line {line}, {as_written(location)}: {message}")

    def problem_of_setting(self, location: Location, message: str) -> Problem:
        """The same with the whole path, also where the entry is not in the file and has its default."""
        line = self.lines.get(self.written(location), 0)
        place = f"line {line}, " if line else ""
        return Problem(line, f"{place}{as_written(location)}: {message}" if location else message)


def as_written(location: Location) -> str:
    """`values[1].margin` for ("values", 1, "margin")."""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in location).removeprefix(".")


PLAIN_VALUES = {
    "null": r"(~|null|Null|NULL|)",
    "bool": r"(true|True|TRUE|false|False|FALSE)",
    "int": r"[-+]?(0|[1-9][0-9]*)",
    "float": r"([-+]?(\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))",
}
"""What is not text, as in YAML 1.2: `5e-4` is a number, `no` and `2026-01-31` are text, `010` is not eight."""

RESOLVERS = {None: [(f"tag:yaml.org,2002:{kind}", re.compile(rf"{form}\Z")) for kind, form in PLAIN_VALUES.items()]}
"""In PyYAML's form: None stands for every first character."""


LARGEST_FILE = 50_000
"""Bytes: thirty values are a fifth of that, and PyYAML reads that much in a second."""

DEEPEST = 100
"""Brackets in brackets: PyYAML's time grows with the square of them."""

MOST_ENTRIES = 20_000
"""Aliases count as often as they are used: a few lines of them can stand for billions of entries."""

LONGEST_NUMBER = 400
"""Characters: more than any number has that could be meant."""


class _Unreadable(Exception):
    """YAML that would never end, or only after long."""


def read_yaml(path: Path) -> Document:
    """Reads one YAML mapping.

    Raises:
        ConfigError: the file cannot be read, is no YAML, is empty or is not a mapping.
    """
    return parsed(_read_text(path), str(path))


def parsed(text: str, source: str) -> Document:
    """The same of a text; `source` is what messages call it.

    Raises:
        ConfigError: it is no YAML, is empty or is not a mapping.
    """
    document = Document({}, {}, [])
    try:
        _check_depth(text)
        loader = yaml.SafeLoader(text)
        loader.yaml_implicit_resolvers = RESOLVERS
        node = loader.get_single_node()
        _note_lines(node, (), document, frozenset())
        data = None if node is None else loader.construct_document(node)
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(source, [_yaml_problem(error)]) from error
    except _Unreadable as error:
        raise ConfigError(source, [str(error)]) from error
    except RecursionError as error:
        raise ConfigError(source, ["entries are nested too deeply"]) from error
    if data is None:
        raise ConfigError(source, ["the file is empty; expected the keys of a run, such as name and base_model"])
    if not isinstance(data, dict):
        kind = "a list" if isinstance(data, list) else "a single value"
        raise ConfigError(source, [f"expected a mapping (key: value) at the top, got {kind}"])
    return replace(document, data=data)


def _read_text(path: Path) -> str:
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            raise ConfigError(str(path), ["is a pipe or a device; expected a YAML file"])
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise ConfigError(str(path), [f"cannot be read: {error.strerror}"]) from error
    if len(content) > LARGEST_FILE:
        problem = (
            f"has {path.stat().st_size:,} bytes; expected a config of at most {LARGEST_FILE:,} (data go into files)"
        )
        raise ConfigError(str(path), [problem])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(str(path), ["not UTF-8 text; expected a YAML file"]) from error


def _check_depth(text: str) -> None:
    """
    Raises:
        _Unreadable: more brackets are open at once than a config has.
    """
    depths = accumulate((char in "[{") - (char in "]}") for char in text)
    if max(depths, default=0) > DEEPEST:
        raise _Unreadable(f"entries are nested too deeply: more than {DEEPEST} brackets are open at once")


def _yaml_problem(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 1}: not valid YAML: {error.problem}"
    return f"not valid YAML: {str(error).splitlines()[0]}"


def _note_lines(node: yaml.Node | None, location: Location, document: Document, above: frozenset[int]) -> None:
    """Notes the line of each entry below a node, and the keys that a mapping has twice.

    Args:
        above: the nodes that this one is in.
    """
    if id(node) in above:
        raise _Unreadable("an entry contains itself (an alias inside its own anchor)")
    above |= {id(node)}
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _note(item, (*location, index), document, item.start_mark.line + 1)
            _note_lines(item, (*location, index), document, above)
    elif isinstance(node, yaml.MappingNode):
        first_lines: dict[Location, int] = {}
        for key, value in node.value:
            line, below = key.start_mark.line + 1, (*location, str(key.value))
            if below in first_lines:
                text = f"line {line}, {as_written(below)}: given twice, first on line {first_lines[below]}; keep one"
                document.repeated.append(Problem(line, text))
            first_lines.setdefault(below, line)
            _note(value, below, document, line)
            _note_lines(value, below, document, above)


def _note(node: yaml.Node, location: Location, document: Document, line: int) -> None:
    """
    Raises:
        _Unreadable: it would take long to go on.
    """
    document.lines[location] = line
    if len(document.lines) > MOST_ENTRIES:
        raise _Unreadable(f"line {line}: more than {MOST_ENTRIES:,} entries, those that aliases repeat among them")
    if node.tag.endswith((":int", ":float")) and len(node.value) > LONGEST_NUMBER:
        raise _Unreadable(f"line {line}, {as_written(location)}: a number of {len(node.value):,} digits")

"""Says what is wrong with a config in the words of its author: key as written, what is there, what would be right."""

from collections.abc import Iterator
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from mva_ray.config.document import Document, Location, Problem
from mva_ray.config.imports import did_you_mean

Section = type[BaseModel]

NO_REWARD = "reward is missing: every value needs one to score candidates"
NO_REWARD_NO_PAIRS = (
    "reward and pairs are missing: every value needs a reward to score candidates"
    " (without pairs of your own, they are made with it)"
)


def explain(error: ValidationError, config: Section, document: Document) -> list[Problem]:
    """One problem for each entry that is wrong; entries are described by the `description` of their field."""
    problems = (_explain(details, config, document) for details in error.errors())
    return list(dict.fromkeys(problems))


def _explain(details: ErrorDetails, config: Section, document: Document) -> Problem:
    location = details["loc"]
    match details["type"]:
        case "extra_forbidden" | "invalid_key":
            section, key = _section_at(config, location[:-1]), str(location[-1])
            return document.problem((*location[:-1], key), _unknown(key, list(section.model_fields)))
        case "missing" if isinstance(location[-1], str):
            return document.problem(location[:-1], _missing(location[-1], details["input"], config, location))
        case "string_type" if location[-1] == "[key]":
            return document.problem((*location[:-2], str(location[-2])), f"expected a name, got {_shown(location[-2])}")
        case "value_error":
            return document.problem(location, str(details["ctx"]["error"]))
    location, expected = _expected(config, location)
    return document.problem(location, f"expected {expected}, got {_shown(document.get(*document.written(location)))}")


MERGE_KEY = "a merge key of YAML 1.1, which is not read: write the keys out, or alias the whole mapping (*name)"


def _unknown(key: str, known: list[str]) -> str:
    if key == "<<":
        return MERGE_KEY
    return "unknown key" + (did_you_mean(key, known) or f"; known keys: {', '.join(known)}")


def _missing(key: str, parent: dict[str, Any], config: Section, location: Location) -> str:
    if key == "reward":
        return NO_REWARD if {"pairs", "adapter"} & parent.keys() else NO_REWARD_NO_PAIRS
    return f"{key} is missing: expected {_expected(config, location)[1]}"


def _expected(config: Section, location: Location) -> tuple[Location, str]:
    """The part of a location that is described as one thing, and its description."""
    descriptions = [description for _, description in _walk(config, location)]
    return location[: len(descriptions)], descriptions[-1] if descriptions else _mapping(config)


def _section_at(config: Section, location: Location) -> Section:
    sections = [section for section, _ in _walk(config, location) if section]
    return sections[-1] if sections else config


def _walk(config: Section, location: Location) -> Iterator[tuple[Section | None, str]]:
    """The section and the description of each entry on the way; an entry of a list or of a dict is a section itself."""
    section: Section | None = config
    named_by_author = False
    for key in location:
        if section is None:
            return
        if isinstance(key, int) or named_by_author:
            named_by_author = False
            yield section, _mapping(section)
        else:
            field = section.model_fields[key]
            section, named_by_author = _section_in(field.annotation), get_origin(field.annotation) is dict
            yield section, _description(field) or _mapping(section)


def _section_in(annotation: Any) -> Section | None:
    """The section that an annotation such as `Reward | None` or `list[Value]` is about, if it is about one."""
    return next((part for part in _parts(annotation) if isinstance(part, type) and issubclass(part, BaseModel)), None)


def _description(field: FieldInfo) -> str | None:
    inner = (part.description for part in _parts(field.annotation) if isinstance(part, FieldInfo))
    return field.description or next(filter(None, inner), None)


def _parts(annotation: Any) -> Iterator[Any]:
    yield annotation
    for part in get_args(annotation):
        yield from _parts(part)


def _mapping(section: Section | None) -> str:
    return f"a mapping with {', '.join(section.model_fields)}" if section else "something else"


def _shown(value: Any) -> str:
    match value:
        case None:
            return "nothing"
        case bool():
            return str(value).lower()
        case dict():
            return "a mapping"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."

"""The prompts and pairs that a config names, also where the config itself is not right."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import combinations
from pathlib import Path

from pydantic import ValidationError

from mva_ray.checks.subject import Finding, Purpose, Subject
from mva_ray.config import Draft
from mva_ray.config.document import Location, Problem, as_written
from mva_ray.config.search import FEWEST_PROMPTS as FEWEST_OF_CANDIDATE
from mva_ray.config.search import Search
from mva_ray.config.values import PairSource
from mva_ray.data.conflict import shared_prompts
from mva_ray.data.doubts import doubts
from mva_ray.data.files import read_prompts
from mva_ray.data.source import read_source, too_many_bad
from mva_ray.errors import ConfigError
from mva_ray.records import JUDGING, SPLITS, PreferencePair, Prompt

FEWEST_PROMPTS = 2
"""A standard error needs two."""


def prompt_problems(subject: Subject) -> Iterator[Finding]:
    """Files of prompts that cannot be read, are too small, or have prompts of another split."""
    draft = subject.draft
    prompts, problems = _read_prompts(draft)
    yield from problems
    yield from _repeated_prompts(prompts)
    yield from _shared_prompts(draft, prompts)
    yield from _answer_problems(draft, prompts)


def pair_problems(subject: Subject) -> Iterator[Finding]:
    """Files of pairs that cannot be read, have too many bad rows or none, or prompts that a split judges by.

    A line for each kind of thing in them that their user may not mean.
    """
    return _pair_problems(subject.draft, on_hub=False)


def hub_problems(subject: Subject) -> Iterator[Finding]:
    """The same of data sets of the hub."""
    return _pair_problems(subject.draft, on_hub=True)


def pair_count_problems(subject: Subject) -> Iterator[Finding]:
    """Values with fewer pairs than one step takes; samples give at most one pair a train prompt."""
    step, config = subject.config.training.pairs_per_step, subject.config
    most = {as_written(location): len(pairs) for location, _, pairs in readable_pairs(subject)}
    if config.sampled_values:
        most["prompts.train, which give a pair each"] = len(readable_prompts(subject).get("train", ()))
    for where, count in most.items():
        if 0 < count < step:
            message = f"{step} is more than the {count} of {where}: lower it, or give more"
            yield subject.problem(("training", "pairs_per_step"), message)


def readable_prompts(subject: Subject) -> dict[str, list[str]]:
    """The prompts of every split that can be read, as many as `count` leaves."""
    return _read_prompts(subject.draft)[0]


def readable_pairs(subject: Subject) -> Iterator[tuple[Location, str, tuple[PreferencePair, ...]]]:
    """The pairs of every source that can be read, with its place and its name; offline, none of the hub."""
    for location, source in _pair_sources(subject.draft):
        if source.hub is None or subject.purpose is not Purpose.DRY_RUN:
            with suppress(ConfigError):
                yield location, source.name, read_source(source).pairs


def _read_prompts(draft: Draft) -> tuple[dict[str, list[str]], list[Problem]]:
    """The prompts of every split that can be read, as many as `count` leaves."""
    prompts: dict[str, list[str]] = {}
    problems: list[Problem] = []
    for split in SPLITS:
        location = ("prompts", split, "path")
        if file := draft.file_at(*location):
            try:
                read = read_prompts(file)
            except ConfigError as error:
                problems += _file_problems(draft, location, error)
            else:
                problems += _size_problems(draft, split, file, len(read))
                count = draft.document.get("prompts", split, "count")
                prompts[split] = read[: count if isinstance(count, int) else None]
    return prompts, problems


def _size_problems(draft: Draft, split: str, file: Path, size: int) -> Iterator[Problem]:
    count = draft.document.get("prompts", split, "count")
    if size < FEWEST_PROMPTS:
        found = f"{file} has {size or 'no'} prompt{'s' * (size != 1)}; at least {FEWEST_PROMPTS} are needed"
        yield draft.document.problem(("prompts", split, "path"), found)
    elif isinstance(count, int) and count > size:
        yield draft.document.problem(("prompts", split, "count"), f"{count} is more than the {size} prompts of {file}")


def _repeated_prompts(prompts: Mapping[str, Sequence[str]]) -> Iterator[str]:
    for split, own in prompts.items():
        if again := len(own) - len(shared_prompts(own, own)):
            yield f"{again:,} of {len(own):,} prompts in prompts.{split} are there before: they count as often as that"


def _shared_prompts(draft: Draft, prompts: Mapping[str, Sequence[str]]) -> Iterator[Problem]:
    """A prompt in two splits would let the search, or the training, see what it is judged on."""
    for (first, earlier), (second, later) in combinations(prompts.items(), 2):
        if shared := shared_prompts(later, earlier):
            message = f"a prompt belongs to one split only, and these are in prompts.{first} too: {_listed(shared)}"
            yield draft.document.problem(("prompts", second, "path"), message)


def _pair_problems(draft: Draft, on_hub: bool) -> Iterator[Finding]:
    prompts, _ = _read_prompts(draft)
    for location, source in _pair_sources(draft):
        if (source.hub is not None) != on_hub:
            continue
        try:
            data = read_source(source)
        except ConfigError as error:
            yield from _file_problems(draft, location, error)
            continue
        yield from _file_problems(draft, location, ConfigError(source.name, too_many_bad(source, data)))
        if not data.pairs and not data.rejected:
            yield draft.document.problem(location, f"{source.name} has no pairs")
        for split in JUDGING:
            if shared := shared_prompts([pair.prompt for pair in data.pairs], prompts.get(split, ())):
                message = f"{source.name} trains on prompts that prompts.{split} judges by: {_listed(shared)}"
                yield draft.document.problem(location, message)
        yield from (f"{as_written(location)}, {source.name}: {line}" for line in doubts(data))


def _answer_problems(draft: Draft, prompts: Mapping[str, Sequence[str]]) -> Iterator[Problem]:
    """A budget in answers has to leave a few for each candidate and all for one, and less than all for all."""
    answers, candidates = (draft.document.get("search", name) for name in ("answers", "candidates"))
    candidates, size = Search().candidates if candidates is None else candidates, len(prompts.get("search", ()))
    if not (type(answers) is type(candidates) is int and size and candidates > 0):
        return
    each, most = min(FEWEST_OF_CANDIDATE, size), candidates * size
    least = min(most, candidates * each + size)
    if answers < least:
        found = (
            f"{candidates:,} candidates answer at least {each} prompts each, and those on the front all {size:,}: "
            f"give at least {least:,}, got {answers:,}"
        )
        yield draft.document.problem(("search", "answers"), found)
    elif answers > most:
        found = f"{candidates:,} candidates that answer all {size:,} search prompts need {most:,}: leave it out"
        yield draft.document.problem(("search", "answers"), found)


def _pair_sources(draft: Draft) -> Iterator[tuple[Location, PairSource]]:
    """The sources that are written as they have to be; what is wrong with the others is said by the draft."""
    values = draft.document.get("values")
    for index in range(len(values) if isinstance(values, list) else 0):
        location = ("values", index, "pairs")
        if written := draft.document.get(*location):
            with suppress(ValidationError):
                yield location, PairSource.model_validate(written, context={"directory": draft.path.absolute().parent})


def _listed(prompts: Sequence[Prompt]) -> str:
    more = f" and {len(prompts) - 1} more" if len(prompts) > 1 else ""
    first = prompts[0] if isinstance(prompts[0], str) else prompts[0][-1][1]
    return f"{first.strip()[:80]!r}{more}"


def _file_problems(draft: Draft, location: Location, error: ConfigError) -> Iterator[Problem]:
    for problem in error.problems:
        yield draft.document.problem(location, f"{error.source}: {problem}")

"""The whole check of a config before anything is computed: the file itself and the data files it names."""

from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

from mva_ray.config import Draft, RunConfig, read_config
from mva_ray.config_yaml import Location, Problem
from mva_ray.data.files import read_pairs, read_prompts
from mva_ray.errors import ConfigError
from mva_ray.records import SPLITS

FEWEST_PROMPTS = 2
"""A standard error needs two."""


def load_checked_config(path: Path) -> RunConfig:
    """Reads a config and checks it with its prompt and pair files.

    Raises:
        ConfigError: with every problem of the config and of the files, in the order of the config.
    """
    draft = read_config(path)
    return draft.finish(data_problems(draft))


def data_problems(draft: Draft) -> list[Problem]:
    """What is wrong with the prompt and pair files of a config, each at the line that names the file."""
    return [*_prompt_problems(draft), *_pair_problems(draft)]


def _prompt_problems(draft: Draft) -> Iterator[Problem]:
    prompts: dict[str, list[str]] = {}
    for split in SPLITS:
        location = ("prompts", split, "path")
        if file := draft.file_at(*location):
            try:
                prompts[split] = read_prompts(file)
            except ConfigError as error:
                yield from _file_problems(draft, location, error)
            else:
                yield from _size_problems(draft, split, file, len(prompts[split]))
    yield from _shared_prompts(draft, prompts)


def _size_problems(draft: Draft, split: str, file: Path, size: int) -> Iterator[Problem]:
    count = draft.document.get("prompts", split, "count")
    if size < FEWEST_PROMPTS:
        found = f"{file} has {size or 'no'} prompt{'s' * (size != 1)}; at least {FEWEST_PROMPTS} are needed"
        yield draft.document.problem(("prompts", split, "path"), found)
    elif isinstance(count, int) and count > size:
        yield draft.document.problem(("prompts", split, "count"), f"{count} is more than the {size} prompts of {file}")


def _shared_prompts(draft: Draft, prompts: dict[str, list[str]]) -> Iterator[Problem]:
    """A prompt in two splits would let the search, or the training, see what it is judged on."""
    used = {split: _used(draft, split, texts) for split, texts in prompts.items()}
    for first, second in combinations(used, 2):
        shared = [text for text in used[second] if text in used[first]]
        if shared:
            more = f" and {len(shared) - 1} more" if len(shared) > 1 else ""
            message = f"a prompt belongs to one split only, and these are in prompts.{first} too: {shared[0]!r}{more}"
            yield draft.document.problem(("prompts", second, "path"), message)


def _used(draft: Draft, split: str, texts: list[str]) -> dict[str, None]:
    """The prompts that `count` leaves, without repetitions, in the order of the file."""
    count = draft.document.get("prompts", split, "count")
    return dict.fromkeys(text.strip() for text in texts[: count if isinstance(count, int) else None])


def _pair_problems(draft: Draft) -> Iterator[Problem]:
    values = draft.document.get("values")
    for index in range(len(values) if isinstance(values, list) else 0):
        location = ("values", index, "pairs")
        if file := draft.file_at(*location):
            try:
                pairs = read_pairs(file)
            except ConfigError as error:
                yield from _file_problems(draft, location, error)
            else:
                if not pairs:
                    yield draft.document.problem(location, f"{file} has no pairs")


def _file_problems(draft: Draft, location: Location, error: ConfigError) -> Iterator[Problem]:
    for problem in error.problems:
        yield draft.document.problem(location, f"{error.source}: {problem}")

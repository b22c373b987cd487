"""A value's own preference pairs: where they come from, what was read, and what was not and why."""

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from mva_ray.config.values import PairSource
from mva_ray.data.files import (
    BATCH_ROWS,
    KEPT_IN_MEMORY,
    BadRow,
    Rejected,
    Row,
    arrow_rows,
    content_of,
    first_of,
    other_columns,
    read_rows,
    stamp,
)
from mva_ray.data.formats import (
    best_against_worst_rated,
    detect_format,
    pair_of_hh,
    pair_of_row,
    pair_of_safe_rlhf,
    rated_responses,
    wanted_columns,
)
from mva_ray.errors import ConfigError, last_line
from mva_ray.records import PreferencePair

T = TypeVar("T")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PairData:
    """What a source has.

    `rows` are all of its rows, `rejected` those that could not be used. `ties` are prompts of rated responses that
    gave no pair, `unrated` responses without a score. `columns` are those of the first row that has any.
    """

    format: str
    rows: int
    pairs: tuple[PreferencePair, ...]
    rejected: tuple[Rejected, ...]
    ties: int = 0
    unrated: int = 0
    columns: tuple[str, ...] = ()


def read_source(source: PairSource) -> PairData:
    """All that a source has, also where it has more bad rows than it may.

    Raises:
        ConfigError: the source cannot be read, or its format needs a setting that is not given.
    """
    return _read(source, stamp(Path(source.path)) if source.path else None)


def read_pairs(source: PairSource) -> tuple[PreferencePair, ...]:
    """The pairs of a source; bad rows that it may have are left out, and logged when it is first read.

    Raises:
        ConfigError: the source cannot be read, or has more bad rows than `max_bad_share`.
    """
    data = read_source(source)
    if problems := too_many_bad(source, data):
        raise ConfigError(source.name, problems)
    return data.pairs


def too_many_bad(source: PairSource, data: PairData) -> list[str]:
    """The bad rows, the first five in full, where they are more than `max_bad_share` of all; else nothing."""
    bad = len(data.rejected)
    if bad <= source.max_bad_share * data.rows:
        return []
    above = f"{bad} of {data.rows} rows are bad, more than max_bad_share = {source.max_bad_share:g}"
    return [*first_of(data.rejected), *([above] if source.max_bad_share else [])]


def pairs_hash(pairs: Iterable[PreferencePair]) -> str:
    """A content hash of what training sees of pairs: it changes with any row, setting or reader that changes them."""
    digest = hashlib.sha256()
    for pair in pairs:
        finished = (pair.chosen_finished, pair.rejected_finished)
        fields = (pair.prompt, pair.chosen, pair.rejected, *finished, pair.weight, pair.margin)
        digest.update(json.dumps(fields).encode() + b"\n")
    return digest.hexdigest()[:12]


@lru_cache(KEPT_IN_MEMORY)
def _read(source: PairSource, _: object) -> PairData:
    rows, first = _peek(read_rows(Path(source.path)) if source.path else _hub_rows(source))
    found = _format(source, first)
    data = _rated(rows, source) if found == "scores" else _paired(rows, found, source)
    if line := _other_columns(source, data, first):
        raise ConfigError(source.name, [line])
    if data.rejected and not too_many_bad(source, data):
        lines = "; ".join(first_of(data.rejected))
        log.warning("%s: %d of %d rows left out: %s", source.name, len(data.rejected), data.rows, lines)
    return replace(data, pairs=data.pairs[: source.limit], columns=tuple(first))


def _other_columns(source: PairSource, data: PairData, first: Mapping[str, Any]) -> str | None:
    """What there is in place of what is wanted, where every row lacks it."""
    if data.pairs or not data.rejected or not all(row.text.endswith("it is missing") for row in data.rejected):
        return None
    return other_columns(first, wanted_columns(data.format, first, source.preference, source.attribute))


def _peek(rows: Iterator[Row]) -> tuple[Iterator[Row], Mapping[str, Any]]:
    """The rows, and the columns of the first that has any."""
    seen = []
    for row in rows:
        seen.append(row)
        if not isinstance(row.content, BadRow):
            return chain(seen, rows), row.content
    return iter(seen), {}


def _format(source: PairSource, first: Mapping[str, Any]) -> str:
    detected = "safe_rlhf" if source.preference else "scores" if source.attribute else detect_format(first)
    found = detected if source.format == "auto" else source.format
    if found == "safe_rlhf" and not source.preference:
        raise ConfigError(source.name, ["it has two responses a row: add `preference: better` or `preference: safer`"])
    if found == "scores" and not source.attribute:
        raise ConfigError(source.name, ["it has scores: add `attribute:`, the name of the score to make pairs by"])
    return found


def _paired(rows: Iterable[Row], found: str, source: PairSource) -> PairData:
    convert = {
        "pairs": pair_of_row,
        "dialogues": pair_of_hh,
        "safe_rlhf": lambda row: pair_of_safe_rlhf(row, source.preference or ""),
    }[found]
    pairs, rejected = _converted(rows, convert)
    return PairData(found, len(pairs) + len(rejected), tuple(pairs), tuple(rejected))


def _rated(rows: Iterable[Row], source: PairSource) -> PairData:
    of_rows, rejected = _converted(rows, lambda row: rated_responses(row, source.attribute or ""))
    rated = [response for responses in of_rows for response in responses]
    found = list(best_against_worst_rated(rated, source.min_difference))
    pairs = tuple(pair for pair in found if pair is not None)
    unrated = sum(response.score is None for response in rated)
    return PairData("scores", len(of_rows) + len(rejected), pairs, tuple(rejected), len(found) - len(pairs), unrated)


def _converted(rows: Iterable[Row], convert: Callable[[Mapping[str, Any]], T]) -> tuple[list[T], list[Rejected]]:
    """What became of the good rows, and the others."""
    good, rejected = [], []
    for row in rows:
        try:
            good.append(convert(content_of(row)))
        except BadRow as error:
            rejected.append(Rejected(row.place, error.reason, str(error)))
    return good, rejected


def _hub_rows(source: PairSource) -> Iterator[Row]:
    """The rows of a data set of the hub, from its cache where there is one; no code of the data set is run."""
    from datasets import load_dataset

    try:
        dataset = load_dataset(
            source.hub, source.config, data_dir=source.data_dir, split=source.split, revision=source.revision
        )
    except Exception as error:  # of several libraries
        problem = f"the hub does not give it: {type(error).__name__}: {last_line(error)}"
        raise ConfigError(source.name, [problem]) from error
    return arrow_rows(dataset.with_format("arrow").iter(BATCH_ROWS))

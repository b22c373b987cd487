"""What a disturbed run lost or did twice, from its journal and its table, against an undisturbed run."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.chaos.draw import Fault
from mva_ray.records import SPENT_COLUMNS
from mva_ray.table import ParetoTable

ON_THE_WIRE_S = 0.5
"""An answer that its generator finished so shortly before it was ended may not have reached the broker."""

Entry = Mapping[str, Any]


class Journal:
    """What the processes of one exploration wrote down so far; see `journal/sitecustomize.py`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def entries(self) -> list[Entry]:
        lines = self.path.read_text().splitlines(keepends=True) if self.path.exists() else []
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def reached(self, stages: Mapping[str, str]) -> Counter[str]:
        """How many different answers (or training steps) of each stage are done; `stages` by prompt."""
        done = {key for entry in self.entries() if entry["what"] in ("answered", "step") for key in entry["keys"]}
        return Counter(stage_of(key, stages) for key in done)


def stage_of(key: str, stages: Mapping[str, str]) -> str:
    if key.startswith("step "):
        return "training"
    return stages[key.partition("] ")[2] or key.removeprefix("sample ")]


@dataclass
class Strike:
    """A fault that has struck.

    Args:
        before: when the fault began.
        after: until when answers may have been lost by it: it was over, or a driver was started again.
        everything: whether all that was not recorded yet is lost, else what the victims were at work on.
        victims: (host, pid) of generators, or (host, None) for all of a host.
    """

    fault: Fault
    before: float
    after: float
    victim: str
    everything: bool
    victims: Sequence[tuple[str, int | None]] = ()
    in_flight: set[str] = field(default_factory=set)

    def lost(self, entries: Sequence[Entry]) -> set[str]:
        """The answers that were in flight."""
        begun = [entry for entry in entries if entry["what"] == "begun" and entry["at"] <= self.after]
        until = self.after if self.everything else self.before
        recorded = _keys(entry for entry in entries if entry["what"] == "recorded" and entry["at"] <= until)
        if self.everything:
            return _keys(begun) - recorded
        early = [e for e in entries if e["what"] == "answered" and e["at"] < self.before - ON_THE_WIRE_S]
        return _keys(e for e in begun if self._struck(e)) - _keys(e for e in early if self._struck(e)) - recorded

    def _struck(self, entry: Entry) -> bool:
        return any(entry["host"] == host and pid in (None, entry["pid"]) for host, pid in self.victims)


@dataclass(frozen=True)
class Verdict:
    """Of one exploration; every number but `rows`, `in_flight` and `twice` should be 0, and `front_equal` true."""

    rows: int
    lost: int
    rows_twice: int
    not_in_table: int
    in_flight: int
    twice: int
    twice_beyond: int
    front_equal: bool
    table_equal: bool

    @property
    def is_clean(self) -> bool:
        numbers = (self.lost, self.rows_twice, self.not_in_table, self.twice_beyond)
        return not any(numbers) and self.front_equal and self.table_equal


def judge(journal: Journal, strikes: Sequence[Strike], run: str, undisturbed: str) -> Verdict:
    """The verdict on a run that has come to its end.

    lost: evaluations that were recorded once and are not in the table. not_in_table: by how much the table has fewer
    or more rows than were recorded, beyond those of a commit whose process was ended in it. rows_twice: of a candidate
    on as many prompts; one that is completed has a row of a few and a row of all. twice_beyond: answers
    generated more often than 1 + the faults at which they were in flight.
    """
    entries, rows = journal.entries(), ParetoTable(run).evaluations()
    there = Counter((row.split, row.candidate, row.created_at.timestamp()) for row in rows)
    recorded, tried = (_rows(entries, what) for what in ("recorded", "recording"))
    for strike in strikes:
        strike.in_flight = strike.lost(entries)
    allowed = Counter(key for strike in strikes for key in strike.in_flight)
    begun = Counter(key for entry in entries if entry["what"] == "begun" for key in entry["keys"])
    alike = Counter((row.split, row.candidate, row.n_prompts) for row in rows)
    return Verdict(
        rows=there.total(),
        lost=len(recorded.keys() - there.keys()),
        rows_twice=sum(count - 1 for count in alike.values()),
        not_in_table=(recorded - there).total() + (there - tried).total(),
        in_flight=sum(len(strike.in_flight) for strike in strikes),
        twice=sum(count - 1 for count in begun.values()),
        twice_beyond=sum(max(0, count - 1 - allowed[key]) for key, count in begun.items()),
        front_equal=_front(run).equals(_front(undisturbed)),
        table_equal=_table(run).equals(_table(undisturbed)),
    )


def _keys(entries: Iterator[Entry] | Sequence[Entry]) -> set[str]:
    return {key for entry in entries for key in entry["keys"]}


def _rows(entries: Sequence[Entry], what: str) -> Counter[tuple[Any, ...]]:
    return Counter(tuple(row) for entry in entries if entry["what"] == what for row in entry["rows"])


def _table(run: str) -> pd.DataFrame:
    """All that a table says, but for when, how long, and where the base model lay: its hash stays."""
    return _comparable(ParetoTable(run).frame()).sort_values(["split", "candidate"], ignore_index=True)


def _front(run: str) -> pd.DataFrame:
    return _comparable(ParetoTable(run).front()).reset_index(drop=True)


def _comparable(frame: pd.DataFrame) -> pd.DataFrame:
    hashes = frame["base_model"].str.rpartition(" ")[2]
    return frame.drop(columns=["seconds", *SPENT_COLUMNS, "created_at"]).assign(base_model=hashes)

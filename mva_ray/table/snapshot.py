"""The current rows of a run at one moment: read once, without texts, and asked any number of times."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from threading import Lock

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mva_ray.errors import ConfigError, DamagedFile
from mva_ray.records import Evaluation, ScoredGeneration
from mva_ray.run_dir.layout import RunDirectory
from mva_ray.run_dir.run_state import RunState
from mva_ray.table.cautions import cautions
from mva_ray.table.frame import flat_frame, on_split
from mva_ray.table.pareto_table import FILE, REMEDY, ParetoTable, Rows, newest
from mva_ray.table.schema import from_arrow

KEPT = 16
"""Runs whose last snapshot a process keeps."""


@dataclass(frozen=True)
class Snapshot:
    """The newest row of every current candidate and split, oldest first, as of one version of the table.

    Args:
        place: the absolute path or URL of the run.
        rows: without generations; `FILE` says where in the table each row is.
        read: all rows that were read of the table, for the next snapshot.
    """

    place: str
    state: RunState
    rows: pa.Table
    read: Rows

    @cached_property
    def frame(self) -> pd.DataFrame:
        """The flat rows of docs/table.md. It is shared: do not change it."""
        return flat_frame(self.rows, self.state.coefficients, self.state.constraints)

    @cached_property
    def cautions(self) -> list[str]:
        """What would mislead who reads the numbers, see `cautions`."""
        return cautions(self.frame, self.state.values)

    def on(self, split: str | None) -> pd.DataFrame:
        """The rows of `frame` on one split, shared too; if None, `held_out` where there are any, else `search`."""
        if split not in self._on:
            self._on[split] = on_split(self.frame, split)
        return self._on[split]

    @cached_property
    def _on(self) -> dict[str | None, pd.DataFrame]:
        return {}

    def first(self, n: int) -> "Snapshot":
        """As it was after the first n evaluations of the search."""
        return replace(self, rows=self.rows.filter(pc.field("split") == "search").slice(0, n))

    def evaluations(self) -> list[Evaluation]:
        """All rows, without texts."""
        return from_arrow(self.rows)

    @cached_property
    def paid(self) -> list[Evaluation]:
        """The rows of every context and split, which a run has paid for alike, without texts."""
        return from_arrow(self.read.table)

    def evaluation(self, name: str, split: str | None = None) -> Evaluation:
        """A candidate that did not fail, on the held-out prompts where it was answered there, or on `split`.

        Args:
            name: of the candidate, or its beginning where no other begins alike.

        Raises:
            ConfigError: no such candidate, or several.
        """
        return from_arrow(self.rows.take([self._row(name, split)]))[0]

    def generations(self, name: str, split: str) -> list[ScoredGeneration]:
        """What a candidate that did not fail answered on a split, in the order of the prompts.

        Raises:
            ConfigError: no such candidate on this split, or several.
        """
        row = self._row(name, split)
        file, candidate = (self.rows[column][row].as_py() for column in (FILE, "candidate"))
        return ParetoTable(self.place).answers(candidate, split, file, self.state)

    def _row(self, name: str, split: str | None) -> int:
        frame = self.frame[["candidate", "split", "status"]]
        known = frame[(frame["status"] != "failed") & ((frame["split"] == split) if split else True)]
        rows = known[known["candidate"] == only(name, known["candidate"].unique().tolist())]
        return int(rows.sort_values("split").index[0])

    def rewards(self, candidates: Sequence[str], split: str) -> NDArray[np.float64]:
        """The reward of every answer: [candidates, prompts, values], in the order of prompts and values.

        Reads rewards alone, of the files that hold these candidates.

        Raises:
            ConfigError: a candidate has no answers to all prompts of the split.
            DamagedFile: an answer has no reward of a value.
        """
        there = self.frame[(self.frame["split"] == split) & (self.frame["status"] == "ok")]
        rows = dict(zip(there["candidate"], there.index.tolist(), strict=True))
        if missing := [name for name in candidates if name not in rows]:
            raise ConfigError(
                self.place, [f"candidate '{name}' has not answered all {split} prompts" for name in missing]
            )
        if not candidates:
            return np.zeros((0, 0, len(self.state.values)))
        files = self.rows[FILE].take([rows[name] for name in candidates]).to_pylist()
        wanted = dict(zip(candidates, files, strict=True))
        table = ParetoTable(self.place)
        found = table.answer_rewards(wanted, split, self.state)
        whole = max(map(len, found.values()))
        for name, of_answers in found.items():
            if len(of_answers) != whole or not np.isfinite(of_answers).all():
                raise DamagedFile(table.uri, f"{name} has not a reward of every value for all {whole} prompts", REMEDY)
        return np.stack([found[name] for name in candidates])


def snapshot(run: Path | str) -> Snapshot:
    """The newest snapshot of a run; the one before where neither its table nor its `run.json` has changed since.

    Any number of threads may call it.

    Raises:
        ConfigError: no run there.
        DamagedFile: a file of it cannot be read.
    """
    place = RunDirectory(run).place
    with _lock:
        of_place = _reading.setdefault(place, Lock())
    with of_place:
        stamp, (known, before) = ParetoTable(place).stamp(), _kept.get(place, (None, None))
        if before is None or known != stamp:
            state, read = RunState.load(place), ParetoTable(place).rows(before.read if before else None)
            before = Snapshot(place, state, newest(read.table, state), read)
        with _lock:
            _kept.pop(place, None)
            _kept[place] = stamp, before
            while len(_kept) > KEPT:
                del _kept[next(iter(_kept))]
    return before


def forget() -> None:
    """Drop what is kept of all runs."""
    with _lock:
        _kept.clear()


_kept: dict[str, tuple[object, Snapshot]] = {}
_reading: dict[str, Lock] = {}
_lock = Lock()


def only(name: str, candidates: Sequence[str]) -> str:
    """The candidate of this name, or the only one whose name begins like it.

    Raises:
        ConfigError: there is none, or there are several.
    """
    alike = [candidate for candidate in candidates if candidate == name] or [
        one for one in candidates if one.startswith(name)
    ]
    if len(alike) == 1:
        return alike[0]
    few = ", ".join(alike[:5]) + (", ..." if len(alike) > 5 else "")
    problem = f"{len(alike)} candidates begin with it: {few}" if alike else "no such candidate"
    raise ConfigError(f"candidate {name!r}", [f"{problem}; mva-ray pareto RUN --all shows them"])

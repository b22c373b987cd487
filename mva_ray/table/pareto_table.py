"""The Pareto table of a run: a Delta table that only grows."""

import random
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial, reduce
from operator import and_, or_
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError
from numpy.typing import NDArray
from pyarrow.fs import SubTreeFileSystem

from mva_ray.errors import NO_SPACE, DamagedFile, RunError, last_line, out_of_space
from mva_ray.records import Evaluation, ScoredGeneration
from mva_ray.run_dir.layout import TABLE, RunDirectory
from mva_ray.run_dir.patience import is_away, patiently
from mva_ray.run_dir.place import arrow_files, delta_options, is_url, name_of
from mva_ray.run_dir.run_state import RunState
from mva_ray.table.frame import flat_frame, front_rows, on_split
from mva_ray.table.maps import numbers as numbers_of
from mva_ray.table.schema import EARLIER_COLUMNS, SCHEMA, from_arrow, to_arrow

COMMIT_ATTEMPTS = 20
READERS = 8
WITHOUT_TEXTS = [name for name in SCHEMA.names if name != "generations"]
IDENTITY = ["candidate", "context", "split", "prompts_hash", "created_at"]
FILE = "__filename"
"""Arrow's own name for the file that a row is in."""
REMEDY = "bring back what is missing from a copy, or delete the whole table, and all of it is evaluated again"
Filters = list[tuple[str, str]]
"""Columns and what they must be."""


class ParetoTable:
    """Every evaluation of a run, in the Delta table `run_dir/table`.

    Append-only. Any number of threads and processes may append and read at the same time; a reader sees
    whole commits only. Holds no open file and no cache: every call reads the newest version.

    `evaluations` sees the rows of every context ever run in this directory; `frame`, `front` and
    `generations` see the current ones, as `RunState` names them.

    Args:
        run_dir: path or URL of the run directory; it need not exist before the first `append`.
    """

    def __init__(self, run_dir: Path | str) -> None:
        self._run = RunDirectory(run_dir)
        self.run_dir = self._run.place
        self._uri = self._run.table

    @property
    def uri(self) -> str:
        """Where the Delta table is."""
        return self._uri

    def append(self, evaluations: Sequence[Evaluation]) -> None:
        """Add all rows in one commit: a kill leaves all of them or none.

        Raises:
            ValueError: a NaN or infinite number, or a `created_at` without time zone; nothing is written.
            CommitFailedError: other writers won every one of `COMMIT_ATTEMPTS` attempts.
            RunError: there is no space left, or the table cannot be read.
        """
        if not evaluations:
            return
        rows = to_arrow(evaluations)
        with self._speaking_plainly():
            self._append(rows)

    def _append(self, rows: pa.Table) -> None:
        for attempts_left in reversed(range(COMMIT_ATTEMPTS)):
            try:
                patiently(self._uri, lambda: self._commit_once(rows))
                return
            except CommitFailedError:
                if not attempts_left:
                    raise
                time.sleep(random.uniform(0.01, 0.2))

    def _commit_once(self, rows: pa.Table) -> None:
        try:
            self._commit(rows)
        except Exception as error:  # Delta has many
            if not is_away(error) or not self._is_there(rows):
                raise

    def _is_there(self, rows: pa.Table) -> bool:
        """Whether a commit arrived whose answer was lost: no two evaluations of a candidate begin at one moment."""
        identity = ["candidate", "split", "created_at"]
        there = {tuple(row.values()) for row in self._read(identity, []).select(identity).to_pylist()}
        return all(tuple(row.values()) in there for row in rows.select(identity).to_pylist())

    def evaluations(
        self, context: str | None = None, split: str | None = None, with_generations: bool = False
    ) -> list[Evaluation]:
        """The evaluations exactly as they were appended, oldest first.

        Args:
            context: only those of this context; of all contexts if None.
            split: only those on this prompt split; on all splits if None.
            with_generations: read the texts too; else `generations` is empty.
        """
        columns = SCHEMA.names if with_generations else WITHOUT_TEXTS
        wanted = [("context", context), ("split", split)]
        return from_arrow(self._read(columns, [(name, key) for name, key in wanted if key is not None]))

    def current(self, split: str | None = None, with_generations: bool = False) -> list[Evaluation]:
        """The newest evaluation of every current candidate and split.

        Raises:
            ConfigError: the directory holds no run.
        """
        columns = SCHEMA.names if with_generations else WITHOUT_TEXTS
        return from_arrow(self._current(RunState.load(self.run_dir), split, columns))

    def rows(self, before: "Rows | None" = None) -> "Rows":
        """Every row of every context as Arrow has it, without generations.

        Args:
            before: what an earlier call gave: then only files that are new are read.
        """
        names = self._files()
        if before is not None and before.files <= names:
            new = self._read([*WITHOUT_TEXTS, FILE], [], names - before.files) if before.files != names else None
            table = before.table if new is None else pa.concat_tables([before.table, new], promote_options="default")
            return Rows(names, table.sort_by("created_at") if new is not None else table)
        return Rows(names, self._read([*WITHOUT_TEXTS, FILE], [], names))

    def frame(self, split: str | None = None) -> pd.DataFrame:
        """`current` as flat rows. Columns: docs/table.md.

        Higher rewards are better. `on_front` compares the ok and feasible rows of the same split; rewards are NA
        where `status` is "failed".

        Raises:
            ConfigError: the directory holds no run.
        """
        state = RunState.load(self.run_dir)
        return flat_frame(self._current(state, split, WITHOUT_TEXTS), state.coefficients, state.constraints)

    def front(self, split: str | None = None) -> pd.DataFrame:
        """The non-dominated rows of `frame`, highest first value first.

        Args:
            split: the prompt split; if None, `held_out` where it has rows, else `search`.

        Raises:
            ConfigError: the directory holds no run.
        """
        first_value = RunState.load(self.run_dir).values[0]
        return front_rows(on_split(self.frame(split), split), first_value)

    def generations(self, candidate: str, split: str) -> list[ScoredGeneration]:
        """The completions and rewards of a candidate's newest current evaluation; empty if there is none.

        Raises:
            ConfigError: the directory holds no run.
        """
        state = RunState.load(self.run_dir)
        filters = [("context", state.context), ("split", split), ("candidate", candidate)]
        rows = _of_run(self._read([*IDENTITY, FILE], filters), state)
        return self.answers(candidate, split, rows[FILE][-1].as_py(), state) if len(rows) else []

    def answers(self, candidate: str, split: str, file: str, state: RunState) -> list[ScoredGeneration]:
        """`generations` of a candidate whose row is in a file, as `Rows` says: no other file is read."""
        with self._speaking_plainly():
            rows = patiently(self._uri, partial(self._read_file, file, [candidate], split, state, None))
            return list(from_arrow(rows)[-1].generations)

    def answer_rewards(self, files: Mapping[str, str], split: str, state: RunState) -> dict[str, NDArray[np.float64]]:
        """The reward of every answer of some candidates, [prompts, values] each, without reading what they said.

        Args:
            files: candidate -> the file its row is in, as `current_rows` says.
        """
        wanted: dict[str, list[str]] = {}
        for candidate, file in files.items():
            wanted.setdefault(file, []).append(candidate)
        with self._speaking_plainly(), ThreadPoolExecutor(READERS) as readers:
            read = partial(self._answer_rewards, split, state)
            found = readers.map(lambda item: patiently(self._uri, partial(read, *item)), wanted.items())
            return {candidate: rewards for of_file in found for candidate, rewards in of_file.items()}

    def _answer_rewards(
        self, split: str, state: RunState, file: str, candidates: Sequence[str]
    ) -> dict[str, NDArray[np.float64]]:
        rows = self._read_file(file, candidates, split, state, ".rewards.")
        maps = rows["generations"].combine_chunks()
        every = numbers_of(maps.flatten().field("rewards"), state.values)
        bounds = np.cumsum([0, *maps.value_lengths().to_pylist()])
        return {name: every[bounds[row] : bounds[row + 1]] for row, name in enumerate(rows["candidate"].to_pylist())}

    def _read_file(
        self, file: str, candidates: Sequence[str], split: str, state: RunState, part: str | None
    ) -> pa.Table:
        """The rows of some candidates that one file holds, oldest first; of their generations `part` alone."""
        files, path = arrow_files(self._uri)
        with pq.ParquetFile(files.open_input_file(f"{path}/{file}")) as parquet:
            leaves = [parquet.metadata.schema.column(index).path for index in range(parquet.metadata.num_columns)]
            wanted = [leaf for leaf in leaves if leaf.startswith("generations.") and part and part in leaf]
            rows = _of_run(parquet.read([*IDENTITY, *wanted] if part else None).sort_by("created_at"), state)
        return rows.filter((pc.field("split") == split) & pc.field("candidate").isin(list(candidates)))

    def stamp(self) -> object:
        """Changes when a row is added, or another config becomes the current one."""
        log = f"{TABLE}/_delta_log"
        versions = [name for name in self._run.store.names(log) if name.endswith(".json")]
        return self._run.state.read(), *(self._run.store.read(f"{log}/{name}") for name in versions[-1:])

    def earlier(self) -> int:
        """How many rows belong to other contexts or other prompts than the current ones.

        Raises:
            ConfigError: the directory holds no run.
        """
        state = RunState.load(self.run_dir)
        rows = self._read(IDENTITY, [])
        return len(rows) - len(_of_run(rows, state))

    def _current(self, state: RunState, split: str | None, columns: list[str]) -> pa.Table:
        wanted = [("context", state.context), *([("split", split)] if split is not None else [])]
        return newest(self._read(columns, wanted), state)

    def _commit(self, rows: pa.Table) -> None:
        options = delta_options(self._uri)
        if not self._has_log():
            # Appending to a missing table lets two writers each create it, and one of them lose its rows.
            DeltaTable.create(self._uri, schema=SCHEMA, mode="ignore", storage_options=options)
        write_deltalake(self._uri, rows, mode="append", schema_mode="merge", storage_options=options)

    def _files(self) -> frozenset[str]:
        """The names of the files that hold the rows of the newest version."""
        with self._speaking_plainly():
            return patiently(
                self._uri, lambda: frozenset(map(name_of, table.file_uris()) if (table := self._open()) else ())
            )

    def _read(self, columns: list[str], filters: Filters, only: Collection[str] | None = None) -> pa.Table:
        with self._speaking_plainly():
            return patiently(self._uri, lambda: self._read_now(columns, filters, only))

    def _read_now(self, columns: list[str], filters: Filters, only: Collection[str] | None) -> pa.Table:
        table = self._open()
        if table is None:
            return pa.schema([*SCHEMA, pa.field(FILE, pa.string())]).empty_table().select(columns)
        there = [field.name for field in table.schema().fields if field.name in {*columns, *EARLIER_COLUMNS}]
        there += [FILE] if FILE in columns else []
        wanted = reduce(and_, (pc.field(name) == value for name, value in filters)) if filters else None
        return self._dataset(table, only).to_table(columns=there, filter=wanted).sort_by("created_at")

    def _open(self) -> DeltaTable | None:
        """The newest version; None before the first row."""
        if self._has_log():
            return DeltaTable(self._uri, storage_options=delta_options(self._uri))
        self._check_empty()
        return None

    def _dataset(self, table: DeltaTable, only: Collection[str] | None) -> ds.Dataset:
        """The files of a version, or some of them.

        Delta's own way to Arrow spends a millisecond on the statistics of each file, which prune nothing here, and
        hands Python buffers to Arrow's threads, which may outlive the interpreter: an abort. What is beyond the first
        version of Delta's protocol (such as deletion vectors, by other programs) is left to it.
        """
        files, path = arrow_files(self._uri)
        within = SubTreeFileSystem(path, files)
        if table.protocol().min_reader_version > 1:
            return table.to_pyarrow_dataset(filesystem=within)
        parquet = ds.ParquetFileFormat(
            default_fragment_scan_options=ds.ParquetFragmentScanOptions(pre_buffer=is_url(self._uri))
        )
        names = sorted(map(name_of, table.file_uris()) if only is None else only)
        fragments = [parquet.make_fragment(name, filesystem=within) for name in names]
        return ds.FileSystemDataset(fragments, pa.schema(table.schema().to_arrow()), parquet, within)

    def _has_log(self) -> bool:
        return any(name.endswith(".json") for name in self._run.store.names(f"{TABLE}/_delta_log"))

    def _check_empty(self) -> None:
        """Where there is no log, there are no rows either: a log that was lost must not look like an empty table.

        Raises:
            DamagedFile: there are files of rows without a log.
        """
        if any(name.endswith(".parquet") for name in self._run.store.names(TABLE)):
            raise DamagedFile(self._uri, "its _delta_log is missing or empty, and there are rows without it", REMEDY)

    @contextmanager
    def _speaking_plainly(self) -> Iterator[None]:
        """Turn what Delta, Arrow or the file system raise into one line."""
        try:
            yield
        except (DeltaError, pa.ArrowException, OSError) as error:
            if isinstance(error, CommitFailedError):
                raise
            if out_of_space(error):
                raise RunError(f"{self._uri}: {NO_SPACE}") from error
            if is_url(self._uri) and isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
                raise RunError(f"{self._uri}: {last_line(error)}") from error
            raise DamagedFile(self._uri, last_line(error), REMEDY) from error


@dataclass(frozen=True)
class Rows:
    """What one version of a table holds, oldest first, without generations; `FILE` is the file that a row is in."""

    files: frozenset[str]
    table: pa.Table


def newest(rows: pa.Table, state: RunState) -> pa.Table:
    """Of the current rows the newest of every candidate and split, where the first of these stood."""
    rows = _of_run(rows, state)
    names = zip(rows["split"].to_pylist(), rows["candidate"].to_pylist(), strict=True)
    last = {name: index for index, name in enumerate(names)}
    return rows.take(list(last.values())) if len(last) < len(rows) else rows


def _of_run(rows: pa.Table, state: RunState) -> pa.Table:
    """The rows of the current context and prompts."""
    current = [
        (pc.field("split") == split) & (pc.field("prompts_hash") == prompts) for split, prompts in state.prompts.items()
    ]
    return rows.filter((pc.field("context") == state.context) & reduce(or_, current, pc.scalar(False)))

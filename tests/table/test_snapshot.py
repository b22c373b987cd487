"""What is kept of a table is that of its newest version, and is read once."""

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mva_ray.run_dir.run_state import RunState
from mva_ray.table import ParetoTable, pareto_table
from mva_ray.table.snapshot import forget, snapshot
from tests.support.evaluations import VALUES, answered, make_run, ok, trade_off

WEIGHTS = {"positive": 1.0, "brief": 0.5}


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The columns of every read of a whole table."""
    forget()
    found: list[list[str]] = []
    real = pareto_table.ParetoTable._read

    def read(table: ParetoTable, columns: list[str], filters: Any, only: Any = None) -> Any:
        found.append([*columns, f"{len(only)} files"])
        return real(table, columns, filters, only)

    monkeypatch.setattr(pareto_table.ParetoTable, "_read", read)
    return found


def test_a_table_is_read_once_without_texts_until_it_changes(tmp_path: Path, reads: list[list[str]]) -> None:
    table = make_run(tmp_path, trade_off(2), VALUES[:2])
    first = snapshot(tmp_path)
    assert snapshot(str(tmp_path)) is first
    assert len(reads) == 1
    assert "generations" not in reads[0]
    table.append([ok("new", WEIGHTS, WEIGHTS)])
    assert "new" in snapshot(tmp_path).frame["candidate"].tolist()
    assert "new" not in first.frame["candidate"].tolist()
    replace(RunState.load(tmp_path), context="another").save(tmp_path)
    assert len(snapshot(tmp_path).rows) == 0
    assert [columns[-1] for columns in reads] == ["1 files", "1 files"]


def test_a_table_that_was_made_anew_is_another_one(tmp_path: Path) -> None:
    import shutil

    make_run(tmp_path, [ok("a", WEIGHTS, WEIGHTS)], VALUES[:2])
    assert snapshot(tmp_path).frame["candidate"].tolist() == ["a"]
    shutil.rmtree(tmp_path / "table")
    assert len(snapshot(tmp_path).rows) == 0
    make_run(tmp_path, [ok("b", WEIGHTS, WEIGHTS)], VALUES[:2])
    assert snapshot(tmp_path).frame["candidate"].tolist() == ["b"]


def test_it_has_the_rows_and_the_frame_of_the_table(tmp_path: Path) -> None:
    rows = [*trade_off(3, "search"), *trade_off(3)]
    table = make_run(tmp_path, rows, VALUES[:3])
    table.append([replace(rows[0], seconds=9.0, created_at=rows[0].created_at.replace(year=2027))])
    found = snapshot(tmp_path)
    pd.testing.assert_frame_equal(found.frame, table.frame())
    assert found.evaluations() == table.current()
    assert found.evaluation("base", "search").seconds == 9
    assert found.evaluation("base").split == "held_out"


def test_rewards_of_every_answer(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    made = {name: random.normal(size=(7, 2)) for name in "abc"}
    rows = [
        answered(name, WEIGHTS, [dict(zip(VALUES[1::-1], each[::-1], strict=True)) for each in rewards.tolist()])
        for name, rewards in made.items()
    ]
    make_run(tmp_path, rows, VALUES[:2])
    found = snapshot(tmp_path).rewards(["c", "a"], "held_out")
    assert found.tolist() == [made["c"].tolist(), made["a"].tolist()]
    assert snapshot(tmp_path).rewards([], "held_out").shape == (0, 0, 2)


def test_threads_share_one_snapshot(tmp_path: Path, reads: list[list[str]]) -> None:
    make_run(tmp_path, trade_off(2), VALUES[:2])
    found: list[object] = []
    threads = [threading.Thread(target=lambda: found.append(snapshot(tmp_path))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(id, found))) == len(reads) == 1

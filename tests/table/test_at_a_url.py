"""The table in an object store: the same rows as on disk, nothing lost while the store is away, damage is one line."""

import threading
from pathlib import Path

import pandas as pd
import pytest

from mva_ray.errors import DamagedFile, RunError
from mva_ray.run_dir.objects import ObjectStore
from mva_ray.service.query import Query, ask
from mva_ray.table import ParetoTable
from tests.support.evaluations import VALUES, make_run, ok, trade_off
from tests.support.object_store import S3Server


def test_rows_and_queries_are_those_of_a_disk(s3: str, tmp_path: Path) -> None:
    rows = [*trade_off(2, "search"), *trade_off(2)]
    for place in (s3, tmp_path):
        make_run(place, rows, VALUES[:2])
    at_url, on_disk = ParetoTable(s3), ParetoTable(tmp_path)
    assert at_url.evaluations(with_generations=True) == on_disk.evaluations(with_generations=True) != []
    assert at_url.evaluations(split="search") == on_disk.evaluations(split="search") != []
    pd.testing.assert_frame_equal(at_url.front(), on_disk.front())
    query = Query(where="positive > 0", prefer="brief=1")
    pd.testing.assert_frame_equal(ask(s3, query).rows, ask(tmp_path, query).rows)


def test_there_is_nothing_before_the_first_row(s3: str) -> None:
    assert ParetoTable(s3).evaluations(with_generations=True) == []


def test_a_log_that_was_lost_is_no_empty_table(s3: str) -> None:
    ParetoTable(s3).append([ok("a", {"brief": 1.0}, {"brief": 0.5})])
    ObjectStore(s3).remove("table/_delta_log")
    with pytest.raises(DamagedFile, match="its _delta_log is missing or empty, and there are rows without it"):
        ParetoTable(s3).evaluations()


def test_rows_that_were_lost_are_one_line(s3: str) -> None:
    ParetoTable(s3).append([ok("a", {"brief": 1.0}, {"brief": 0.5})])
    store = ObjectStore(s3)
    store.remove(next(f"table/{name}" for name in store.names("table") if name.endswith(".parquet")))
    with pytest.raises(DamagedFile, match=f"{s3}/table is damaged: .*; bring back what is missing") as caught:
        ParetoTable(s3).evaluations()
    assert "\n" not in str(caught.value)


def test_rows_wait_for_a_store_that_is_away_and_are_there_once(s3_server: S3Server, s3: str) -> None:
    table = ParetoTable(s3)
    rows = [ok(name, {"brief": 1.0}, {"brief": 0.5}) for name in "abc"]
    table.append(rows[:1])
    with s3_server.away():
        writers = [threading.Thread(target=lambda row=row: table.append([row])) for row in rows[1:]]
        for writer in writers:
            writer.start()
        writers[0].join(2)
        assert all(writer.is_alive() for writer in writers)
    for writer in writers:
        writer.join(60)
    assert sorted(row.candidate for row in table.evaluations()) == ["a", "b", "c"]


def test_a_store_that_stays_away_is_one_line_and_no_damage(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mva_ray.run_dir.patience.PATIENCE_S", 0.5)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    table = ParetoTable("s3://nobody/run")
    for call in (table.evaluations, lambda: table.append([ok("a", {"brief": 1.0}, {"brief": 0.5})])):
        with pytest.raises(RunError, match=r"s3://nobody/run.*: the store has not answered for ") as caught:
            call()
        assert not isinstance(caught.value, DamagedFile)
        assert "\n" not in str(caught.value)

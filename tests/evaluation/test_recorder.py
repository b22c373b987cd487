"""How the recorder puts rows together, step by step in one event loop."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from mva_ray.evaluation.recorder import Recorder
from tests.support.evaluations import ok


class Table:
    """Keeps what is recorded; the first writes may fail."""

    def __init__(self, failures: int = 0) -> None:
        self.batches: list[list[str]] = []
        self._failures = failures

    def append(self, rows: Sequence[Any]) -> None:
        if self._failures:
            self._failures -= 1
            raise OSError("disk full")
        self.batches.append([row.candidate for row in rows])


def record(table: Table, names: str) -> list[Any]:
    async def run() -> list[Any]:
        recorder = Recorder(table.append)
        rows = [ok(name, {"brief": 1.0}, {"brief": 0.0}) for name in names]
        return list(await asyncio.gather(*map(recorder.record, rows), return_exceptions=True))

    return asyncio.run(run())


def test_rows_that_become_ready_during_a_write_share_the_next() -> None:
    table = Table()
    assert record(table, "abc") == [None, None, None]
    assert table.batches == [["a"], ["b", "c"]]


@pytest.mark.parametrize("failures", [1, 2])
def test_nobody_is_told_that_a_row_is_there_when_it_is_not(failures: int) -> None:
    """Who wrote hears of the error; the next one tries again, with the rows that were left."""
    table = Table(failures)
    results = record(table, "abc")
    assert [isinstance(result, OSError) for result in results] == [True, failures == 2, False]
    assert table.batches == [["a", "b", "c"]]

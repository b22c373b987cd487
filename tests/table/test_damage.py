"""A table that was damaged, or has no space left, is one line; no rows are missing in silence."""

from pathlib import Path

import pytest

from mva_ray.errors import DamagedFile, RunError
from mva_ray.table import ParetoTable
from tests.support.disks import fill, small_disk
from tests.support.evaluations import VALUES, make_run, trade_off


def logs(table: Path) -> list[Path]:
    return sorted((table / "_delta_log").glob("*.json"))


def delete_rows(table: Path) -> None:
    next(table.glob("*.parquet")).unlink()


def cut_rows(table: Path) -> None:
    path = next(table.glob("*.parquet"))
    path.write_bytes(path.read_bytes()[:100])


def garbage_in_log(table: Path) -> None:
    logs(table)[-1].write_text("{ not a log")


def no_log(table: Path) -> None:
    for log in logs(table):
        log.unlink()


def no_first_log(table: Path) -> None:
    logs(table)[0].unlink()


@pytest.mark.parametrize("damage", [delete_rows, cut_rows, garbage_in_log, no_log, no_first_log])
def test_a_damaged_table_is_one_line_and_never_fewer_rows(tmp_path: Path, damage: object) -> None:
    make_run(tmp_path, trade_off(2), VALUES[:2])
    assert callable(damage)
    damage(tmp_path / "table")
    with pytest.raises(DamagedFile) as caught:
        ParetoTable(tmp_path).evaluations(with_generations=True)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'table'} is damaged: ")
    assert "delete the whole table" in message
    assert "\n" not in message


def test_rows_that_find_no_space_are_said_and_the_others_stay(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 2) as disk:
        make_run(disk, trade_off(2), VALUES[:2])
        table = ParetoTable(disk)
        before = table.evaluations(with_generations=True)
        ballast = fill(disk, leave=0)
        with pytest.raises(RunError, match="table: No space left on device"):
            table.append(before)
        assert table.evaluations(with_generations=True) == before
        ballast.unlink()
        table.append(before)
        assert len(table.evaluations()) == 2 * len(before)

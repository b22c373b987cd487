"""The runs to start from: read whole, and a table that cannot be read is a problem of the config."""

from pathlib import Path

import pytest

from mva_ray.config import RunConfig, read_config
from mva_ray.warm_start import earlier_runs, warm_start_problems
from tests.evaluations import VALUES, make_run, trade_off
from tests.malformed_configs import GOOD


def draft_of(directory: Path, *runs: str) -> Path:
    path = directory / "run.yaml"
    path.write_text(f"{GOOD}warm_start: [{', '.join(runs)}]\n")
    return path


def test_all_rows_of_every_run_are_read_with_their_texts(tmp_path: Path) -> None:
    for name in ("one", "two"):
        make_run(tmp_path / name, trade_off(2), VALUES[:2])
    draft = read_config(draft_of(tmp_path, "one", "two"))
    assert list(warm_start_problems(draft)) == []
    found = earlier_runs(draft.finish())
    assert list(found) == [str(tmp_path / "one"), str(tmp_path / "two")]
    assert [row.candidate for row in found[str(tmp_path / "one")]] == [row.candidate for row in trade_off(2)]
    assert len(found[str(tmp_path / "two")][0].generations) == 2


def test_a_run_that_has_evaluated_nothing_is_no_problem(tmp_path: Path) -> None:
    make_run(tmp_path / "one", [], VALUES[:2])
    draft = read_config(draft_of(tmp_path, "one"))
    assert list(warm_start_problems(draft)) == []
    assert earlier_runs(draft.finish()) == {str(tmp_path / "one"): []}


@pytest.mark.parametrize("pattern", ["_delta_log/*.json", "*.parquet"])
def test_a_broken_table_is_one_line_in_the_config(tmp_path: Path, pattern: str) -> None:
    for name in ("one", "two"):
        make_run(tmp_path / name, trade_off(2), VALUES[:2])
    for file in (tmp_path / "two" / "table").rglob(pattern):
        file.write_bytes(b"broken")
    (problem,) = warm_start_problems(read_config(draft_of(tmp_path, "one", "two")))
    assert problem.text.startswith(f"line 16, warm_start[1]: the table of {tmp_path / 'two'} cannot be read: ")
    assert "\n" not in problem.text


def test_without_earlier_runs_there_is_nothing_to_read(tmp_path: Path) -> None:
    assert earlier_runs(RunConfig.model_construct(warm_start=[])) == {}

"""The runs to start from and the run's own directory: problems of the config, before anything is computed."""

from pathlib import Path

import pytest

from mva_ray.checks.runs import run_dir_problems, warm_start_problems
from mva_ray.checks.subject import Purpose, Subject
from mva_ray.config import read_config
from mva_ray.config.document import Problem
from tests.stages.test_warm_start import draft_of
from tests.support.evaluations import VALUES, make_run, trade_off


@pytest.mark.parametrize("pattern", ["_delta_log/*.json", "*.parquet"])
def test_a_broken_table_is_one_line_in_the_config(tmp_path: Path, pattern: str) -> None:
    for name in ("one", "two"):
        make_run(tmp_path / name, trade_off(2), VALUES[:2])
    for file in (tmp_path / "two" / "table").rglob(pattern):
        file.write_bytes(b"broken")
    (problem,) = warm_start_problems(Subject(read_config(draft_of(tmp_path, "one", "two"))))
    assert isinstance(problem, Problem)
    assert problem.text.startswith(f"line 16, warm_start[1]: the table of {tmp_path / 'two'} cannot be read: ")
    assert "\n" not in problem.text


def test_a_run_does_not_start_from_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its table grows, so that what it proposes would depend on when it was killed."""
    make_run(tmp_path / "runs" / "demo", trade_off(2), VALUES[:2])
    draft = read_config(draft_of(tmp_path, "runs/demo"))
    monkeypatch.chdir(tmp_path)
    for run_dir in (None, Path("runs/../runs/demo"), tmp_path / "runs" / "demo"):
        (problem,) = warm_start_problems(Subject(draft, given_run_dir=run_dir))
        assert isinstance(problem, Problem)
        assert problem.text.endswith(
            "is this run's own directory: give the run that starts from it another name or --run"
        )
    assert list(warm_start_problems(Subject(draft, given_run_dir=tmp_path / "runs" / "other"))) == []


def test_a_run_directory_that_cannot_be_made_is_a_problem_and_nothing_is_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    draft = read_config(draft_of(tmp_path))
    (problem,) = run_dir_problems(Subject(draft, Purpose.DRY_RUN, tmp_path / "file" / "run"))
    run_dir, file = tmp_path / "file" / "run", tmp_path / "file"
    assert problem == Problem(0, f"the run directory {run_dir} cannot be made: {file} is a file")
    assert list(run_dir_problems(Subject(draft, Purpose.DRY_RUN, tmp_path / "new" / "run"))) == []
    assert not (tmp_path / "new").exists()


def test_a_comparison_has_a_directory_of_its_own(tmp_path: Path) -> None:
    draft = read_config(draft_of(tmp_path))
    names = {purpose: Path(Subject(draft, purpose).run_dir).name for purpose in Purpose}
    assert names == dict.fromkeys(Purpose, "demo") | {Purpose.COMPARE: "demo_compare"}

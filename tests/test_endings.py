"""How a job ends that does not come to its end: one line, an exit code that tells the truth, nothing lost."""

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from mva_ray.run_dir.layout import RunDirectory
from tests.support.disks import fill, small_disk
from tests.test_pipeline import PATIENCE_S, brought, evaluations_made, start, table_of, wait_until, write_config

pytestmark = pytest.mark.timeout(600)
SEARCH = {"candidates": 16, "population": 4, "convex_partitions": 1}


def ended(process: subprocess.Popen[str]) -> tuple[int, list[str]]:
    output, _ = process.communicate(timeout=PATIENCE_S)
    assert "Traceback" not in output, output
    assert process.returncode is not None
    return process.returncode, output.splitlines()


def end_when(reached: Callable[[], bool], number: int, config: Path, run_dir: Path) -> tuple[int, list[str]]:
    """Start the job and send it a signal as soon as it has got so far."""
    process = start(config, run_dir)
    wait_until(reached, process)
    os.kill(process.pid, number)
    return ended(process)


def test_a_job_that_is_interrupted_or_finds_no_space_goes_on_to_the_same_table(
    tiny_model: Path, tmp_path: Path
) -> None:
    config = write_config(tmp_path, tiny_model, values=brought(tmp_path, tiny_model), search=SEARCH)
    assert ended(start(config, tmp_path / "undisturbed"))[0] == 0
    with small_disk(tmp_path / "disk", 40) as disk:
        run_dir = disk / "run"
        made: list[int] = []

        def another_row() -> bool:
            return evaluations_made(run_dir) > (made[-1] if made else 0)

        for number in (signal.SIGINT, signal.SIGTERM):
            code, lines = end_when(another_row, number, config, run_dir)
            assert code == 128 + number, lines
            assert lines[-1] == "interrupted: what was computed is kept, and the same command goes on from here"
            made.append(evaluations_made(run_dir))
        ballast = fill(disk, leave=0)
        code, lines = ended(start(config, run_dir))
        assert (code, len(lines) < 20) == (1, True), lines
        assert "No space left on device" in lines[-1]
        assert evaluations_made(run_dir) == made[-1]
        ballast.unlink()
        assert ended(start(config, run_dir))[0] == 0
        assert table_of(run_dir).equals(table_of(tmp_path / "undisturbed"))
        assert evaluations_made(run_dir) == evaluations_made(tmp_path / "undisturbed"), "something was evaluated twice"


def test_a_second_job_in_the_same_directory_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    config = write_config(tmp_path, tiny_model, values=brought(tmp_path, tiny_model))
    run = RunDirectory(tmp_path / "run")
    run.store.check_usable()
    with run.store.locked():
        code, lines = ended(start(config, tmp_path / "run"))
    assert code == 1
    assert lines[-1].startswith(f"error: another process is at work in {run.place}")


def test_a_cluster_that_is_not_there_is_said_at_once(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    config = write_config(tmp_path, tiny_model, values=brought(tmp_path, tiny_model))
    code, lines = ended(start(config, tmp_path / "run"))
    assert code == 1
    assert lines[-1].startswith("error: nobody answers at RAY_ADDRESS=127.0.0.1:9 (")

"""Explorations as processes of this machine: they live on, are found again by their records, and are asked to end."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mva_ray.cluster import launcher
from mva_ray.cluster.launcher import Processes, name_in, problems
from mva_ray.errors import ConfigError

SLEEPER = "import signal, time; print('begun', flush=True); time.sleep(60)"


def until(found: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not found():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture
def processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Processes]:
    monkeypatch.setattr(launcher, "_command", lambda config, run: [sys.executable, "-c", SLEEPER])
    found = Processes(tmp_path / "records")
    yield found
    for run in found.runs():
        found.cancel(run)
    until(lambda: not any(found.runs().values()))


def test_a_process_is_found_by_whoever_comes_later(processes: Processes, tmp_path: Path) -> None:
    run = str(tmp_path / "runs" / "demo")
    processes.start(tmp_path / "a.yaml", run)
    until(lambda: "begun" in processes.log(run))
    later = Processes(tmp_path / "records")
    assert later.runs() == {run: True}
    later.cancel(run)
    until(lambda: later.runs() == {run: False})
    later.cancel(run)


def test_it_ends_with_nobody(processes: Processes, tmp_path: Path) -> None:
    """It is the leader of a session of its own: no terminal's end or Ctrl-C reaches it."""
    processes.start(tmp_path / "a.yaml", "/runs/demo")
    pid = json.loads((tmp_path / "records" / "demo.json").read_text())["pid"]
    session = subprocess.run(["ps", "-o", "sess=", str(pid)], capture_output=True, text=True, check=True).stdout
    assert int(session) == pid


def test_another_process_of_the_same_number_is_left_alone(processes: Processes, tmp_path: Path) -> None:
    processes.start(tmp_path / "a.yaml", "/runs/demo")
    file = tmp_path / "records" / "demo.json"
    record = json.loads(file.read_text())
    file.write_text(json.dumps(record | {"started": record["started"] - 100}))
    assert processes.runs() == {"/runs/demo": False}
    processes.cancel("/runs/demo")
    file.write_text(json.dumps(record))
    assert processes.runs() == {"/runs/demo": True}


def test_problems_of_a_config_are_those_that_the_dry_run_tells(tmp_path: Path) -> None:
    config = tmp_path / "a.yaml"
    config.write_text("name: demo\nvalues: 3\nwrong: 1\n")
    with pytest.raises(ConfigError) as found:
        Processes(tmp_path / "records").check(config, str(tmp_path / "run"))
    assert len(found.value.problems) > 3
    assert any("wrong" in problem for problem in found.value.problems)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("warning\nerror: /a.yaml: line 3: no\n", ["line 3: no"]),
        ("error: /a.yaml: 2 problems\n  - one\n  - two\n", ["one", "two"]),
        ("Killed", ["Killed"]),
        ("", ["it ended without a word"]),
    ],
)
def test_what_a_command_says_last(said: str, found: list[str]) -> None:
    assert problems(said, Path("/a.yaml")) == found


@pytest.mark.parametrize("text", ["name: ../up", "name: 3", "values: []", "name: /etc/demo", "name: [demo]", "- 1", ""])
def test_a_run_has_the_name_of_a_directory(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(ConfigError):
        name_in(tmp_path / "a.yaml")

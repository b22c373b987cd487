"""Rewards on trial: whatever their modules do, the check ends in time and says what they did."""

import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from mva_ray.checks.rewards import HURRY_S, Trials
from mva_ray.checks.subject import Purpose, Subject
from mva_ray.config import read_config
from mva_ray.config.document import Problem

FINE = "def score(prompts, completions, **kwargs):\n    return [0.0] * len(completions)\n"


def subject(directory: Path, source: str, purpose: Purpose = Purpose.EXPLORE, **reward: Any) -> Subject:
    """A config with one reward of its own; it has nothing else."""
    name = f"tried_{directory.name}"
    (directory / f"{name}.py").write_text(source)
    path = directory / "run.yaml"
    path.write_text(yaml.safe_dump({"values": [{"reward": {"function": f"{name}:score", **reward}}]}))
    return Subject(read_config(path), purpose)


def findings(of: Subject, refused: bool = False) -> list[str]:
    with Trials(of) as trials:
        found = list(trials.findings(refused))
    return [finding.text if isinstance(finding, Problem) else finding for finding in found]


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("import os\nos._exit(3)\n" + FINE, "imported: it ended its process (exit code 3)"),
        (FINE.replace("return", "raise ValueError('no luck')\n    return"), "tried on two texts: ValueError: no luck"),
        (
            FINE.replace("return", "import os; os.abort()\n    return"),
            "tried on two texts: it ended its process (SIGABRT)",
        ),
    ],
)
def test_what_a_reward_does_is_said_with_when_it_did_it(tmp_path: Path, source: str, problem: str) -> None:
    (found,) = findings(subject(tmp_path, source))
    assert found == f"line 3, values[0].reward.function: tried_{tmp_path.name}:score, {problem}"


def test_rewards_that_hang_are_refused_when_their_time_is_over(tmp_path: Path) -> None:
    """All at the same time, and none keeps the others from being judged."""
    modules = {
        "hanging_import": "import time\ntime.sleep(1000)\n" + FINE,
        "hanging_call": FINE.replace("return", "while True: pass\n    return"),
        "raising": "raise ValueError('no luck')",
    }
    for name, source in modules.items():
        (tmp_path / f"{name}.py").write_text(source)
    path = tmp_path / "run.yaml"
    rewards = [{"reward": {"function": f"{name}:score", "timeout": 4.0}} for name in modules]
    path.write_text(yaml.safe_dump({"values": rewards}))
    begin = time.monotonic()
    found = [problem.partition("reward.function: ")[2] for problem in findings(Subject(read_config(path)))]
    late = "nothing came back within 4 s (a longer `timeout` gives it more)"
    assert found == [
        f"hanging_import:score, imported: {late}",
        f"hanging_call:score, tried on two texts: {late}",
        "the module 'raising' does not import: ValueError: no luck",
    ]
    assert 4.0 <= time.monotonic() - begin < 7.0


def test_nobody_waits_long_for_a_reward_that_hangs_where_the_config_is_refused_anyway(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mva_ray.checks.rewards.HURRY_S", 0.5)
    assert HURRY_S <= 5
    assert findings(subject(tmp_path, "import time\ntime.sleep(1000)\n" + FINE), refused=True) == []


def test_what_a_reward_leaves_running_is_ended_and_not_waited_for(tmp_path: Path) -> None:
    """It holds the pipe that the verdict comes through."""
    leaving = "import os, time\nif not os.fork():\n    time.sleep(1000)\n" + FINE
    begin = time.monotonic()
    assert findings(subject(tmp_path, leaving)) == []
    assert time.monotonic() - begin < 30


def test_a_reward_for_a_gpu_is_imported_and_not_called(tmp_path: Path) -> None:
    gpu: dict[str, Any] = {"resources": {"num_gpus": 1}}
    source = FINE.replace("return", "raise RuntimeError('no GPU')\n    return")
    assert findings(subject(tmp_path, source, **gpu)) == []
    (found,) = findings(subject(tmp_path, "import no_such_library\n" + FINE, **gpu))
    assert "does not import: ModuleNotFoundError: No module named 'no_such_library'" in found


def test_a_config_is_read_without_running_what_it_names(tmp_path: Path) -> None:
    """Else a module that hangs would hang every command, and data check would run code for a look at data."""
    draft = subject(tmp_path, f"open({str(tmp_path / 'imported')!r}, 'w')\n" + FINE).draft
    assert not (tmp_path / "imported").exists()
    assert draft.problems


def test_the_dry_run_says_how_long_it_took(tmp_path: Path) -> None:
    (line,) = findings(subject(tmp_path, FINE, Purpose.DRY_RUN))
    assert line.startswith(f"tried_{tmp_path.name}:score scored two texts in 0.00 s, loaded in ")

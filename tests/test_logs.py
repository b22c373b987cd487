"""Everything that a process says, as JSON lines: nothing is lost, and nothing else is between them."""

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from mva_ray.logs import json_lines


def test_logs_and_prints_and_errors_are_objects(capsys: pytest.CaptureFixture[str]) -> None:
    plain = logging.getLogger().handlers
    with json_lines():
        print('two\nlines: ä "quoted"')
        print("half", end="")
        print(" a line")
        print("complaint", file=sys.stderr)
        logging.getLogger("mva_ray.test").warning("waiting for %d GPU", 2)
        try:
            raise ValueError("no such thing")
        except ValueError:
            logging.getLogger("mva_ray.test").exception("failed")
        print("unfinished", end="")
    captured = capsys.readouterr()
    said = [json.loads(line) for line in captured.out.splitlines()]
    assert captured.err == ""
    assert [(line["level"], line["message"]) for line in said] == [
        ("info", "two"),
        ("info", 'lines: ä "quoted"'),
        ("info", "half a line"),
        ("warning", "complaint"),
        ("warning", "waiting for 2 GPU"),
        ("error", "failed"),
        ("info", "unfinished"),
    ]
    assert "ValueError: no such thing" in said[5]["exception"]
    assert all(line["time"].endswith("+00:00") for line in said)
    assert logging.getLogger().handlers == plain


def test_a_job_that_is_refused_says_so_in_json(tmp_path: Path) -> None:
    (tmp_path / "empty.yaml").write_text("name: demo\n")
    command = [sys.executable, "-m", "mva_ray.explore", "--config", str(tmp_path / "empty.yaml"), "--log-json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stderr) == (2, "")
    said = [json.loads(line)["message"] for line in done.stdout.splitlines()]
    assert any("base_model is missing" in line for line in said)

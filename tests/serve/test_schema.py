"""Whatever is sent, a call answers as its schema says and never fails: schemathesis against our own OpenAPI."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.served import serving

SCHEMATHESIS = shutil.which("schemathesis", path=str(Path(sys.executable).parent))
KNOWN = """
[parameters]
"path.run" = "demo"
"path.candidate" = "left"
"path.model" = ["demo:left", "demo:nothing"]
"""


@pytest.mark.timeout(900)
@pytest.mark.skipif(SCHEMATHESIS is None, reason="schemathesis is not installed: pip install -e .[dev]")
def test_no_request_makes_it_fail(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "schemathesis.toml").write_text(KNOWN)
    with serving(tmp_path, tiny_model) as served:
        done = subprocess.run(
            [
                str(SCHEMATHESIS),
                *("--config-file", str(tmp_path / "schemathesis.toml")),
                *("run", f"{served.url}/openapi.json", "--seed", "1", "--max-examples", "10"),
                *("--exclude-path-regex", "/events$"),  # which does not end while a run is at work
                *("--phases", "coverage,fuzzing", "--request-timeout", "60"),
                *("--checks", "not_a_server_error,response_schema_conformance"),
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=800,
            check=False,
        )
    assert done.returncode == 0, done.stdout[-3000:]
    counts = re.search(r"(\d+) generated, (\d+) passed", done.stdout)
    assert counts is not None, done.stdout[-3000:]
    assert counts[1] == counts[2]
    assert int(counts[1]) > 500

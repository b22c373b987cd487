"""What a run says of itself as metrics: the numbers of `mva-ray status`, as Ray's agent really exports them."""

import json
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from mva_ray.cluster.ray_metrics import GAUGES, numbers
from mva_ray.service.status import status
from tests.support.evaluations import VALUES, make_run, trade_off

EXPORTS = """
import sys, time, ray
from mva_ray.cluster.ray_metrics import RunMetrics
ray.init(num_cpus=1, include_dashboard=False, _metrics_export_port=int(sys.argv[2]), log_to_driver=False)

@ray.remote
class Evaluator:
    def __init__(self):
        from ray.util.metrics import Gauge
        self.rows = Gauge("mva_ray_engine_rows", "Rows that an evaluator is answering")
    def work(self):
        self.rows.set(7)

evaluator = Evaluator.remote()
with RunMetrics(sys.argv[1]):
    ray.get(evaluator.work.remote())
    print("ready", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    values = [{"name": name, "pairs": None, "adapter": None} for name in VALUES[:2]]
    stages = {f"{kind} '{name}'": "key" for name in VALUES[:2] for kind in ("pairs", "adapter")}
    prices = {"gpu_hour": 2.5, "cpu_hour": 0.0, "million_tokens": 0.0}
    settings = {"name": "demo", "values": values, "search": {"candidates": 9}, "prices": prices}
    (tmp_path / "plan.json").write_text(json.dumps({"stages": stages, "settings": settings}))
    (tmp_path / "spent.json").write_text(json.dumps({"training": {"gpu_seconds": 7200}}))
    for name in VALUES[:2]:
        (tmp_path / "adapters" / f"{name}-key").mkdir(parents=True)
    make_run(tmp_path, trade_off(2, "search"), VALUES[:2])
    return tmp_path


def test_numbers_are_those_of_the_status(run: Path) -> None:
    found = numbers(status(run))
    assert found.keys() <= GAUGES.keys()
    assert (found["candidates"], found["candidates_wanted"], found["front_candidates"]) == (7, 9, 4)
    assert (found["failures"], found["answers"]) == (1, 16)
    assert (found["spent_gpu_seconds"], found["cost"]) == (7200, 5)
    assert 0 < found["hypervolume"] < 1


@pytest.mark.skipif(find_spec("opencensus") is None, reason="Ray's agent exports metrics with mva_ray[cluster] alone")
def test_the_agent_of_ray_exports_them(run: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-c", EXPORTS, str(run), str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        said = exported(port, lambda text: "mva_ray_engine_rows" in text and "mva_ray_candidates{" in text)
    finally:
        process.communicate("", timeout=60)
    shown = {
        name: [float(line.rsplit(" ", 1)[1]) for line in said.splitlines() if re.match(rf"ray_mva_ray_{name}{{", line)]
        for name in (*GAUGES, "engine_rows")
    }
    assert shown["engine_rows"] == [7]
    for name, number in numbers(status(run)).items():
        if name != "tokens_per_second":
            assert shown[name] == [number], name
    stages = {line for line in said.splitlines() if line.startswith("ray_mva_ray_stage{") and line.endswith(" 1.0")}
    assert len(stages) == 1
    assert 'stage="search"' in stages.pop()


def exported(port: int, enough: Callable[[str], bool]) -> str:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
                text: str = answer.read().decode()
            if enough(text):
                return text
        except OSError:
            pass
        time.sleep(0.5)
    raise AssertionError("the agent exports none of it")

"""Explorations over HTTP: started, watched while rows arrive, ended; and nothing without leave."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest

from mva_ray.errors import ConfigError
from mva_ray.serve.explorations import Explorations, explorations
from tests.support.runs import add_candidates
from tests.support.served import Served, serving
from tests.test_pipeline import write_config

CONFIG = "name: fresh\nvalues: []\n"


@dataclass
class FakeLauncher:
    """Runs nothing: a start puts what there is of a run at its place, as an exploration would."""

    template: Path
    at_work: dict[str, bool] = field(default_factory=dict)
    configs: list[str] = field(default_factory=list)

    def check(self, config: Path, run: str) -> str:
        if "wrong" in config.read_text():
            raise ConfigError(str(config), [f"{config}: line 2: one", "line 3: two"])
        return f"run: {run}"

    def start(self, config: Path, run: str) -> None:
        self.configs.append(config.read_text())
        shutil.copytree(self.template, run)
        self.at_work[run] = True

    def runs(self) -> dict[str, bool]:
        return self.at_work

    def cancel(self, run: str) -> None:
        self.at_work[run] = False

    def log(self, run: str) -> str:
        return "what it printed"


@dataclass(frozen=True)
class Started:
    served: Served
    launcher: FakeLauncher

    def call(self, method: str, path: str = "", **options: Any) -> httpx2.Response:
        return httpx2.request(method, f"{self.served.url}/api/v1/explorations{path}", timeout=60, **options)

    def new(self, config: str | dict[str, Any], **options: Any) -> httpx2.Response:
        return self.call("POST", json={"config": config, **options})


@pytest.fixture
def started(tiny_model: Path, tmp_path: Path) -> Iterator[Started]:
    launcher = FakeLauncher(tmp_path / "run")
    found = Explorations(tmp_path, str(tmp_path / "runs"), launcher)
    with serving(tmp_path, tiny_model, explorations=found) as served:
        yield Started(served, launcher)


def watched(served: Served, run: str) -> Iterator[dict[str, Any]]:
    with httpx2.stream("GET", f"{served.url}/api/v1/runs/{run}/events", timeout=300) as stream:
        for line in stream.iter_lines():
            if line.startswith("data: "):
                yield json.loads(line.removeprefix("data: "))


def test_a_dry_run_changes_nothing(started: Started, tmp_path: Path) -> None:
    answer = started.new(CONFIG, dry_run=True)
    assert (answer.status_code, answer.json()["plan"]) == (200, f"run: {tmp_path}/runs/fresh")
    assert started.launcher.at_work == {}
    assert list(tmp_path.glob("explored-*")) == []


def test_every_problem_is_told_at_once(started: Started) -> None:
    answer = started.new("name: fresh\nwrong: 1\n")
    assert answer.status_code == 400
    assert "line 2: one" in answer.json()["error"]["message"]
    assert "line 3: two" in answer.json()["error"]["message"]
    assert started.launcher.at_work == {}


def test_rows_are_seen_as_they_arrive(started: Started, tmp_path: Path) -> None:
    assert started.new({"name": "fresh", "values": []}).status_code == 201
    assert started.launcher.configs == [CONFIG]
    events = watched(started.served, "fresh")
    before = next(events)
    assert (before["state"], before["status"]["stage"]) == ("running", "search")
    add_candidates(tmp_path / "runs" / "fresh", {"new": ((0.1, 0.2), (2.0, 2.0))}, split="search")
    after = next(events)
    assert after["status"]["searched"] == before["status"]["searched"] + 1
    rows = httpx2.get(f"{started.served.url}/api/v1/runs/fresh/evaluations", params={"split": "search"}).json()["rows"]
    assert [row["candidate"] for row in rows] == ["new"]
    assert started.call("DELETE", "/fresh").json()["state"] == "stopped"
    assert [event["state"] for event in events] == ["stopped"]


def test_a_run_that_is_served_may_grow(started: Started) -> None:
    """As while its search goes on: a new candidate is seen, has a name, and answers."""
    events = watched(started.served, "demo")
    before = next(events)["status"]["searched"]
    add_candidates(started.served.run, {"newest": ((0.5, 1.0), (2.0, 2.0))}, split="search")
    assert next(events)["status"]["searched"] == before + 1
    asked: dict[str, Any] = {"messages": [{"role": "user", "content": "Bread?"}], "max_tokens": 2}
    said = started.served.post("/v1/chat/completions", model="demo:newest", **asked).json()
    assert said["mva_ray"]["mixture"] == {"positive": 0.5, "brief": 1.0}


def test_what_was_started_is_listed_and_says_what_it_printed(started: Started) -> None:
    started.new(CONFIG)
    [one] = started.call("GET").json()["explorations"]
    assert (one["name"], one["state"]) == ("fresh", "running")
    assert started.call("GET", "/fresh").json()["log"] == "what it printed"
    runs = httpx2.get(f"{started.served.url}/api/v1/runs").json()
    assert {run["name"]: run["served"] for run in runs} == {"demo": True, "fresh": False}


def test_a_run_is_explored_once_at_a_time_and_not_under_a_server(started: Started) -> None:
    started.new(CONFIG)
    assert started.new(CONFIG).status_code == 409
    assert started.new(CONFIG.replace("fresh", "demo")).status_code == 409


@pytest.mark.parametrize("name", ["../../etc", "/etc", "a/b", "", "..", "A", "x" * 33])
def test_no_run_leaves_its_directory(started: Started, name: str) -> None:
    answer = started.new({"name": name})
    assert (answer.status_code, started.launcher.at_work) == (400, {})
    assert "name" in answer.json()["error"]["message"]


def test_runs_that_are_not_below_the_directory_are_not_shown(started: Started) -> None:
    """A launcher may know others, as a cluster does: their places are no business of whoever asks here."""
    started.launcher.at_work["/elsewhere/secret"] = True
    assert started.call("GET").json()["explorations"] == []
    assert started.call("GET", "/secret").status_code == 404
    assert started.call("DELETE", "/secret").status_code == 404
    assert started.launcher.at_work["/elsewhere/secret"]


def test_without_leave_nothing_starts(tiny_model: Path, tmp_path: Path) -> None:
    with serving(tmp_path, tiny_model) as served:
        start = served.post("/api/v1/explorations", config=CONFIG)
        assert (start.status_code, "--explore" in start.json()["error"]["message"]) == (403, True)
        assert httpx2.get(f"{served.url}/api/v1/explorations").json() == {"allowed": False, "explorations": []}
        event = next(watched(served, "demo"))
        assert (event["state"], event["status"]["stage"]) == ("elsewhere", "search")


def test_a_server_with_a_token_starts_nothing_without_it(tiny_model: Path, tmp_path: Path) -> None:
    found = Explorations(tmp_path, str(tmp_path / "runs"), FakeLauncher(tmp_path / "run"))
    with serving(tmp_path, tiny_model, explorations=found, token="secret") as served:
        assert served.post("/api/v1/explorations", config=CONFIG).status_code == 401


@pytest.mark.timeout(600)
def test_an_exploration_outlives_the_server(tiny_model: Path, tmp_path: Path) -> None:
    """A real one, as a process: a later server finds it at work, and ends it."""
    (tmp_path / "configs").mkdir()
    config = write_config(tmp_path / "configs", tiny_model).read_text()
    with serving(tmp_path / "first", tiny_model, explorations=processes(tmp_path)) as served:
        answer = served.post("/api/v1/explorations", config=config)
        assert answer.status_code == 201, answer.text
        assert "nothing was computed" in answer.json()["plan"]
    with serving(tmp_path / "second", tiny_model, explorations=processes(tmp_path)) as served:
        for event in watched(served, "tiny"):
            assert event["state"] == "running"
            if event["status"] and event["status"]["stage"] != "preference pairs":  # Ray's start may miss a signal
                break
        assert served.post("/api/v1/explorations", config=config).status_code == 409
        httpx2.delete(f"{served.url}/api/v1/explorations/tiny")
        assert [event["state"] for event in watched(served, "tiny")][-1] == "stopped"
        log = httpx2.get(f"{served.url}/api/v1/explorations/tiny").json()["log"]
        assert "the same command goes on from here" in log
    assert sorted(path.name for path in (tmp_path / "configs").glob("*.yaml")) == ["explored-tiny.yaml", "tiny.yaml"]


def processes(directory: Path) -> Explorations:
    """As each server makes its own."""
    return explorations(str(directory / "configs"), str(directory / "runs"), None)

"""Explorations as jobs of a cluster: what its client is asked, and what is read from what it says."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mva_ray.cluster.job import RUN
from mva_ray.cluster.launcher import Launcher
from mva_ray.cluster.ray_jobs import Jobs
from mva_ray.errors import ConfigError, RunError

QUICKSTART = Path(__file__).parents[2] / "tune_configs" / "quickstart.yaml"
URL = "s3://bucket/quickstart"


@dataclass(frozen=True)
class State:
    value: str

    def is_terminal(self) -> bool:
        return self.value in ("SUCCEEDED", "FAILED", "STOPPED")


@dataclass
class Known:
    submission_id: str
    metadata: dict[str, str]
    entrypoint: str
    start_time: int
    status: State = field(default_factory=lambda: State("RUNNING"))


@dataclass
class Client:
    """Ray's client of jobs, without a cluster."""

    prints: str = "what it does\n"
    ends: str = "SUCCEEDED"
    jobs: list[Known] = field(default_factory=list)

    def submit_job(self, entrypoint: str, runtime_env: dict[str, Any], metadata: dict[str, str]) -> str:
        assert runtime_env["working_dir"] == str(QUICKSTART.parent)
        self.jobs.append(Known(f"job{len(self.jobs)}", metadata, entrypoint, len(self.jobs)))
        return self.jobs[-1].submission_id

    def list_jobs(self) -> list[Known]:
        return self.jobs[::-1]

    def get_job_status(self, job: str) -> State:
        return State(self.ends)

    def get_job_logs(self, job: str) -> str:
        return f"log of {job}"

    def stop_job(self, job: str) -> None:
        self.jobs[int(job.removeprefix("job"))].status = State("STOPPED")

    async def tail_job_logs(self, job: str) -> AsyncIterator[str]:
        yield self.prints


def jobs(client: Client) -> Jobs:
    found = Jobs.__new__(Jobs)
    found._address, found._client = "http://head:8265", client
    return found


def test_an_exploration_is_the_newest_job_of_its_run() -> None:
    client = Client()
    launcher: Launcher = jobs(client)
    launcher.start(QUICKSTART, URL)
    launcher.cancel(URL)
    assert launcher.runs() == {URL: False}
    launcher.start(QUICKSTART, URL)
    assert launcher.runs() == {URL: True}
    assert launcher.log(URL) == "log of job1"


def test_a_dry_run_is_a_job_that_is_no_runs() -> None:
    client = Client()
    assert jobs(client).check(QUICKSTART, URL) == "what it does\n"
    assert client.jobs[0].entrypoint.endswith("--dry-run")
    assert RUN not in client.jobs[0].metadata
    assert jobs(client).runs() == {}


def test_what_the_cluster_finds_wrong_is_told() -> None:
    said = "a warning\nerror: quickstart.yaml: 2 problems\n  - no such model\n  - no room\n"
    with pytest.raises(ConfigError) as found:
        jobs(Client(said, "FAILED")).check(QUICKSTART, URL)
    assert found.value.problems == ["no such model", "no room"]


def test_a_run_that_no_other_node_could_see_is_refused() -> None:
    with pytest.raises(ConfigError, match="a URL or a shared path"):
        jobs(Client()).start(QUICKSTART, "runs/quickstart")


def test_a_cluster_that_does_not_answer_is_one_line() -> None:
    class Away(Client):
        def list_jobs(self) -> list[Known]:
            raise ConnectionError("no route")

    with pytest.raises(RunError, match="no Ray cluster answers at http://head:8265"):
        jobs(Away()).runs()

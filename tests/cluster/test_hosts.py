"""A cluster of two hosts with disks of their own: a head without CPUs, a worker, and a run in an object store.

`ray start` on each in place of `ray up`, which needs a minute more for SSH and its own set-up and starts the same.
"""

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from sys import executable

import pytest

from mva_ray.run_dir.stores import store_at
from mva_ray.table import ParetoTable
from tests.support.hosts import HERE, Host, Network, why_not
from tests.support.object_store import S3Server
from tests.test_pipeline import write_config

pytestmark = pytest.mark.timeout(600)
REASON = why_not()


@dataclass
class Rig:
    """Where the config is seen at /mnt by the head alone."""

    head: Host
    worker: Host
    url: str
    environment: Mapping[str, str]

    def explore(self, run: str, check: bool = True) -> str:
        command = [executable, "-m", "mva_ray.explore", "--config", "/mnt/tiny.yaml", "--run", run]
        address = {"RAY_ADDRESS": f"{self.head.address}:6379"}
        return self.head.run(command, {**self.environment, **address}, check).stdout


@pytest.fixture
def rig(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    files = tmp_path / "files"
    files.mkdir()
    shutil.copytree(tiny_model, files / "model")
    path = write_config(files, tiny_model)
    path.write_text(path.read_text().replace(str(tiny_model), "model"))
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, HERE)
    with Network():
        server = S3Server(address=HERE)
        environment = {
            **server.environment,
            "RAY_AUTH_MODE": "disabled",
            "MVA_RAY_CACHE": "/tmp/cache",
            "PYTHONPATH": str(Path.cwd()),
        }
        for name, value in environment.items():
            if name != "PYTHONPATH":
                monkeypatch.setenv(name, value)
        monkeypatch.setenv("MVA_RAY_CACHE", str(tmp_path / "cache"))
        hosts = []
        try:
            hosts += [Host(2, files), Host(3)]
            head, worker = hosts
            head.start_ray(environment, "--head", "--num-cpus=0", "--include-dashboard=false")
            worker.start_ray(environment, f"--address={head.address}:6379", "--num-cpus=4")
            yield Rig(head, worker, server.new_url(), environment)
        finally:
            for host in hosts:
                host.close()
            server.close()


@pytest.mark.skipif(REASON is not None, reason=str(REASON))
def test_a_run_in_an_object_store_needs_no_disk_that_hosts_share(rig: Rig) -> None:
    """All work is the worker's, which has never seen config, model or rewards; the table is in the bucket alone.

    At a path of the head, which would be another disk on the worker, the run is refused before it computes.
    """
    refused = rig.explore("/tmp/run", check=False)
    assert "the run directory /tmp/run is not visible from node" in refused
    output = rig.explore(rig.url)
    assert f"report: {rig.url}/report.html" in output
    assert len(ParetoTable(rig.url).frame("search")) >= 10
    assert set(ParetoTable(rig.url).frame("held_out")["status"]) == {"ok"}
    assert len([name for name in store_at(rig.url).names("adapters") if not name.startswith(".")]) == 2
    for host in (rig.head, rig.worker):
        assert host.run(["find", "/tmp", "-name", "_delta_log"]).stdout == ""
    bases = set(ParetoTable(rig.url).frame()["base_model"].str.split().str[0])
    assert bases == {"model"}, "what the config says"

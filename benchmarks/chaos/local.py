"""Explorations on this machine, on a small disk or in an S3 server of its own, and the faults that strike them here."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import psutil

from benchmarks.chaos.draw import Fault
from benchmarks.chaos.gate import Gate
from benchmarks.chaos.judge import Strike
from mva_ray.run_dir.place import object_store
from tests.support.disks import fill, small_disk
from tests.support.object_store import S3Server

ROOT = Path(__file__).parents[2]
DISK_MB = 60
SIGNALS = {"driver": signal.SIGKILL, "sigterm": signal.SIGTERM, "ctrl_c": signal.SIGINT}
PROCESSES = {
    "generator": "ray::EngineActor",
    "reward": "ray::RewardActor",
    "broker": "ray::EvaluationBroker",
    "queue": "ray::ProposalQueue",
    "trial": "ray::ResourceTrainable",
    "trainer": "ray::RayTrainWorker",
    "controller": "ray::TrainController",
    "raylet": "raylet",
}
"""How each process that a fault ends is called."""


class Driver:
    """A process of `mva_ray.explore`."""

    def __init__(self, config: Path, run: str, environment: dict[str, str], output: Path) -> None:
        command = [sys.executable, "-m", "mva_ray.explore", "--config", str(config), "--run", run]
        with output.open("wb") as file:
            self.process = subprocess.Popen(
                command, stdout=file, stderr=subprocess.STDOUT, env=environment, cwd=ROOT, start_new_session=True
            )
        self._output = output

    def ended(self) -> int | None:
        """Its exit code; None as long as it is at work."""
        return self.process.poll()

    def output(self) -> str:
        return self._output.read_text(errors="replace")

    def descendants(self) -> list[psutil.Process]:
        try:
            children: list[psutil.Process] = psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []
        return children

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


class Local:
    """One exploration on this machine.

    Args:
        directory: its own.
        config: what is explored.
    """

    codes: Mapping[str, int] = {"driver": -9, "sigterm": 143, "ctrl_c": 130}
    """How a driver ends by what is meant to end it; by other faults with 1."""

    def __init__(self, directory: Path, config: Path) -> None:
        self.journal = directory / "journal.jsonl"
        self.run = str(directory / "run")
        self._directory, self._config = directory, config
        self._environment = os.environ | {
            "PYTHONPATH": f"{Path(__file__).with_name('journal')}:{ROOT}",
            "CHAOS_JOURNAL": str(self.journal),
            "MVA_RAY_CACHE": str(directory / "cache"),
            "RAY_USAGE_STATS_ENABLED": "0",
            "OMP_NUM_THREADS": "1",
            "RAY_worker_niceness": "0",  # else what else this machine does decides how long a run takes
        }
        self._drivers = 0

    def start(self) -> Driver:
        self._drivers += 1
        output = self._directory / f"driver-{self._drivers}.txt"
        return Driver(self._config, self.run, self._environment, output)

    def strike(self, fault: Fault, driver: Driver) -> Strike | None:
        """Let it happen, and let come back what comes back by itself; None where there is no victim."""
        before = time.time()
        if fault.kind in SIGNALS:
            return self._signal(fault, driver, before)
        if fault.kind in PROCESSES:
            return self._kill(fault, driver, before)
        victim = self._break(fault)
        return Strike(fault, before, time.time(), victim, fault.ends_driver)

    def mend(self) -> None:
        """Bring back what a driver needs to go on."""

    def close(self) -> None:
        """The place of the run is gone after this."""

    def _break(self, fault: Fault) -> str:
        raise ValueError(f"there is no {fault.kind} at {self.run}")

    def _signal(self, fault: Fault, driver: Driver, before: float) -> Strike | None:
        """Ctrl-C reaches all processes that the terminal has in front."""
        (os.killpg if fault.kind == "ctrl_c" else os.kill)(driver.process.pid, SIGNALS[fault.kind])
        return Strike(fault, before, time.time(), f"process {driver.process.pid}", True)

    def _kill(self, fault: Fault, driver: Driver, before: float) -> Strike | None:
        found = [process for process in driver.descendants() if _title(process).startswith(PROCESSES[fault.kind])]
        if not found:
            return None
        victim = sorted(found, key=lambda process: process.pid)[int(fault.victim * len(found))]
        title = f"{_title(victim)}, one of {len(found)}"
        victim.kill()
        at_work = [(os.uname().nodename, victim.pid)] if fault.kind == "generator" else []
        return Strike(fault, before, time.time(), title, fault.ends_driver, at_work)


class OnDisk(Local):
    """The run is on a small disk of its own, which may be full."""

    def __init__(self, directory: Path, config: Path) -> None:
        super().__init__(directory, config)
        self._stack = ExitStack()
        self._disk = self._stack.enter_context(small_disk(directory / "disk", DISK_MB))
        self.run = str(self._disk / "run")
        self._ballast: Path | None = None

    def mend(self) -> None:
        if self._ballast:
            self._ballast.unlink(missing_ok=True)

    def close(self) -> None:
        self._stack.close()

    def _break(self, fault: Fault) -> str:
        self._ballast = fill(self._disk, leave=0)
        return f"{DISK_MB} MB, nothing free"


class InStore(Local):
    """The run is in an S3 server of its own, which may be silent (connections are taken) or away (they are reset)."""

    def __init__(self, directory: Path, config: Path) -> None:
        super().__init__(directory, config)
        self._server = S3Server()
        self._gate = Gate(self._server.port)
        access = self._server.environment | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{self._gate.port}"}
        self._environment |= access
        os.environ.update(access)  # the judge reads the table, too
        object_store.cache_clear()
        self.run = self._server.new_url()

    def close(self) -> None:
        self._gate.cut()
        self._server.close()

    def _break(self, fault: Fault) -> str:
        if fault.kind == "store_silent":
            with self._server.paused():
                time.sleep(fault.seconds)
        else:
            self._gate.cut()
            time.sleep(fault.seconds)
            self._gate.open()
        return f"for {fault.seconds:.0f} s"


def _title(process: psutil.Process) -> str:
    """Ray's workers write into their command line what they are."""
    try:
        return " ".join(process.cmdline()[:1]).rpartition("/")[2] or process.name()
    except psutil.Error:
        return ""

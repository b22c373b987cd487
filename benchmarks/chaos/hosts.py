"""Explorations as jobs of a cluster of three hosts, with an S3 server on a fourth, and the faults that strike them.

Hosts are made by a program outside this repository that gives each a network, processes and a disk of its own:
`hosts up N --cpus K --env VENV --bind DIR --share DIR --set NAME=VALUE`, `hosts kill I`, `hosts start I`
(`--empty`), `hosts partition I`, `hosts heal I`, `hosts exec I COMMAND`, `hosts down`; `cluster.yaml` lies in its
directory. Host 0 is the head.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from benchmarks.chaos.draw import Fault
from benchmarks.chaos.judge import Strike
from benchmarks.chaos.local import PROCESSES, ROOT
from mva_ray.run_dir.place import object_store

STORE = 3
WORKERS = (1, 2)
BUCKET = "runs"
DASHBOARD = 8265
PATIENCE_S = 300
PORT = 5000
DRIVER = "[m]va_ray.explore"
AT_WORK = "^ray::(EngineActor|RewardActor|RayTrainWorker)"


class Hosts:
    """Three hosts of one Ray cluster, and a fourth with an S3 server, as long as the context lasts.

    Args:
        program: makes hosts.
        venv: has ray[default], and all that mva_ray needs.
        binds: what the environment needs besides, such as one that it builds upon.
        directory: to work in; every host writes to its `journals`.
    """

    def __init__(self, program: Path, venv: Path, binds: Sequence[Path], directory: Path) -> None:
        self.journal = directory / "journals" / "journal.jsonl"
        self.journal.parent.mkdir(parents=True)
        self._program, self._venv, self._binds, self._directory = program, venv, binds, directory
        self._state = Path(os.environ.get("HOSTS_DIR", "/tmp/hosts"))
        self._made = 0

    def __enter__(self) -> Self:
        try:
            self._up()
        except BaseException:
            self.hosts("down")
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.hosts("down")

    def _up(self) -> None:
        addresses = [f"{os.environ.get('HOSTS_NET', '10.77.0')}.{10 + number}" for number in range(4)]
        self.address = f"http://{addresses[0]}:{DASHBOARD}"
        self.store = {
            "AWS_ENDPOINT_URL": f"http://{addresses[STORE]}:{PORT}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        os.environ.update(self.store)  # the judge reads the table, too
        object_store.cache_clear()
        settings = self.store | {"CHAOS_JOURNAL": str(self.journal), "OMP_NUM_THREADS": "1"}
        settings |= {"RAY_worker_niceness": "0"}
        project = self._project()
        settings |= {"PYTHONPATH": str(project)}
        options = ["--cpus", "2", "--env", self._venv, "--share", self.journal.parent]
        options += [f"--bind={bind}" for bind in (*self._binds, project)]
        self.hosts("up", "4", *options, *(f"--set={name}={value}" for name, value in settings.items()))
        self._leave_out_store(addresses[STORE])
        self.on(STORE, f"nohup python -m moto.server -H 0.0.0.0 -p {PORT} >/tmp/moto.log 2>&1 </dev/null &")
        self._make_bucket()
        self.start_ray()

    def hosts(self, *words: object) -> str:
        command = [sys.executable, str(self._program), *map(str, words)]
        done = subprocess.run(command, cwd="/tmp", capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode:
            raise RuntimeError(f"{shlex.join(command)}: {done.stdout}{done.stderr}")
        return done.stdout

    def on(self, host: int, command: str) -> str:
        """What a shell command prints on a host, whatever its exit code; it may be off."""
        words = [sys.executable, str(self._program), "exec", str(host), command]
        done = subprocess.run(words, cwd="/tmp", capture_output=True, text=True, stdin=subprocess.DEVNULL)
        return done.stdout

    def mva_ray(self, *words: str) -> list[str]:
        """The command line of mva_ray against this cluster."""
        python = str(self._venv / "bin" / "python")
        return [python, "-c", "from mva_ray.cli import main; main()", *words, "--address", self.address]

    def start_ray(self) -> None:
        """`ray up`; on hosts where Ray is at work it starts anew."""
        for state in (self._state / "ray").glob("cluster-*.state"):  # of a head that may be lost
            state.unlink()
        command = [str(self._venv / "bin" / "ray"), "up", "-y", "--no-config-cache", str(self._state / "cluster.yaml")]
        log = self._directory / f"ray-up-{self._made}.txt"
        self._made += 1
        with log.open("wb") as file:
            environment = os.environ | {"RAY_TMPDIR": str(self._state)}
            subprocess.run(command, cwd="/tmp", env=environment, stdout=file, stderr=file, check=True)
        self.wait_for_nodes(1 + len(WORKERS))

    def wait_for_nodes(self, count: int) -> None:
        """Until so many are alive."""
        deadline = time.monotonic() + PATIENCE_S
        while self._alive() < count:
            if time.monotonic() > deadline:
                raise RuntimeError(f"of {count} hosts, {self._alive()} are in the cluster after {PATIENCE_S} s")
            time.sleep(2)

    def _alive(self) -> int:
        with suppress(OSError, ValueError, KeyError):
            with urllib.request.urlopen(f"{self.address}/nodes?view=summary", timeout=5) as answer:
                nodes = json.load(answer)["data"]["summary"]
            return sum(node["raylet"]["state"] == "ALIVE" for node in nodes)
        return 0

    def _project(self) -> Path:
        """What each host has, as from an image, a new one too: the package, and what writes the journal."""
        project = self._directory / "project"
        shutil.copytree(ROOT / "mva_ray", project / "mva_ray", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(Path(__file__).parent / "journal" / "sitecustomize.py", project)
        return project

    def _leave_out_store(self, address: str) -> None:
        path = self._state / "cluster.yaml"
        config = json.loads(path.read_text())
        config["provider"]["worker_ips"].remove(address)
        config["max_workers"] = config["min_workers"] = len(WORKERS)
        path.write_text(json.dumps(config, indent=2))

    def _make_bucket(self) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                request = urllib.request.Request(f"{self.store['AWS_ENDPOINT_URL']}/{BUCKET}", method="PUT")
                urllib.request.urlopen(request, timeout=5).close()
                return
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)


class Job:
    """An exploration that was submitted; its output is what `mva-ray logs` prints."""

    def __init__(self, hosts: Hosts, run: str, output: Path) -> None:
        self._hosts, self._run, self._output = hosts, run, output
        command = hosts.mva_ray("logs", run)
        with output.open("wb") as file:
            self._logs = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=_environment(hosts))

    def ended(self) -> int | None:
        """0 where it succeeded, None where it is at work."""
        return self._logs.poll()

    def output(self) -> str:
        return self._output.read_text(errors="replace")

    def stop(self) -> None:
        self._logs.kill()
        self._logs.wait()


class OnHosts:
    """One exploration as a job."""

    codes: Mapping[str, int] = {"head_empty": -9}

    def __init__(self, hosts: Hosts, directory: Path, config: Path) -> None:
        self._hosts, self._directory, self._config = hosts, directory, config
        self.run = f"s3://{BUCKET}/{directory.name}"
        self.journal = hosts.journal
        self._head_lost = False
        self._drivers = 0

    def start(self) -> Job:
        self._drivers += 1
        command = self._hosts.mva_ray("submit", "--config", str(self._config), "--run", self.run)
        subprocess.run(command, env=_environment(self._hosts), check=True)
        return Job(self._hosts, self.run, self._directory / f"driver-{self._drivers}.txt")

    def strike(self, fault: Fault, driver: Job) -> Strike | None:
        before = time.time()
        if fault.kind == "driver":
            self._hosts.on(0, f"pkill -KILL -f '{DRIVER}'")
            return Strike(fault, before, time.time(), "on the head", True)
        if fault.kind == "cancel":
            subprocess.run(self._hosts.mva_ray("cancel", self.run), env=_environment(self._hosts), check=True)
            return Strike(fault, before, time.time(), "mva-ray cancel", True)
        if fault.kind in PROCESSES:
            return self._kill(fault, before)
        if fault.kind == "head_empty":
            self._hosts.hosts("kill", 0)
            self._head_lost = True
            driver.stop()
            return Strike(fault, before, time.time(), "host 0, its disk too", True)
        if fault.kind == "worker":
            return self._lose(fault)
        return self._cut(fault, before)

    def mend(self) -> None:
        """A head that was lost is another one, with an empty disk."""
        if self._head_lost:
            self._hosts.hosts("start", 0, "--empty")
            self._hosts.start_ray()
            self._head_lost = False

    def close(self) -> None:
        """Hosts that were lost are there again for the next exploration."""
        self.mend()
        self.journal.rename(self.journal.with_name(f"{self._directory.name}.jsonl"))
        if any(self._hosts.on(worker, "echo on").strip() != "on" for worker in WORKERS):
            raise RuntimeError("a host is off")
        self._hosts.start_ray()

    def _kill(self, fault: Fault, before: float) -> Strike | None:
        title = PROCESSES[fault.kind]
        found = [
            (host, int(pid)) for host in (0, *WORKERS) for pid in self._hosts.on(host, f"pgrep -f '^{title}'").split()
        ]
        if not found:
            return None
        host, pid = found[int(fault.victim * len(found))]
        before = time.time()
        self._hosts.on(host, f"kill -KILL {pid}")
        at_work = [(f"host{host}", pid)] if fault.kind == "generator" else []
        return Strike(fault, before, time.time(), f"{title} on host {host}, one of {len(found)}", False, at_work)

    def _lose(self, fault: Fault) -> Strike:
        """A host is lost, of those at work where there are any; another comes in its place, with an empty disk."""
        at_work = [host for host in WORKERS if self._hosts.on(host, f"pgrep -f '{AT_WORK}'")]
        hosts = at_work or WORKERS
        host = hosts[int(fault.victim * len(hosts))]
        before = time.time()
        self._hosts.hosts("kill", host)
        after = time.time()
        time.sleep(fault.seconds)
        self._hosts.hosts("start", host, "--empty")
        victim = f"host {host}, {'at work' if at_work else 'idle'}"
        return Strike(fault, before, after, victim, False, [(f"host{host}", None)])

    def _cut(self, fault: Fault, before: float) -> Strike:
        """The network of a host: of the S3 server, or of a worker, which lives on."""
        host = STORE if fault.kind == "store_away" else WORKERS[int(fault.victim * len(WORKERS))]
        self._hosts.hosts("partition", host)
        seconds = fault.seconds * (1 if host == STORE else CUT_OFF)
        time.sleep(seconds)
        self._hosts.hosts("heal", host)
        at_work = [] if host == STORE else [(f"host{host}", None)]
        return Strike(fault, before, time.time(), f"host {host} for {seconds:.0f} s", False, at_work)


CUT_OFF = 5
"""Ray waits for its health checks: some cuts are shorter, some longer."""


def _environment(hosts: Hosts) -> dict[str, str]:
    return os.environ | hosts.store | {"PYTHONPATH": str(ROOT)}

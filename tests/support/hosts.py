"""Hosts on one machine: a network, processes and a disk of its own each, by Linux namespaces. Needs root."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

BRIDGE = f"mva{os.getpid()}"
NETWORK = f"10.213.{os.getpid() % 256}"
"""Two runs of the tests on one machine have each its own."""
HERE = f"{NETWORK}.1"
"""Where hosts find this machine."""


def why_not() -> str | None:
    """Why there are no hosts here: they cannot be made, or MVA_RAY_TEST_HOSTS=0 says that a minute is too long."""
    if os.environ.get("MVA_RAY_TEST_HOSTS") == "0":
        return "MVA_RAY_TEST_HOSTS is 0"
    if os.geteuid() != 0 or not all(map(shutil.which, ("ip", "unshare", "nsenter"))):
        return "hosts need root, ip, unshare and nsenter"
    probe = f"ip link add {BRIDGE} type bridge && ip link del {BRIDGE} && unshare -mpn --fork mount -t tmpfs none /tmp"
    done = subprocess.run(["sh", "-c", probe], capture_output=True, text=True, check=False)
    return f"no network namespaces here: {done.stderr.strip()}" if done.returncode else None


def _do(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"


def _without_proxies() -> dict[str, str]:
    """The environment of this process: there is no way from a host to a proxy."""
    return {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}


class Network:
    """A bridge between the hosts and this machine, as long as the context lasts."""

    def __enter__(self) -> Self:
        _do("ip", "link", "add", BRIDGE, "type", "bridge")
        _do("ip", "addr", "add", f"{HERE}/24", "dev", BRIDGE)
        _do("ip", "link", "set", BRIDGE, "up")
        return self

    def __exit__(self, *error: object) -> None:
        _do("ip", "link", "del", BRIDGE)


class Host:
    """One host of the network; its /tmp is its own, and all else that it sees is this machine's.

    Args:
        number: of its address, from 2 on.
        files: what it sees at /mnt; nothing if None.
    """

    def __init__(self, number: int, files: Path | None = None) -> None:
        self.address = f"{NETWORK}.{number}"
        self._unshare = subprocess.Popen(
            ["unshare", "-mpn", "--fork", "--kill-child", "--mount-proc", "sleep", "infinity"]
        )
        self._pid = self._child()
        self._outside = f"{BRIDGE}v{number}"
        _do("ip", "link", "add", self._outside, "type", "veth", "peer", "name", "eth0", "netns", str(self._pid))
        _do("ip", "link", "set", self._outside, "master", BRIDGE, "up")
        mnt = f"mount --bind {files} /mnt" if files else "mount -t tmpfs none /mnt"
        network = f"ip addr add {self.address}/24 dev eth0 && ip link set eth0 up && ip link set lo up"
        self.run(["sh", "-c", f"{mnt} && mount -t tmpfs none /tmp && {network}"])

    def _child(self) -> int:
        children = Path(f"/proc/{self._unshare.pid}/task/{self._unshare.pid}/children")
        while not children.read_text().strip():
            time.sleep(0.01)
        time.sleep(0.2)  # it mounts its own /proc before it becomes `sleep`
        return int(children.read_text())

    def run(
        self, command: Sequence[str], environment: Mapping[str, str] | None = None, check: bool = True
    ) -> "subprocess.CompletedProcess[str]":
        """A command there, to its end; its output and errors together."""
        done = subprocess.run(
            ["nsenter", "-t", str(self._pid), "-m", "-p", "-n", *command],
            env={**_without_proxies(), **(environment or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            cwd="/",
        )
        assert not check or done.returncode == 0, done.stdout
        return done

    def start_ray(self, environment: Mapping[str, str], *arguments: str, cores: str = "") -> None:
        """A node of a cluster, by `ray start`; on these cores alone, such as `0,1`."""
        ray = [
            *(["taskset", "-c", cores] if cores else []),
            sys.executable,
            "-m",
            "ray.scripts.scripts",
            "start",
            f"--node-ip-address={self.address}",
        ]
        ray += ["--object-store-memory=100000000", "--disable-usage-stats", *arguments]
        with_output_of_its_own = f"{' '.join(ray)} > /tmp/ray_start.log 2>&1 || {{ cat /tmp/ray_start.log; exit 1; }}"
        self.run(["sh", "-c", with_output_of_its_own], environment)

    def close(self) -> None:
        """Power off: every process of the host ends; Linux may take its time over the network of those."""
        _do("ip", "link", "del", self._outside)
        self._unshare.kill()
        self._unshare.wait()

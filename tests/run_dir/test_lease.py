"""One driver a run at a URL: the second is refused, a dead one's lease is taken over, a lost one ends the driver."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from mva_ray.errors import RunError
from mva_ray.run_dir.lease import NAME, Lease
from mva_ray.run_dir.objects import ObjectStore
from tests.support.object_store import S3Server

HELD = """
import sys
from mva_ray.run_dir.lease import Lease
with Lease(sys.argv[1], time_s=2, beat_s=0.2).held():
    print("held", flush=True)
    sys.stdin.read()
"""


def driver(url: str) -> "subprocess.Popen[str]":
    """A process that holds the run, until its input is closed."""
    process = subprocess.Popen(
        [sys.executable, "-c", HELD, url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def of_another_machine(url: str) -> None:
    """What a driver leaves that was killed elsewhere a moment ago."""
    lease = {"owner": "other", "host": "elsewhere", "boot": "b", "pid": 7, "expires": time.time() + 1}
    ObjectStore(url).write(NAME, json.dumps(lease).encode())


def hold(lease: Lease, do: Callable[[], None] = lambda: None) -> None:
    with lease.held():
        do()


def test_a_second_driver_is_refused_and_the_first_goes_on(s3: str, capsys: pytest.CaptureFixture[str]) -> None:
    first = driver(s3)
    with pytest.raises(RunError, match=rf"another driver is at work in {s3}: process {first.pid} on .*; wait for it"):
        hold(Lease(s3, time_s=2, beat_s=0.2))
    assert "waiting for at most" in capsys.readouterr().out
    _, errors = first.communicate("")
    assert (first.returncode, errors) == (0, "")
    hold(Lease(s3))
    assert ObjectStore(s3).names("") == []


def test_a_driver_that_was_killed_on_this_machine_is_taken_over_at_once(s3: str) -> None:
    first = driver(s3)
    first.kill()
    first.communicate()
    started = time.monotonic()
    hold(Lease(s3))
    assert time.monotonic() - started < 2


def test_a_driver_that_was_killed_elsewhere_is_taken_over_when_its_lease_has_expired(s3: str) -> None:
    started = time.monotonic()
    of_another_machine(s3)
    with Lease(s3, time_s=2, beat_s=0.1).held():
        assert time.monotonic() - started > 0.9
        assert b"elsewhere" not in (ObjectStore(s3).read(NAME) or b"")


def test_a_lost_lease_stops_the_driver_with_one_line(s3: str) -> None:
    def lose() -> None:
        of_another_machine(s3)
        for _ in range(100):
            time.sleep(0.1)

    with pytest.raises(RunError) as caught:
        hold(Lease(s3, time_s=2, beat_s=0.1), lose)
    assert str(caught.value) == (
        f"{s3} is held by process 7 on elsewhere now: this driver was away for too long, and stops"
    )
    assert b"elsewhere" in (ObjectStore(s3).read(NAME) or b""), "the new owner's lease stays"


def test_ctrl_c_stays_ctrl_c_and_gives_the_lease_back(s3: str) -> None:
    def interrupt() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(10)

    with pytest.raises(KeyboardInterrupt):
        hold(Lease(s3), interrupt)
    assert ObjectStore(s3).names("") == []


def test_a_store_that_is_away_costs_no_lease(s3_server: S3Server, s3: str) -> None:
    """Longer than the lease lasts: nobody can take it over while the store is away."""
    with Lease(s3, time_s=0.5, beat_s=0.1).held():
        with s3_server.paused():
            time.sleep(1)
        time.sleep(0.5)


def test_a_lease_that_is_no_json_has_expired(s3: str) -> None:
    ObjectStore(s3).write(NAME, b"{")
    hold(Lease(s3))

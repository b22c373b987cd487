"""A process that stands still ends; one that goes on, however slowly, does not."""

import subprocess
import sys
import time

import pytest

from mva_ray.evaluation.stall import ends_if_stalled, progress

STALLED = """
import asyncio, ctypes, time
import mva_ray.evaluation.shared_engine as shared
from mva_ray.evaluation.stall import ends_if_stalled

shared.ends_if_stalled = lambda: ends_if_stalled(0.5)

class Stuck:
    def begin_answers(self, requests):
        return self
    def is_done(self):
        return False
    def step(self):
        {standing_still}

asyncio.run(shared.SharedEngine(Stuck, 1).answer([]))
"""


@pytest.mark.parametrize("standing_still", ["time.sleep(100)", "ctypes.PyDLL(None).sleep(100)"], ids=["", "lock kept"])
def test_an_engine_that_stands_still_ends_its_process_and_says_where(standing_still: str) -> None:
    script = STALLED.format(standing_still=standing_still)
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    assert "Timeout (0:00:00.5" in ended.stderr
    assert "in step" in ended.stderr


def test_who_goes_on_lives() -> None:
    script = """
import time
from mva_ray.evaluation.stall import ends_if_stalled, progress
with ends_if_stalled(1.0):
    for _ in range(20):
        time.sleep(0.1)
        progress()
time.sleep(1.5)
progress()
"""
    assert subprocess.run([sys.executable, "-c", script], timeout=60).returncode == 0


def test_progress_costs_next_to_nothing() -> None:
    """It is called at every forward pass; a watch that is set anew each time takes 0.2 ms."""
    with ends_if_stalled():
        started = time.perf_counter()
        for _ in range(1000):
            progress()
    assert time.perf_counter() - started < 0.1

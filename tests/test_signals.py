"""A request to stop is kept, also where what it interrupts swallows it."""

import os
import signal
import subprocess
import sys
from contextlib import suppress

import pytest

from mva_ray.errors import Interrupted
from mva_ray.signals import catch_signals, interruptible


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_in_one_line(number: signal.Signals) -> None:
    with pytest.raises(Interrupted) as caught, interruptible():
        os.kill(os.getpid(), number)
    assert caught.value.exit_code == 128 + number


def test_a_signal_that_was_swallowed_is_remembered() -> None:
    def swallowed() -> None:
        with interruptible():
            with suppress(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGTERM)
            catch_signals()

    with pytest.raises(Interrupted) as caught:
        swallowed()
    assert caught.value.exit_code == 128 + signal.SIGTERM


def test_a_signal_that_python_made_another_error_of_is_one_still() -> None:
    """What __set_name__ raises becomes a RuntimeError, and imports are full of it."""

    class Field:
        def __set_name__(self, owner: type, name: str) -> None:
            os.kill(os.getpid(), signal.SIGTERM)

    def defined() -> None:
        with interruptible():
            type("Aggregate", (), {"field": Field()})

    with pytest.raises(Interrupted) as caught:
        defined()
    assert caught.value.exit_code == 128 + signal.SIGTERM


def test_an_error_without_a_signal_stays_what_it_is() -> None:
    with pytest.raises(RuntimeError), interruptible():
        raise RuntimeError


def test_nothing_of_an_earlier_one_is_left() -> None:
    with pytest.raises(Interrupted), interruptible():
        os.kill(os.getpid(), signal.SIGTERM)
    with interruptible():
        catch_signals()


def test_ray_takes_no_signal_over() -> None:
    """While it starts and afterwards: its own handler would end the process without a word."""
    program = """
import os, signal
from mva_ray.errors import Interrupted
from mva_ray.placement import ray_cluster
from mva_ray.signals import interruptible
import ray
try:
    with interruptible():
        init, own = ray.init, signal.getsignal(signal.SIGTERM)
        def starting(**options):
            init(**options)
            assert signal.getsignal(signal.SIGTERM) is own
            os.kill(os.getpid(), signal.SIGTERM)
        ray.init = starting
        ray_cluster.join_ray()
except Interrupted as stopped:
    print("stopped by", stopped.exit_code)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.stdout == "stopped by 143\n", done.stderr

"""Are malformed and extreme configs refused in time? Each as a user meets it: a process of its own.

python benchmarks/malformed.py [--only "a call" ...] [--dry-run]

The configs are those of tests/support/extreme. Each has to end with exit code 2 and name its key on stderr, without a
traceback, in under 5 s and 1 GB. What does not is printed, then seconds and peak memory of all; exit code 1 where one
does not. A reward that hangs counts without the `timeout` that its config gives it.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import yaml

from tests.support.extreme import EXTREME, write
from tests.support.extreme.case import Case
from tests.support.tiny import make_llama

MOST_SECONDS, MOST_MEGABYTES, PATIENCE_S = 5.0, 1000.0, 60.0


class Ended(NamedTuple):
    """How a process ended: `waited` of its seconds were given to a reward by its config; memory is its peak, in MB."""

    name: str
    code: int
    stderr: str
    seconds: float
    cpu_seconds: float
    megabytes: float
    waited: float = 0.0

    def misses(self, key: str) -> list[str]:
        own = self.seconds - self.waited
        found = {
            f"exit code {self.code}": self.code != 2,
            f"{key} is not named": key not in self.stderr,
            "a traceback": "Traceback" in self.stderr,
            f"{own:.1f} s": own >= MOST_SECONDS,
            f"{self.megabytes:.0f} MB": self.megabytes >= MOST_MEGABYTES,
        }
        return [miss for miss, holds in found.items() if holds]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(EXTREME), default=list(EXTREME), metavar="NAME")
    parser.add_argument("--dry-run", action="store_true", help="of explore --dry-run in place of explore")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        model = make_llama(Path(directory, "model"))
        ended = [
            run(name, EXTREME[name], Path(directory, str(number)), model, ["--dry-run"] * arguments.dry_run)
            for number, name in enumerate(arguments.only)
        ]
    missed = [(each, misses) for each in ended if (misses := each.misses(EXTREME[each.name].key))]
    for each, misses in missed:
        print(f"{each.name}: {', '.join(misses)} ({each.cpu_seconds:.1f} s of CPU)\n    {each.stderr.strip()[-400:]}")
    print_summary(ended)
    print(f"{len(ended) - len(missed)} of {len(ended)} refused as they should be")
    return bool(missed)


def run(name: str, case: Case, directory: Path, model: Path, options: Sequence[str]) -> Ended:
    """Explore, from another directory than the config's, whose modules would be found at any time."""
    elsewhere = directory / "elsewhere"
    elsewhere.mkdir(parents=True)
    config = write(directory, model, case)
    command = [sys.executable, "-m", "mva_ray", "explore", "--config", str(config), *options]
    packages = str(Path(__file__).parents[1])
    started = time.monotonic()
    with (directory / "stderr").open("w+") as stderr:
        process = subprocess.Popen(
            command,
            cwd=elsewhere,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            env=os.environ | {"PYTHONPATH": packages},
        )
        killer = threading.Timer(PATIENCE_S, process.kill)
        killer.start()
        _, status, used = os.wait4(process.pid, 0)
        killer.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        stderr.seek(0)
        return Ended(
            name,
            process.returncode,
            stderr.read(),
            time.monotonic() - started,
            used.ru_utime + used.ru_stime,
            used.ru_maxrss / 1000,
            timeout_of(config),
        )


def timeout_of(config: Path) -> float:
    try:
        reward = yaml.safe_load(config.read_text())["values"][0]["reward"]
        return float(reward["timeout"])
    except Exception:  # most are malformed
        return 0.0


def print_summary(ended: Sequence[Ended]) -> None:
    columns = {
        "seconds": [each.seconds for each in ended],
        "CPU seconds": [each.cpu_seconds for each in ended],
        "peak MB": [each.megabytes for each in ended],
    }
    for what, numbers in columns.items():
        worst = ended[numbers.index(max(numbers))].name
        print(f"{what}: median {statistics.median(numbers):.2f}, most {max(numbers):.2f} ({worst})")


if __name__ == "__main__":
    sys.exit(main())

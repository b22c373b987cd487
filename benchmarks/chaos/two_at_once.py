"""Two explorations at once on three hosts, each asking for more than half of the CPUs, and a second driver on one.

python -m benchmarks.chaos.two_at_once --hosts path/to/hosts --env path/to/venv --output docs/results/two_at_once.json
"""

import argparse
import json
import re
import time
import urllib.request
from collections import Counter
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import yaml

from benchmarks.chaos.hosts import BUCKET, Hosts, Job, OnHosts
from benchmarks.chaos.work import write_work

EVALUATORS = 4
"""Of six CPUs, one each."""

POLL_S = 0.5
PATIENCE_S = 900


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=Path, required=True, help="the program that makes hosts")
    parser.add_argument("--env", type=Path, required=True, help="a virtual environment with ray[default]")
    parser.add_argument("--bind", type=Path, action="append", default=[], help="what that builds upon")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    directory = Path(mkdtemp(prefix="two-"))
    config = asking_for_more_than_half(write_work(directory / "work")[False])
    with Hosts(options.hosts, options.env, options.bind, directory) as hosts:
        found = both(hosts, directory, config)
    options.output.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


def asking_for_more_than_half(config: Path) -> Path:
    settings = yaml.safe_load(config.read_text())
    settings["search"] |= {"evaluators": EVALUATORS, "resources": {"num_cpus": 1.0}}
    config.write_text(yaml.safe_dump(settings))
    return config


def both(hosts: Hosts, directory: Path, config: Path) -> dict[str, Any]:
    """Submit two, then a third driver on the first's run, and look on until all have ended."""
    jobs = [start(hosts, directory / name, config, name) for name in ("one", "other")]
    third: Job | None = None
    seen: Counter[str] = Counter()
    deadline = time.monotonic() + PATIENCE_S
    while any(job.ended() is None for job in jobs) and time.monotonic() < deadline:
        at_work = evaluators_by_job(hosts.address)
        seen[" and ".join(str(count) for count in sorted(at_work.values())) or "none"] += 1
        if at_work and third is None:
            third = start(hosts, directory / "third", config, "one")
        time.sleep(POLL_S)
    assert third is not None
    while third.ended() is None and time.monotonic() < deadline:
        time.sleep(POLL_S)
    waits = [re.findall("waiting for .*", job.output()) for job in jobs]
    return {
        "exit codes": [job.ended() for job in jobs],
        "evaluators of the jobs that had any, by how often it was seen": dict(seen),
        "waits": waits,
        "third": {"exit code": third.ended(), "says": [s for s in third.output().splitlines() if "error" in s][-1:]},
    }


def start(hosts: Hosts, directory: Path, config: Path, run: str) -> Job:
    directory.mkdir()
    place = OnHosts(hosts, directory, config)
    place.run = f"s3://{BUCKET}/{run}"
    return place.start()


def evaluators_by_job(address: str) -> dict[str, int]:
    """How many evaluators each job has now, started or starting."""
    url = f"{address}/api/v0/actors?limit=1000&detail=0&filter_keys=class_name&filter_predicates=%3D"
    with urllib.request.urlopen(f"{url}&filter_values=EngineActor", timeout=30) as answer:
        actors = json.load(answer)["data"]["result"]["result"]
    return Counter(actor["job_id"] for actor in actors if actor["state"] != "DEAD")


if __name__ == "__main__":
    main()

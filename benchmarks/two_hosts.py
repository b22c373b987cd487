"""Answers a second of one evaluator on one host, and of two on two hosts, each with one core of this machine.

python -m benchmarks.two_hosts --output docs/results/two_hosts.json

A head without CPUs and one or two workers, with networks, processes and disks of their own (Linux namespaces, needs
root), a run in an S3 server, SmolLM2 with two random adapters: the search alone is measured, by the time that the
engines were at work. With two cores in all, the second worker has no core to itself: the head with broker, driver and
trials shares them, in both cases.
"""

import argparse
import json
import os
from contextlib import ExitStack
from pathlib import Path
from sys import executable
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from benchmarks.serving import cpu
from mva_ray.adapters.fetch import SMOLLM2, fetch
from mva_ray.run_dir.layout import RunDirectory
from mva_ray.table import ParetoTable
from tests.support.hosts import HERE, Host, Network, why_not
from tests.support.object_store import S3Server
from tests.support.tiny import random_adapter

PROMPTS = Path(__file__).parents[1] / "tune_configs" / "prompts"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", type=int, default=12)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    if reason := why_not():
        raise SystemExit(reason)
    found: dict[str, Any] = {"cpu": cpu()}
    with TemporaryDirectory() as directory:
        files = Path(directory)
        write(files, arguments.candidates)
        for workers in (1, 2):
            found[f"{workers} on {workers}"] = measured(files, workers)
            print(json.dumps(found), flush=True)
    one, two = found["1 on 1"]["answers_per_second"], found["2 on 2"]["answers_per_second"]
    found["times"] = two / one
    print(json.dumps(found, indent=2))
    if arguments.output:
        arguments.output.write_text(json.dumps(found, indent=2) + "\n")


def write(files: Path, candidates: int) -> None:
    """A config for each number of evaluators, and the adapters that it names."""
    model = fetch(SMOLLM2)
    for seed, value in enumerate(("brief", "thorough")):
        random_adapter(files / value, model, seed, r=8, alpha=1)
    for evaluators in (1, 2):
        config = {
            "name": "hosts",
            "base_model": SMOLLM2,
            "prompts": {
                split: {"path": f"{PROMPTS}/{split}.jsonl", "count": count}
                for split, count in (("train", 4), ("search", 32), ("held_out", 4))
            },
            "generation": {"max_new_tokens": 32},
            "values": [
                {"name": value, "reward": f"mva_ray.rewards:{value}", "adapter": value}
                for value in ("brief", "thorough")
            ],
            "search": {
                "method": "sobol",
                "candidates": candidates,
                "evaluators": evaluators,
                "resources": {"num_cpus": 1.5},  # more than half of a host: two of them are never on one
            },
        }
        (files / f"{evaluators}.yaml").write_text(yaml.safe_dump(config))


def measured(files: Path, workers: int) -> dict[str, float]:
    with ExitStack() as stack:
        stack.enter_context(Network())
        server = S3Server(address=HERE)
        stack.callback(server.close)
        environment = {**server.environment, "RAY_AUTH_MODE": "disabled", "PYTHONPATH": os.getcwd(), "no_proxy": HERE}
        os.environ.update(environment)
        hosts = [Host(number, files) for number in range(2, 3 + workers)]
        for host in hosts:
            stack.callback(host.close)
        head, *others = hosts
        head.start_ray(environment, "--head", "--num-cpus=0", "--include-dashboard=false")
        for core, host in enumerate(others):
            host.start_ray(environment, f"--address={head.address}:6379", "--num-cpus=2", cores=str(core))
        run = server.new_url()
        command = [executable, "-m", "mva_ray.explore", "--config", f"/mnt/{workers}.yaml", "--run", run]
        head.run(command, {**environment, "RAY_ADDRESS": f"{head.address}:6379"})
        answers = int(ParetoTable(run).frame("search")["n_prompts"].sum())
        seconds = (RunDirectory(run).timings.read_object() or {})["engine at work in the search"]
    return {"answers": answers, "seconds": seconds, "answers_per_second": answers / seconds}


if __name__ == "__main__":
    main()

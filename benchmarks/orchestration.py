"""What Ray costs a search: wall time of trials whose evaluator answers at once.

python benchmarks/orchestration.py --trials 500 --output out.json

Real Tune, real trial processes and a real broker actor; proposals come in generations, as in a search. Start-up ends
with the first trial, tear-down begins with the last. With `--seconds` each evaluation takes that long: `idle_share` is
then the share of the search's wall time, start-up and tear-down included, in which the broker had nothing to do.
"""

import argparse
import asyncio
import json
import logging
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import ray

from mva_ray.evaluation.broker import Places
from mva_ray.evaluation.evaluate import EvaluationSetting, succeeded
from mva_ray.records import Coefficients, Evaluation, Generation, Outcome, Proposal
from mva_ray.search.ray_search import run_search
from mva_ray.search.results import Reader
from mva_ray.search.rounds import Rounds
from mva_ray.stages.ray_session import ENVIRONMENT

SETTING = EvaluationSetting("bench", "search", ("p",), ("a", "b"), "none", {"a": "1", "b": "2"}, {}, 0)


@dataclass(frozen=True)
class Answer:
    """What `EvaluationBroker.evaluate` returns."""

    evaluation: Evaluation
    rewards: list[list[float]]


class InstantBroker:
    """Answers at once, or after some seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._inside = 0
        self._since = 0.0
        self._busy = 0.0

    async def evaluate(self, split: str, coefficients: Coefficients, places: Places | None) -> Answer:
        self._enter(1)
        await asyncio.sleep(self._seconds)
        self._enter(-1)
        rewards = {"a": [coefficients[0]], "b": [coefficients[1]]}
        evaluation = succeeded(SETTING, coefficients, [Generation("p", "", 1, False)], rewards, 0.0)
        return Answer(evaluation, [list(coefficients)])

    async def ready(self) -> None:
        """At once."""

    def _enter(self, count: int) -> None:
        now = time.monotonic()
        self._busy += now - self._since if self._inside else 0.0
        self._inside, self._since = self._inside + count, now

    async def engine_seconds(self) -> float:
        """Seconds with at least one candidate."""
        return self._busy


class Counting:
    """A proposer of so many distinct candidates, in generations."""

    def __init__(self, trials: int, generation: int) -> None:
        self._left = [(i / 10_000, 0.0) for i in range(trials)]
        self._size = generation
        self.ready = True

    def ask(self) -> list[Proposal]:
        asked, self._left = self._left[: self._size], self._left[self._size :]
        self.ready = False
        return [Proposal(row) for row in asked]

    def tell(self, outcomes: Sequence[Outcome]) -> None:
        """Nothing is learned."""
        self.ready = True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=500)
    parser.add_argument("--generation", type=int, default=8)
    parser.add_argument("--concurrency", type=int, default=2)
    parser.add_argument("--ahead", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    os.environ.update(ENVIRONMENT)
    ray.init(log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False, object_store_memory=10**8)
    result = measure(arguments.trials, arguments.generation, arguments.concurrency, arguments.ahead, arguments.seconds)
    ray.shutdown()
    for name, number in result.items():
        print(f"{name:22} {number:8.3f}")
    if arguments.output:
        arguments.output.write_text(json.dumps(result, indent=1) + "\n")


def measure(trials: int, generation: int, concurrency: int, ahead: int, seconds: float) -> dict[str, float]:
    broker = ray.remote(InstantBroker).options(num_cpus=0, max_concurrency=10_000).remote(seconds)
    ray.get(broker.engine_seconds.remote())
    rounds = Rounds(Counting(trials, generation))
    done: list[float] = []
    with tempfile.TemporaryDirectory() as storage:
        started, cpu = time.monotonic(), time.process_time()
        busy = run_search(
            rounds,
            Reader(SETTING.values),
            broker,
            concurrency,
            ahead,
            Path(storage),
            lambda: done.append(time.monotonic()),
        )
        ended = time.monotonic()
    assert len(done) == trials
    return {
        "trials": trials,
        "generation": generation,
        "concurrency": concurrency,
        "ahead": ahead,
        "start_up_s": done[0] - started,
        "ms_a_trial": 1000 * (done[-1] - done[0]) / (trials - 1),
        "driver_cpu_ms_a_trial": 1000 * (time.process_time() - cpu) / trials,
        "tear_down_s": ended - done[-1],
        "total_s": ended - started,
        "idle_share": 1 - busy / (ended - started),
    }


if __name__ == "__main__":
    main()

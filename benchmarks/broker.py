"""What the broker costs where many evaluators answer: real broker, real table, artificial evaluators and rewards.

python -m benchmarks.broker --evaluators 64 --candidates 2000 --output docs/results/broker.json

All run in one process. An evaluator answers a piece of `--piece` prompts in `--seconds`; two candidates an evaluator
are at work at a time. `idle_share` is the share of the evaluators' time in which they had nothing to do; memory is that
of the process before, and after each quarter of the candidates.
"""

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
from deltalake import DeltaTable

from mva_ray.config.generation import Sampling
from mva_ray.evaluation.answers import Answer
from mva_ray.evaluation.broker import EvaluationBroker
from mva_ray.evaluation.evaluate import EvaluationSetting
from mva_ray.evaluation.known import KnownAnswers
from mva_ray.records import Coefficients, Generation
from mva_ray.table.pareto_table import ParetoTable

TEXT = "the sky is blue because small particles of air scatter short waves of light more than long ones"
WORDS = TEXT.split()
VALUES = ("brief", "thorough")


class Evaluator:
    """Answers a piece after some seconds, one piece at a time."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._lock = asyncio.Lock()
        self.busy = 0.0

    async def answer(self, requests: Sequence[tuple[Coefficients, str]]) -> list[Answer]:
        async with self._lock:
            await asyncio.sleep(self._seconds)
            self.busy += self._seconds
        return [said(coefficients, prompt) for coefficients, prompt in requests]

    async def sample(self, prompts: Sequence[str], sampling: Sampling, seed: int) -> list[list[Generation]]:
        raise NotImplementedError

    async def measure(self, metrics: Sequence[str], generations: Sequence[Generation]) -> list[dict[str, float]]:
        raise NotImplementedError

    async def busy_seconds(self) -> float:
        return self.busy


def said(coefficients: Coefficients, prompt: str) -> Generation:
    """40 words that no other candidate says."""
    start = hash((coefficients, prompt))
    words = [WORDS[(start >> shift) % len(WORDS)] for shift in range(38)]
    ids = tuple((start >> shift) % 49_152 for shift in range(40))
    return Generation(prompt, " ".join([*words, f"{start:x}"]), 40, False, ids)


class Reward:
    truncated = 0

    async def score(self, prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
        return [float(len(completion)) for completion in completions]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--evaluators", type=int, default=64)
    parser.add_argument("--candidates", type=int, default=2000)
    parser.add_argument("--prompts", type=int, default=32)
    parser.add_argument("--piece", type=int, default=16)
    parser.add_argument("--seconds", type=float, nargs="+", default=[0.0, 5.0], help="of a piece; one run each")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    found = [asyncio.run(measured(seconds, arguments)) for seconds in arguments.seconds]
    print(json.dumps(found, indent=1))
    if arguments.output:
        arguments.output.write_text(json.dumps(found, indent=1) + "\n")


async def measured(seconds: float, arguments: argparse.Namespace) -> dict[str, Any]:
    prompts = tuple(f"Question number {number}?" for number in range(arguments.prompts))
    setting = EvaluationSetting(
        "bench", "search", prompts, VALUES, "none", dict.fromkeys(VALUES, "a"), dict.fromkeys(VALUES, "1"), 0
    )
    evaluators = [Evaluator(seconds) for _ in range(arguments.evaluators)]
    with tempfile.TemporaryDirectory() as directory:
        table = ParetoTable(directory)
        rewards = {value: Reward() for value in VALUES}
        broker = EvaluationBroker(
            {"search": setting}, evaluators, rewards, table.append, KnownAnswers([]), arguments.piece
        )
        started, cpu, memory = time.monotonic(), time.process_time(), [resident()]
        quarter = arguments.candidates // 4
        for first in range(0, arguments.candidates, quarter):
            await evaluated(broker, range(first, first + quarter), 2 * arguments.evaluators)
            memory.append(resident())
        wall = time.monotonic() - started
        cpu = time.process_time() - cpu
        rows = table.evaluations()
        versions = DeltaTable(f"{directory}/table").version()
    assert len({row.candidate for row in rows}) == len(rows) == 4 * quarter
    at_best = seconds * -(-arguments.prompts // arguments.piece) * 4 * quarter / arguments.evaluators
    return {
        "seconds_a_piece": seconds,
        "candidates": len(rows),
        "wall_s": round(wall, 2),
        "ms_a_candidate": round(1000 * wall / len(rows), 2),
        "cpu_ms_a_candidate": round(1000 * cpu / len(rows), 2),
        "without_overhead_s": at_best,
        "idle_share": round(1 - at_best / wall, 4),
        "commits": versions,
        "memory_mb": memory,
    }


async def evaluated(broker: EvaluationBroker, numbers: range, at_once: int) -> None:
    room = asyncio.Semaphore(at_once)

    async def one(number: int) -> None:
        async with room:
            await broker.evaluate("search", (number / 10_000, 0.5))

    await asyncio.gather(*map(one, numbers))


def resident() -> int:
    return int(psutil.Process().memory_info().rss // 2**20)


if __name__ == "__main__":
    main()

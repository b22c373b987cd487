"""What `mva-ray status` says of a run, as metrics of Ray, which every node's agent exports for Prometheus."""

import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

from ray.util.metrics import Gauge

from mva_ray.errors import MvaError
from mva_ray.service.status import Status, status

EVERY_S = 15.0
STAGES = ("preference pairs", "adapter", "search", "held-out front", "finished")

GAUGES = {
    "candidates": "Candidates evaluated on the search prompts, without those that failed",
    "candidates_wanted": "Candidates that the search is to evaluate",
    "front_candidates": "Candidates on the front of the search prompts",
    "held_out_candidates": "Candidates scored on the held-out prompts",
    "answers": "Answers in the table",
    "tokens": "Tokens of these answers",
    "tokens_per_second": "At the pace of the last evaluations",
    "hypervolume": "Of the front, as a share of the box between the worst and the best mean reward of every value",
    "failures": "Candidates that failed",
    "spent_answers": "Answers generated, of samples too",
    "spent_tokens": "Tokens of these answers",
    "spent_gpu_seconds": "GPU seconds reserved, by all starts of the run",
    "spent_cpu_seconds": "CPU seconds reserved, by all starts of the run",
    "cost": "Money by the prices of the config",
}


def numbers(found: Status) -> dict[str, float]:
    """What each gauge shows; without those that nothing is known of."""
    total = found.spent.total
    shown = {
        "candidates": found.searched,
        "candidates_wanted": found.budget,
        "front_candidates": found.front,
        "held_out_candidates": found.held_out,
        "answers": found.answers,
        "tokens": found.tokens,
        "tokens_per_second": found.tokens_a_second,
        "hypervolume": found.hypervolume,
        "failures": sum(failure.count for failure in found.failures),
        "spent_answers": total.answers,
        "spent_tokens": total.tokens,
        "spent_gpu_seconds": total.gpu_seconds,
        "spent_cpu_seconds": total.cpu_seconds,
        "cost": found.spent.prices.cost(total) if found.spent.prices else None,
    }
    return {name: float(number) for name, number in shown.items() if number is not None}


class RunMetrics:
    """Publishes a run's status every few seconds, as long as the context lasts.

    Args:
        run: path or URL of the run.
    """

    def __init__(self, run: str) -> None:
        self._run = run
        self._gauges = {name: Gauge(f"mva_ray_{name}", text, ("run", "name")) for name, text in GAUGES.items()}
        self._stage = Gauge(
            "mva_ray_stage", "1 for the stage that is under way, 0 for others", ("run", "name", "stage")
        )
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._go_on, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()
        self._publish()

    def _go_on(self) -> None:
        self._publish()
        while not self._done.wait(EVERY_S):
            self._publish()

    def _publish(self) -> None:
        with suppress(MvaError):  # of a run that has not begun, or a store that is away: others say so
            found = status(self._run)
            tags = {"run": self._run, "name": found.name}
            for name, number in numbers(found).items():
                self._gauges[name].set(number, tags)
            for stage in STAGES:
                self._stage.set(float(found.stage.startswith(stage)), tags | {"stage": stage})

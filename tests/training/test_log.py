"""What the driver hears of training: every step once, also where a killed worker repeats some."""

import time
from collections.abc import Mapping

from mva_ray.errors import RunError
from mva_ray.training.log import Follower, TrainingLog, innermost


def test_steps_that_are_repeated_after_a_kill_count_once() -> None:
    """What was said first stays: the driver has shown it already."""
    log = TrainingLog()
    for step, loss in ((1, 0.7), (2, 0.6), (2, 9.9), (3, 0.5)):
        log.add("brief", {"step": step, "loss": loss})
    log.add("thorough", {"step": 1, "loss": 0.8})
    assert [(name, row["step"], row["loss"]) for name, row in log.since(0)] == [
        ("brief", 1, 0.7),
        ("brief", 2, 0.6),
        ("brief", 3, 0.5),
        ("thorough", 1, 0.8),
    ]
    assert log.since(3) == [("thorough", {"step": 1, "loss": 0.8})]
    assert log.since(4) == []


def test_a_job_runs_until_it_is_done_or_fails_and_its_first_failure_counts() -> None:
    """The workers of a failed job raise one after the other."""
    log = TrainingLog()
    for name in ("one", "two", "three"):
        log.start(name)
    log.done("one")
    log.done("never started")
    log.fail("two", "it diverged")
    log.fail("two", "another worker was stopped")
    assert log.running() == ["three"]
    assert log.failures() == {"two": "it diverged"}


def test_the_follower_says_every_row_once_and_the_last_ones_at_its_end() -> None:
    log = TrainingLog()
    seen: list[tuple[str, float]] = []

    def on_step(name: str, row: Mapping[str, float]) -> None:
        seen.append((name, row["step"]))

    with Follower(log.since, on_step):
        log.add("brief", {"step": 1})
        deadline = time.monotonic() + 20
        while not seen:
            assert time.monotonic() < deadline, "it says nothing while training goes on"
            time.sleep(0.01)
        for step in range(2, 50):
            log.add("brief", {"step": step})
    assert seen == [("brief", step) for step in range(1, 50)]


def test_the_follower_says_the_last_rows_also_where_training_fails() -> None:
    log = TrainingLog()
    seen: list[float] = []
    try:
        with Follower(log.since, lambda name, row: seen.append(row["step"])):
            log.add("brief", {"step": 1})
            raise RunError("it diverged")
    except RunError:
        pass
    assert seen == [1]


class WorkerGroupError(Exception):
    """As Ray Train's: the workers' errors by rank."""

    def __init__(self, worker_failures: dict[int, BaseException]) -> None:
        super().__init__("a worker group failed\nwith a traceback")
        self.worker_failures = worker_failures


class TaskError(Exception):
    """As Ray's: the cause is an attribute."""

    def __init__(self, cause: BaseException | None) -> None:
        super().__init__("ray::worker()\nit died")
        self.cause = cause


def test_the_cause_is_the_innermost_message() -> None:
    raised = RuntimeError("Traceback:\n  File ...\nValueError: no such module")
    wrapped = WorkerGroupError({1: TaskError(raised), 0: RuntimeError("stopped")})
    outer = RuntimeError("the controller failed")
    outer.__cause__ = wrapped
    for error in (raised, TaskError(raised), wrapped, outer):
        assert innermost(error) == "ValueError: no such module"


def test_a_cause_without_a_message_is_called_by_its_kind() -> None:
    assert innermost(WorkerGroupError({0: TaskError(KeyboardInterrupt())})) == "KeyboardInterrupt"
    assert innermost(TaskError(None)) == "it died"
    itself = TaskError(None)
    itself.cause = itself
    assert innermost(itself) == "it died"

"""What a run asks of its machines at once, against what there is and what may be started."""

from collections.abc import Iterator

from mva_ray.checks.subject import Finding, Purpose, Subject
from mva_ray.config import RunConfig
from mva_ray.placement.capacity import Bundle, Capacity, total
from mva_ray.placement.needs import evaluator_needs, reward_needs, training_needs, with_gpus
from mva_ray.placement.ray_cluster import on_cluster
from mva_ray.records import Spent
from mva_ray.run_dir.spending import HOUR, Prices, used


def resource_problems(subject: Subject) -> Iterator[Finding]:
    """What would wait for ever; on a cluster of which nobody knows how it grows, what would wait until it has.

    Raises:
        RunError: the cluster cannot be joined.
    """
    clustered = on_cluster()
    if clustered and subject.purpose is Purpose.DATA_CHECK:
        return
    capacity = subject.capacity
    config = with_gpus(subject.config, capacity)
    yield from endless_limits(config)
    for line in shortages(config, capacity, clustered):
        yield line if capacity.types is None else subject.problem((), line)


def shortages(config: RunConfig, capacity: Capacity, clustered: bool = False) -> list[str]:
    """One line for each resource (`CPU`, `GPU`) that the config asks for at once and that cannot be had."""
    lines = [line for name, needed in _one_by_one(config) if (line := _too_large(name, needed, capacity))]
    for setting, bundles in _together(config).items():
        for kind, amount in total(bundles).items():
            if amount > capacity.possible(kind):
                where = f"the cluster has {capacity.describe(kind)}" if clustered else _machine(capacity, kind)
                lines.append(f"{setting} need {amount:g} {kind}, {where}")
    return lines


def endless_limits(config: RunConfig) -> list[str]:
    """One line for each limit of the budget that nothing this config asks for counts towards."""
    asked = total([*training_needs(config), *evaluator_needs(config), *reward_needs(config, config.rewards)])
    an_hour = Spent(0, 1, HOUR * asked.get("GPU", 0), HOUR * asked.get("CPU", 0))
    prices = Prices.of(config.model_dump(include={"prices"}))
    return [
        f"budget.{limit} ends nothing: {'nothing reserves a GPU' if limit == 'gpu_hours' else 'all of it is free'} here"
        for limit in ("gpu_hours", "cost")
        if limit in config.budget.limits and not used(limit, an_hour, prices)
    ]


def _machine(capacity: Capacity, kind: str) -> str:
    return f"this machine has {capacity.there(kind):g}"


def _too_large(name: str, needed: Bundle, capacity: Capacity) -> str | None:
    """Of a process that each node alone is too small for, though all together are not."""
    enough = all(amount <= capacity.possible(kind) for kind, amount in needed.items())
    if not enough or capacity.fits(needed):
        return None
    asked = " and ".join(f"{amount:g} {kind}" for kind, amount in needed.items())
    return f"{name} asks for {asked} on one node, and no node has that"


def _one_by_one(config: RunConfig) -> Iterator[tuple[str, Bundle]]:
    if config.training_workers:
        yield "training.resources", training_needs(config)[0]
    yield "search.resources", evaluator_needs(config)[0]
    for name in config.rewards:
        yield f"the reward '{name}'", reward_needs(config, [name])[0]


def _together(config: RunConfig) -> dict[str, list[Bundle]]:
    """What runs at the same time, by the settings that ask for it."""
    concurrent = config.training.schedule == "concurrent"
    training = "training.schedule: concurrent, with a worker for each value," if concurrent else "training.num_workers"
    return {
        training: training_needs(config),
        "search.evaluators and the rewards' resources": [
            *evaluator_needs(config),
            *reward_needs(config, config.rewards),
        ],
    }

"""What a run asks of its machines at once, against what there is."""

from collections.abc import Iterator, Mapping

from mva_ray.checks.ray_cluster import local_resources, on_cluster
from mva_ray.checks.subject import Finding, Subject
from mva_ray.config import RunConfig
from mva_ray.config.search import TRIAL_CPU


def resource_problems(subject: Subject) -> Iterator[Finding]:
    """What would wait without a word on this machine; a cluster may grow, and there it waits."""
    if not on_cluster():
        for line in shortages(subject.config, local_resources()):
            yield subject.problem((), line)


def shortages(config: RunConfig, there: Mapping[str, float]) -> list[str]:
    """One line for each resource (`CPU`, `GPU`) that the config asks for at once and that is not there."""
    lines = []
    for setting, resources in needed_resources(config).items():
        for kind, amount in resources.items():
            if amount > there.get(kind, 0):
                lines.append(f"{setting} need {amount:g} {kind}, this machine has {there.get(kind, 0):g}")
    return lines


def needed_resources(config: RunConfig) -> dict[str, dict[str, float]]:
    """What runs at the same time, by the settings that ask for it."""
    search = config.search
    rewards = [reward.resources for reward in config.rewards.values()]
    concurrent = config.training.schedule == "concurrent"
    training = "training.schedule: concurrent, with a worker for each value," if concurrent else "training.num_workers"
    return {
        training: {"CPU": config.training_workers},
        "search.evaluators, the rewards' resources and the trials": {
            "CPU": round(
                search.evaluators * search.resources.num_cpus
                + sum(reward.num_cpus for reward in rewards)
                + search.trials * TRIAL_CPU,
                2,
            ),
            "GPU": search.evaluators * search.resources.num_gpus + sum(reward.num_gpus for reward in rewards),
        },
    }

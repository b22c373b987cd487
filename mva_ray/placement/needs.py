"""What the processes of a run ask for, and how many GPUs that is where the config leaves it open."""

from collections.abc import Iterable
from math import ceil

from mva_ray.config import RunConfig
from mva_ray.config.reward import Resources
from mva_ray.placement.capacity import Bundle, Capacity


def bundle(resources: Resources) -> Bundle:
    """What one process reserves; empty where it reserves nothing."""
    amounts = {"CPU": resources.num_cpus, "GPU": resources.num_gpus}
    return {kind: amount for kind, amount in amounts.items() if amount}


def training_needs(config: RunConfig) -> list[Bundle]:
    """A bundle for each training worker; they run at the same time."""
    return [bundle(config.training.resources)] * config.training_workers


def evaluator_needs(config: RunConfig) -> list[Bundle]:
    """A bundle for each evaluator."""
    return [bundle(config.search.resources)] * config.search.evaluators


def reward_needs(config: RunConfig, names: Iterable[str]) -> list[Bundle]:
    """A bundle for each reward of these names; they run at the same time as the evaluators."""
    return [bundle(config.rewards[name].resources) for name in names]


def with_gpus(config: RunConfig, capacity: Capacity) -> RunConfig:
    """The config in which `training.resources` and `search.resources` say how many GPUs they ask for.

    With `device: gpu` one each. With `auto` one for each training worker where there are, or may be started, as many;
    one for each evaluator, or an equal share of one where there are fewer. What was said stays; evaluators that ask
    a server need none, and rewards have only what they ask for.
    """
    there = capacity.possible("GPU")
    device, workers, evaluators = config.device, config.training_workers, config.search.evaluators
    training = 1.0 if device == "gpu" or (device == "auto" and 0 < workers <= there) else 0.0
    search = 1.0 if device == "gpu" or (device == "auto" and there) else 0.0
    if device == "auto" and 1 <= there < evaluators:
        search = int(10_000 / ceil(evaluators / int(there))) / 10_000
    changes = {
        "training": _asking(config.training.resources, training),
        "search": _asking(config.search.resources, 0.0 if config.engine.openai else search),
    }
    sections = {name: getattr(config, name).model_copy(update={"resources": asked}) for name, asked in changes.items()}
    return config.model_copy(update=sections)


def _asking(resources: Resources, gpus: float) -> Resources:
    if "num_gpus" in resources.model_fields_set:
        return resources
    return Resources(num_cpus=resources.num_cpus, num_gpus=gpus)

"""Models that a config names: brought to this machine."""

from collections.abc import Iterator

from mva_ray.adapters.fetch import local_directory
from mva_ray.checks.subject import Finding, Subject
from mva_ray.config.document import Location
from mva_ray.errors import MvaError


def find_models(subject: Subject) -> Iterator[Finding]:
    """Brings every model that can be had, and yields those that cannot."""
    for location, model in _models(subject).items():
        try:
            local_directory(model)
        except MvaError as error:
            yield subject.problem(location, str(error))


def _models(subject: Subject) -> dict[Location, str]:
    config = subject.config
    models: dict[Location, str] = {("base_model",): config.base_model}
    for index, value in enumerate(config.values):
        if value.reward.model:
            models["values", index, "reward", "model"] = value.reward.model
    for name, reward in config.extra_rewards.items():
        if reward.model:
            models["constraints", name, "reward", "model"] = reward.model
    return models

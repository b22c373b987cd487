"""Models that a config names: brought to this machine."""

from collections.abc import Iterator

from mva_ray.adapters.fetch import local_directory
from mva_ray.checks.rewards import rewards_of
from mva_ray.checks.subject import Finding, Subject
from mva_ray.config.document import Location
from mva_ray.errors import MvaError


def find_models(subject: Subject) -> Iterator[Finding]:
    """Brings every model that can be had, and yields those that cannot."""
    models: dict[Location, str] = {("base_model",): subject.config.base_model}
    models |= {(*place, "model"): reward.model for place, reward in rewards_of(subject.config).items() if reward.model}
    for location, model in models.items():
        try:
            local_directory(model)
        except MvaError as error:
            yield subject.problem(location, str(error))

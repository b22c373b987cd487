"""Models that a config names: brought to this machine."""

from pathlib import Path

from mva_ray.adapters.fetch import local_directory
from mva_ray.config import RunConfig
from mva_ray.errors import ConfigError, RunError


def find_models(config: RunConfig, config_path: Path) -> None:
    """Bring every model the config names to this machine before anything is computed.

    Raises:
        ConfigError: with all that cannot be had.
    """
    models = {"base_model": config.base_model}
    models |= {f"values[{i}].reward.model": v.reward.model for i, v in enumerate(config.values) if v.reward.model}
    models |= {f"constraints.{name}.reward.model": r.model for name, r in config.extra_rewards.items() if r.model}
    problems = []
    for setting, model in models.items():
        try:
            local_directory(model)
        except RunError as error:
            problems.append(f"{setting}: {error}")
    if problems:
        raise ConfigError(str(config_path), problems)

"""The configuration: one YAML file, checked whole before anything is computed."""

from mva_ray.config.run import Draft, RunConfig, load_config, read_config

__all__ = ["Draft", "RunConfig", "load_config", "read_config"]

"""Explorations that people start here: each goes on when this server has ended, and another one finds it again."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

import yaml

from mva_ray.cluster.launcher import Launcher, Processes, name_in
from mva_ray.errors import ConfigError
from mva_ray.run_dir.place import absolute, joined, name_of
from mva_ray.serve.errors import Refused

RECORDS = ".explorations"
Config = str | dict[str, Any]
"""A config as YAML text, or as the JSON of the same."""


@dataclass(frozen=True)
class Explorations:
    """Starts explorations of configs that come over the network. Whoever may do that may run code here: a config names
    Python functions.

    Args:
        folder: where the configs are kept, and where the paths in them begin.
        runs: a directory or a URL; a run is directly below it, by the name of its config.
    """

    folder: Path
    runs: str
    launcher: Launcher
    _starting: Lock = field(default_factory=Lock)

    def places(self) -> dict[str, bool]:
        """The place of each exploration -> whether it is at work."""
        below = f"{self.runs}/"
        return {
            place: busy
            for place, busy in self.launcher.runs().items()
            if place.startswith(below) and "/" not in place.removeprefix(below)
        }

    def place(self, name: str) -> str | None:
        """Where the exploration of this name is; None where there is none."""
        return next((place for place in self.places() if name_of(place) == name), None)

    def at_work(self, name: str) -> bool:
        return any(busy for place, busy in self.places().items() if name_of(place) == name)

    def check(self, config: Config) -> tuple[str, str]:
        """The name of a config, and its plan.

        Raises:
            ConfigError: every problem of the config.
        """
        with self._kept(config) as file:
            name = name_in(file)
            return name, self.launcher.check(file, joined(self.runs, name))

    def start(self, config: Config, served: Mapping[str, object]) -> tuple[str, str]:
        """Start the exploration of a config that has no problems; its name, and its plan.

        Args:
            served: the runs whose adapters this server holds: nothing may change these.

        Raises:
            ConfigError: every problem of the config.
            Refused: a run of this name is served, or is at work.
        """
        with self._starting, self._kept(config) as file:
            name = name_in(file)
            if name in served:
                raise Refused(f"'{name}' is served here: give the config another name", "config", 409)
            if self.at_work(name):
                raise Refused(f"'{name}' is at work: cancel it first, or give the config another name", "config", 409)
            plan = self.launcher.check(file, joined(self.runs, name))
            kept = file.rename(self.folder / f"explored-{name}.yaml")
            self.launcher.start(kept, joined(self.runs, name))
            return name, plan

    @contextmanager
    def _kept(self, config: Config) -> Iterator[Path]:
        """A file beside those that the config names, as long as it is looked at."""
        text = config if isinstance(config, str) else yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
        with tempfile.NamedTemporaryFile(dir=self.folder, prefix="explored-", suffix=".yaml", delete=False) as file:
            file.write(text.encode("utf-8", "surrogatepass"))
        try:
            yield Path(file.name)
        except ConfigError as error:
            raise ConfigError("config", [problem.replace(file.name, "config") for problem in error.problems]) from None
        finally:
            Path(file.name).unlink(missing_ok=True)


def explorations(folder: str, runs: str, cluster: str | None) -> Explorations:
    """
    Args:
        cluster: where the head of a Ray cluster answers, whose jobs the explorations are; None for this machine.

    Raises:
        ConfigError: no such folder.
        RunError: the cluster does not answer.
    """
    if not Path(folder).is_dir():
        raise ConfigError("--explore", [f"{folder} is no directory: give the one where paths in configs begin"])
    launcher: Launcher = Processes(Path(folder).absolute() / RECORDS)
    if cluster:
        from mva_ray.cluster.ray_jobs import Jobs  # without a cluster its library need not be there

        launcher = Jobs(cluster)
    return Explorations(Path(folder).absolute(), absolute(runs), launcher)

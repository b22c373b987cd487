"""What the checks look at: a config as far as it could be understood, and what it is wanted for."""

from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from pathlib import Path

from mva_ray.adapters.model_size import broken_weights
from mva_ray.config import Draft, RunConfig
from mva_ray.config.document import Location, Problem
from mva_ray.placement.capacity import Capacity
from mva_ray.placement.ray_cluster import capacity_there
from mva_ray.run_dir.place import absolute

Finding = Problem | str
"""A problem, for which the config is refused, or a line that its user should read."""


class Purpose(Enum):
    """Who asks; the dry run alone is offline."""

    EXPLORE = "explore"
    DRY_RUN = "explore --dry-run"
    COMPARE = "compare"
    DATA_CHECK = "data check"


@dataclass(frozen=True)
class Subject:
    """A config under examination.

    Args:
        draft: the config as far as it could be understood.
        purpose: what it is wanted for.
        given_run_dir: where the run will be, if that was said.
        base_directory: the base model's, where it is on this machine.
    """

    draft: Draft
    purpose: Purpose = Purpose.EXPLORE
    given_run_dir: Path | str | None = None
    base_directory: Path | None = None

    @property
    def config(self) -> RunConfig:
        """For checks that need one: they are left out where the file could not be understood."""
        assert self.draft.config is not None
        return self.draft.config

    @property
    def base(self) -> Path:
        """For checks that need the base model's directory: they are left out where it is not on this machine."""
        assert self.base_directory is not None
        return self.base_directory

    @property
    def run_dir(self) -> str:
        """Where the run will be, an absolute path or a URL."""
        own = self.config.own_comparison if self.purpose is Purpose.COMPARE else self.config.own_run
        return absolute(self.given_run_dir or own)

    @cached_property
    def broken_weights(self) -> list[str]:
        """What is wrong with weights of the base model that are there in part; read once."""
        return broken_weights(self.base)

    @cached_property
    def capacity(self) -> Capacity:
        """What there is and may be started; asked once, as it may have to join a cluster.

        Raises:
            RunError: the cluster cannot be joined.
        """
        return capacity_there()

    def problem(self, location: Location, message: str) -> Problem:
        """A problem with the line and the path of the setting that it is about, also where that has its default."""
        return self.draft.document.problem_of_setting(location, message)

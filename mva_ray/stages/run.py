"""What all stages of a run share: its config, its plan, its directory, and the Ray that it may need."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

from mva_ray.adapters.fetch import shared_model
from mva_ray.config import RunConfig
from mva_ray.config.constraints import Constraint
from mva_ray.config.values import Value
from mva_ray.errors import DamagedFile
from mva_ray.evaluation.reward import shared_reward
from mva_ray.evaluation.row_limit import FIRST
from mva_ray.plan.changes import changed_settings
from mva_ray.plan.keys import Plan
from mva_ray.run_dir.layout import RunDirectory
from mva_ray.run_dir.place import is_url
from mva_ray.stages.meter import Meter

T = TypeVar("T", Value, Constraint)


def _no_ray() -> None:
    raise RuntimeError("this run was given no Ray to compute with")


@dataclass(frozen=True)
class Run:
    """One run. Stages keep what its directory holds already, and call `start_ray` before they compute anything.

    Args:
        common: where it shares models and rewards with other runs; in its own directory if None.
    """

    config: RunConfig
    plan: Plan
    directory: RunDirectory
    start_ray: Callable[[], None] = field(default=_no_ray)
    common: RunDirectory | None = None

    def announce_changes(self) -> None:
        """Say what a changed config invalidates, and remember this one for the next time."""
        settings = json.loads(self.config.model_dump_json())
        before, stages = self.directory.plan.read_object(), self.plan.stages()
        if before is not None and before != {"stages": stages, "settings": settings}:
            if not all(isinstance(before.get(part), dict) for part in ("stages", "settings")):
                raise DamagedFile(self.directory.plan.place, "it has no stages and settings")
            changes = changed_settings(before["settings"], settings)
            if not changes and before["stages"] != stages:
                changes = ["a prompt file, a model or a reward"]
            for line in changes:
                print(f"changed since the last run: {line}")
            anew = [stage for stage, stage_key in stages.items() if before["stages"].get(stage) != stage_key]
            kept = [stage for stage in stages if stage not in anew]
            if changes:
                print(
                    f"  invalid, computed anew: {', '.join(anew) or 'nothing'}\n  kept: {', '.join(kept) or 'nothing'}"
                )
        self.directory.plan.write_json({"stages": stages, "settings": settings})

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the stage's wall time to the run's timings."""
        started = time.monotonic()
        yield
        self.add_time(stage, time.monotonic() - started)

    def add_time(self, stage: str, seconds: float) -> None:
        """Timings are seconds spent on each stage in this directory so far."""
        timings = self.directory.timings.read_object() or {}
        before = timings.get(stage, 0)
        if not isinstance(before, int | float):
            raise DamagedFile(self.directory.timings.place, f"{stage} is no number of seconds")
        timings[stage] = round(before + seconds, 1)
        self.directory.timings.write_json(timings)

    @cached_property
    def meter(self) -> Meter:
        """What the run has cost so far."""
        return Meter(self.directory.spent)

    @cached_property
    def shared(self) -> RunConfig:
        """The config as processes on any node read it: at a URL, models and rewards of this disk are there, too."""
        config, store = self.config, (self.common or self.directory).store
        if not is_url(self.directory.place):
            return config

        def with_reward(owner: T) -> T:
            reward = owner.reward
            return owner.model_copy(update={"reward": shared_reward(reward, store)}) if reward else owner

        return config.model_copy(
            update={
                "base_model": shared_model(config.base_model, store),
                "values": [with_reward(value) for value in config.values],
                "constraints": {name: with_reward(limit) for name, limit in config.constraints.items()},
            }
        )

    @property
    def rows(self) -> int:
        """How many rows an evaluator answers at once, or begins with where that is for the engine to find."""
        return self.config.generation.batch_size or FIRST

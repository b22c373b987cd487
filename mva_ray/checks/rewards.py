"""Rewards: functions are imported and tried on two texts, classifiers are looked at by their files."""

import math
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from pydantic import ValidationError

from mva_ray.adapters.fetch import known_directory
from mva_ray.adapters.model_size import model_config, weight_shapes
from mva_ray.checks.reward_trial import Trial
from mva_ray.checks.subject import Finding, Purpose, Subject
from mva_ray.config import Draft, RunConfig
from mva_ray.config.document import Location
from mva_ray.config.imports import OURS
from mva_ray.config.reward import RewardSettings
from mva_ray.errors import last_line
from mva_ray.evaluation.reward import reward_problems

HURRY_S = 5.0
"""How long a trial is waited for where the config is refused anyway."""

TELLING = (Purpose.DRY_RUN, Purpose.DATA_CHECK)
"""Who says how long rewards took."""


class Trials:
    """Every reward function of a config on trial, at once and while the rest is looked at; a context manager.

    Their modules are imported there and nowhere else until they are known to let go of it. Our own are known to work. A
    reward that asks for a GPU is imported only, since this machine may have none.
    """

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._trials: dict[Location, tuple[str, Trial]] = {}
        self._processes = ExitStack()

    def __enter__(self) -> Self:
        for location, reward in _written(self._subject.draft):
            if reward.function and not reward.function.startswith(OURS):
                trial = Trial(reward, scoring=not reward.resources.num_gpus)
                self._trials[location] = reward.source, self._processes.enter_context(trial)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._processes.__exit__(kind, error, trace)

    def findings(self, refused: bool) -> Iterator[Finding]:
        """What came of them, waiting where that matters.

        Args:
            refused: whether the config is refused anyway.
        """
        deadline = time.monotonic() + HURRY_S if refused else math.inf
        for location, (source, trial) in self._trials.items():
            verdict = trial.verdict(deadline)
            if verdict.problem:
                yield self._subject.draft.document.problem((*location, "function"), verdict.problem)
            elif len(verdict.seconds) == 2 and self._subject.purpose in TELLING:
                loading, scoring = verdict.seconds
                yield f"{source} scored two texts in {scoring:.2f} s, loaded in {loading:.1f} s"


def _written(draft: Draft) -> Iterator[tuple[Location, RewardSettings]]:
    """Every reward that is written as it has to be, also in a config that is not; of the others the draft says so."""
    values, constraints = draft.document.get("values"), draft.document.get("constraints")
    places: list[Location] = [("values", index) for index in range(len(values) if isinstance(values, list) else 0)]
    places += [("constraints", name) for name in (constraints if isinstance(constraints, dict) else ())]
    context = {"directory": draft.path.absolute().parent}
    for place in places:
        if written := draft.document.get(*place, "reward"):
            with suppress(ValidationError):
                yield (*place, "reward"), RewardSettings.model_validate(written, context=context)


def classifier_problems(subject: Subject) -> Iterator[Finding]:
    """Classifiers on this machine that are none, or that do not have what the config wants of them."""
    for location, reward in rewards_of(subject.config).items():
        directory = known_directory(reward.model) if reward.model else None
        for message in _misfits(reward, directory) if directory else ():
            yield subject.problem(location, message)


def rewards_of(config: RunConfig) -> dict[Location, RewardSettings]:
    """Every reward by where it is written."""
    written: dict[Location, RewardSettings] = {
        ("values", index, "reward"): value.reward for index, value in enumerate(config.values)
    }
    return written | {("constraints", name, "reward"): reward for name, reward in config.extra_rewards.items()}


def _misfits(reward: RewardSettings, directory: Path) -> Iterator[str]:
    try:
        architectures = model_config(directory).get("architectures")
        positions = [shape[0] for name, shape in weight_shapes(directory).items() if _is_learned_position(name)]
    except (OSError, ValueError, KeyError) as error:
        yield f"the files of {directory} cannot be read: {last_line(error)}"
        return
    if not str(architectures).endswith("ForSequenceClassification']"):
        yield f"{directory} is no sequence classifier: its architecture is {architectures}"
        return
    yield from reward_problems(reward)
    if positions and reward.max_length > min(positions):
        yield f"max_length is {reward.max_length}, and {directory} has {min(positions)} positions"


def _is_learned_position(name: str) -> bool:
    return name.endswith(("position_embeddings.weight", "wpe.weight", "embed_positions.weight"))

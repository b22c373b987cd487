"""Rewards: functions are tried on two texts, classifiers are looked at by their files."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from mva_ray.adapters.fetch import known_directory
from mva_ray.adapters.model_size import model_config, weight_shapes
from mva_ray.checks.reward_trial import PATIENCE_S, Trial, Verdict
from mva_ray.checks.subject import Finding, Purpose, Subject
from mva_ray.config import RunConfig
from mva_ray.config.document import Location
from mva_ray.config.reward import RewardSettings
from mva_ray.errors import last_line
from mva_ray.evaluation.reward import reward_problems

HURRY_S = 5.0
"""How long a trial is waited for where the config is refused anyway."""

OWN = "mva_ray.rewards:"

TELLING = (Purpose.DRY_RUN, Purpose.DATA_CHECK)
"""Who says how long rewards took."""


class Trials:
    """Every reward function of a config on trial, at once and while the rest is looked at; a context manager.

    Our own are known to work. A reward that asks for a GPU is not tried, since this machine may have none.
    """

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._trials: dict[Location, tuple[RewardSettings, Trial]] = {}
        self._processes = ExitStack()

    def __enter__(self) -> Self:
        for location, reward in rewards_of(self._subject.config).items():
            if reward.function and not reward.function.startswith(OWN) and not reward.resources.num_gpus:
                self._trials[location] = reward, self._processes.enter_context(Trial(reward))
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
        for location, (reward, trial) in self._trials.items():
            patience = reward.timeout if "timeout" in reward.model_fields_set else PATIENCE_S
            verdict = trial.verdict(HURRY_S if refused else patience)
            if verdict is None and not refused:
                verdict = Verdict(f"nothing came back within {patience:g} s (a longer `timeout` gives it more)")
            if verdict and verdict.problem:
                yield self._subject.problem(location, f"{reward.source}, tried on two texts: {verdict.problem}")
            elif verdict and self._subject.purpose in TELLING:
                yield f"{reward.source} scored two texts in {verdict.scoring:.2f} s, loaded in {verdict.loading:.1f} s"


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

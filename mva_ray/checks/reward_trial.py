"""A reward function imported and tried on two texts, in a process of its own: it may hang, or end the one it is in."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from textwrap import shorten
from typing import NamedTuple, Self

import mva_ray
from mva_ray.config.reward import RewardSettings
from mva_ray.errors import CandidateFailure, last_line
from mva_ray.evaluation.reward import Reward, load_reward, score

PATIENCE_S = 60.0
"""Loading included, where the config does not say how long a call may take."""

LEAST_S = 0.1
"""To read what is there."""

PROBES = (
    ("What is the capital of France?", "The capital of France is Paris."),
    ("How do I bake bread?", "Mix flour, water, salt and yeast, let it rise, and bake it."),
)


DOING = ("imported", "tried on two texts")
"""The phases of a trial."""

LONGEST = 400
"""Characters of an error's message."""


class Phase(NamedTuple):
    """What went wrong in one phase of a trial, None for nothing, and its seconds."""

    problem: str | None
    seconds: float


class Verdict(NamedTuple):
    """What is known to be wrong with a reward, None for nothing; the seconds of each phase that ended."""

    problem: str | None
    seconds: list[float]


class Trial:
    """A process that tries a reward, from the moment it is made.

    Args:
        scoring: whether to call it, too; else it is imported only.
    """

    def __init__(self, settings: RewardSettings, scoring: bool) -> None:
        self._source, self._phases = settings.source, 1 + scoring
        self._patience = settings.timeout if "timeout" in settings.model_fields_set else PATIENCE_S
        self._deadline = time.monotonic() + self._patience
        packages = str(Path(mva_ray.__file__).parents[1])
        path = os.pathsep.join(filter(None, [packages, os.environ.get("PYTHONPATH")]))
        arguments = [settings.source, str(settings.directory or "."), str(self._phases)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "mva_ray.checks.reward_trial", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Ends it, with all that it started."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        if self._process.stdout:
            self._process.stdout.close()
        self._process.wait()

    def verdict(self, deadline: float = math.inf) -> Verdict:
        """What has become of it: waits until its time is over, or a moment of `time.monotonic` that is sooner."""
        left = min(self._deadline, deadline) - time.monotonic()
        code = None
        try:
            output, _ = self._process.communicate(timeout=max(left, LEAST_S))
            code = self._process.returncode
        except subprocess.TimeoutExpired as expired:
            output = expired.output or b""
        phases = [Phase(*json.loads(line)) for line in output.splitlines()]
        problem = next((phase.problem for phase in phases if phase.problem), None)
        if problem is None and len(phases) < self._phases and (what := self._unfinished(code)):
            problem = f"{self._source}, {DOING[len(phases)]}: {what}"
        return Verdict(problem, [phase.seconds for phase in phases])

    def _unfinished(self, code: int | None) -> str | None:
        if code is not None:
            return f"it ended its process ({signal.Signals(-code).name if code < 0 else f'exit code {code}'})"
        if time.monotonic() < self._deadline:
            return None
        return f"nothing came back within {self._patience:g} s (a longer `timeout` gives it more)"


def _try(source: str, directory: str, phases: int) -> Iterator[Phase]:
    settings = RewardSettings.model_validate({"function": source}, context={"directory": Path(directory)})
    begin = time.monotonic()
    try:
        reward = load_reward(settings)
    except Exception as error:  # whatever a module raises
        yield Phase(_explained(error), 0.0)
        return
    loaded = time.monotonic()
    yield Phase(None, loaded - begin)
    if phases > 1:
        problem = _score(reward)
        yield Phase(problem and f"{source}, {DOING[1]}: {problem}", time.monotonic() - loaded)


def _score(reward: Reward) -> str | None:
    prompts, completions = map(list, zip(*PROBES, strict=True))
    try:
        score(_Bounded(reward), prompts, completions)
    except CandidateFailure as failure:
        hint = ""
        if failure.message.startswith(("ModuleNotFoundError", "ImportError")):
            hint = "; a module beside the config is found while its own is imported, so import it at the top"
        return f"{last_line(failure.message)}{hint}"
    return None


def _explained(error: Exception) -> str:
    """What `import_function` says of a module is said in full."""
    named = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
    return shorten(named, LONGEST, placeholder=" …")


class _Bounded:
    """A reward, of which no more scores are taken than are asked for, and one: a generator may have no end."""

    def __init__(self, reward: Reward) -> None:
        self._reward = reward
        self.version, self.truncated = reward.version, reward.truncated

    def __call__(self, prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
        returned = self._reward(prompts, completions)
        return list(islice(returned, len(completions) + 1)) if isinstance(returned, Iterator) else returned


def main() -> None:
    """Writes a line after each phase where its parent reads; what the reward prints goes nowhere.

    At last it ends its whole group, for what the module left running would keep the parent waiting.
    """
    source, directory, phases = sys.argv[1:]
    with os.fdopen(os.dup(1), "w") as answer:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        for phase in _try(source, directory, int(phases)):
            print(json.dumps(phase), file=answer, flush=True)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()

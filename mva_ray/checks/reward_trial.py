"""A reward function tried on two texts, in a process of its own: it may hang, or end the process that it is in."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple, Self

import mva_ray
from mva_ray.config.reward import RewardSettings
from mva_ray.errors import CandidateFailure, last_line
from mva_ray.evaluation.reward import Reward, load_reward, score

PATIENCE_S = 60.0
"""Loading included, where the config does not say how long a call may take."""

PROBES = (
    ("What is the capital of France?", "The capital of France is Paris."),
    ("How do I bake bread?", "Mix flour, water, salt and yeast, let it rise, and bake it."),
)


class Verdict(NamedTuple):
    """What is wrong with a reward, None for nothing; seconds until it was loaded, and of the call."""

    problem: str | None
    loading: float = 0.0
    scoring: float = 0.0


class Trial:
    """A process that tries a reward, from the moment it is made."""

    def __init__(self, settings: RewardSettings) -> None:
        packages = str(Path(mva_ray.__file__).parents[1])
        path = os.pathsep.join(filter(None, [packages, os.environ.get("PYTHONPATH")]))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "mva_ray.checks.reward_trial", settings.source, str(settings.directory or "")],
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
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()

    def verdict(self, patience: float) -> Verdict | None:
        """What became of it, None where nothing has after so many seconds."""
        try:
            output, _ = self._process.communicate(timeout=patience)
        except subprocess.TimeoutExpired:
            return None
        if not output:
            return Verdict(f"it ended the process that called it ({_how(self._process.returncode)})")
        return Verdict(*json.loads(output))


def _how(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def _try(source: str, directory: str) -> Verdict:
    begin = time.monotonic()
    prompts, completions = map(list, zip(*PROBES, strict=True))
    try:
        settings = RewardSettings.model_validate({"function": source}, context={"directory": Path(directory or ".")})
        reward = load_reward(settings)
        loaded = time.monotonic()
        score(_Bounded(reward), prompts, completions)
    except CandidateFailure as failure:
        return Verdict(_explained(failure.message))
    except Exception as error:  # whatever a module raises that is not the one that the config was read with
        return Verdict(_explained(f"{type(error).__name__}: {error}"))
    return Verdict(None, loaded - begin, time.monotonic() - loaded)


class _Bounded:
    """A reward, of which no more scores are taken than are asked for, and one: a generator may have no end."""

    def __init__(self, reward: Reward) -> None:
        self._reward = reward
        self.version, self.truncated = reward.version, reward.truncated

    def __call__(self, prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
        returned = self._reward(prompts, completions)
        return list(islice(returned, len(completions) + 1)) if isinstance(returned, Iterator) else returned


def _explained(message: str) -> str:
    hint = ""
    if message.startswith(("ModuleNotFoundError", "ImportError")):
        hint = "; a module beside the config is found while its own is imported, so import it at the top"
    return f"{last_line(message)}{hint}"


def main() -> None:
    """Writes the verdict where its parent reads; what the reward prints goes nowhere."""
    with os.fdopen(os.dup(1), "w") as answer:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        verdict = _try(*sys.argv[1:])
        answer.write(json.dumps(verdict))
        answer.flush()
    os._exit(0)


if __name__ == "__main__":
    main()

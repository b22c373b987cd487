"""Racing as a Tune scheduler: after each block of prompts a trial goes on, or is stopped for good."""

from collections.abc import Callable
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from mva_ray.records import Coefficients
from mva_ray.search.racing import Race

Stop = Callable[[Coefficients, str], None]


class RacingScheduler(FIFOScheduler):
    """Stops a trial whose candidate is dominated with high probability; without a race, nothing is ever stopped.

    Args:
        race: decides, by the rewards that a trial reports.
        stop: records the candidate as stopped, with the reason; called before Tune stops the trial.
    """

    def __init__(self, race: Race | None, stop: Stop) -> None:
        super().__init__()
        self._race = race
        self._stop = stop

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        coefficients, rewards = result["coefficients"], result["rewards"]
        opponent = self._race and self._race.dominating(coefficients, rewards)
        if opponent is None:
            return str(TrialScheduler.CONTINUE)
        self._stop(coefficients, f"dominated by {opponent} after {len(rewards)} prompts")
        return str(TrialScheduler.STOP)

    def choose_trial_to_run(self, tune_controller: Any) -> None:
        """None: Tune's own order. FIFOScheduler's choice would take a trial from its process while that starts."""

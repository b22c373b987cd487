"""What happens beside training at each step: metrics are said, a diverging run is stopped, checkpoints are kept."""

from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from mva_ray.errors import RunError

_SHOWN_PROMPTS, _SHOWN_CHARACTERS = 8, 60


def step_rows(history: Sequence[Mapping[str, float]], columns: Mapping[str, str]) -> list[dict[str, float]]:
    """The metrics of every step in a trainer's log history, which a checkpoint brings along, by a method's columns."""
    return [
        {"step": logs["step"]} | {name: logs[key] for name, key in columns.items() if key in logs}
        for logs in history
        if columns["loss"] in logs
    ]


class StepMetrics(TrainerCallback):
    """Says the metrics of each step, those before a checkpoint again, and ends training where one is not finite.

    Args:
        name: of the job.
        columns: of the job's method.
        on_step: called with each step's row.
        prompts: of the step, on all workers; called on all of them when training diverges.
    """

    def __init__(
        self,
        name: str,
        columns: Mapping[str, str],
        on_step: Callable[[Mapping[str, float]], None],
        prompts: Callable[[], list[str]],
    ) -> None:
        self._name = name
        self._columns = columns
        self._on_step = on_step
        self._prompts = prompts

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        for row in step_rows(state.log_history, self._columns):
            self._on_step(row)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        for row in step_rows([{**(logs or {}), "step": state.global_step}], self._columns):
            checked = row | {"grad_norm": (logs or {}).get("grad_norm", 0.0)}
            broken = [name for name, number in checked.items() if not isfinite(number)]
            if broken:
                raise RunError(
                    f"training of '{self._name}' diverged at step {state.global_step}: {', '.join(broken)} not finite; "
                    "lower training.learning_rate or training.penalty.weight, or look at the pairs of that step: "
                    + _shown(self._prompts())
                )
            self._on_step(row)


def _shown(prompts: Sequence[str]) -> str:
    shown = [repr(text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}...") for text in prompts]
    more = len(shown) - _SHOWN_PROMPTS
    return ", ".join(shown[:_SHOWN_PROMPTS]) + (f" and {more} more" if more > 0 else "")


class Checkpoints(TrainerCallback):
    """Hands out each checkpoint; there is none of the last step, after which the adapter itself is saved.

    Args:
        keep: called on every worker with the directory of its part of a checkpoint, which it may move or delete.
        notice: whether there shall be one after this step, besides those that are due.
    """

    def __init__(self, keep: Callable[[Path], None], notice: Callable[[], bool] | None = None) -> None:
        self._keep = keep
        self._notice = notice

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step >= state.max_steps:
            control.should_save = False
        elif self._notice and self._notice():
            control.should_save = True

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._keep(Path(args.output_dir) / f"checkpoint-{state.global_step}")

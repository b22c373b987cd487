"""The decorrelation penalty in the loss of any trainer of TRL."""

from typing import Any

from torch import Tensor, nn
from transformers import Trainer

from mva_ray.config.training import PenaltySettings
from mva_ray.training.live_penalty import LivePenalty
from mva_ray.training.penalty import Penalty, penalty_weight, trainable_factors


class Penalised(Trainer):
    """Adds `penalty_weight * penalty(A, B)` to a trainer's loss: `class Mine(Penalised, ThatTrainer)`.

    The penalty is logged unweighted as `hsic`, and as `staleness` how many steps old the adapters were that it was
    taken against, where those are trained at the same time.

    Args:
        penalty: None where there is nothing to keep away from.
        settings: its weight at each step.
    """

    def __init__(self, *args: Any, penalty: Penalty | None, settings: PenaltySettings, **kwargs: Any) -> None:
        self._penalty = penalty
        self._penalty_settings = settings
        super().__init__(*args, **kwargs)

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """None: checkpoints are for resuming alone."""

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Tensor:
        loss: Tensor = super().compute_loss(model, inputs, *args, **kwargs)
        step = self.state.global_step
        penalty = loss.new_zeros(())
        if self._penalty:
            penalty = self._penalty(trainable_factors(self.accelerator.unwrap_model(model)), step)
        self.note({"hsic": penalty.item()})
        if isinstance(self._penalty, LivePenalty):
            self.note({"staleness": self._penalty.staleness})
        return loss + penalty_weight(self._penalty_settings, step) * penalty

    def note(self, metrics: dict[str, float]) -> None:
        """Put metrics into the log of this step."""
        for name, number in metrics.items():
            self._metrics["train"][name].append(number)

    def batch_prompts(self) -> list[str]:
        """The prompts of the last step, of all workers; to be called on all of them."""
        raise NotImplementedError(f"{type(self).__name__} does not say which prompts a step was about")

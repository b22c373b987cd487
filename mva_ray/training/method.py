"""What a way to train an adapter is, and the one place that picks it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from mva_ray.config.training import Training
from mva_ray.training.job import TrainingJob

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from mva_ray.training.penalised import Penalised


class Method(Protocol):
    """A loss and its data; models, penalty, metrics, checkpoints and files are the same for all (`train.py`)."""

    columns: ClassVar[Mapping[str, str]]
    """Column of `training.jsonl` -> key of the trainer's log, in order; `loss`, without the penalty, is one."""

    def trainer(
        self,
        job: TrainingJob,
        model: "PreTrainedModel",
        tokenizer: "PreTrainedTokenizerBase",
        arguments: Mapping[str, Any],
        **options: Any,
    ) -> "Penalised":
        """A trainer of the job's data that is ready to train a fresh adapter on the model.

        Args:
            arguments: what it has to hand on to its own class of `TrainingArguments`.
            options: what it has to hand on to its `Penalised` trainer.

        Raises:
            RunError: the job's data or the model do not suit the method.
        """
        ...


def method_of(training: Training) -> Method:
    """The way that `training` asks for; there is one so far."""
    from mva_ray.training.dpo import Dpo

    return Dpo()

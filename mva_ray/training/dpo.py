"""DPO on one value's preference pairs: the `Method` of the paper. Runs with or without Ray."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random
from typing import Any, ClassVar

import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from datasets import Dataset, load_from_disk
from peft import set_peft_model_state_dict
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.trainer_pt_utils import LengthGroupedSampler
from trl import DPOConfig, DPOTrainer
from trl.trainer.utils import disable_dropout_in_model

from mva_ray.adapters.ends import read_ends
from mva_ray.adapters.fetch import local_directory
from mva_ray.adapters.hashes import WEIGHTS_FILE
from mva_ray.adapters.prompting import completion_ids, prompt_ids
from mva_ray.config.training import Training
from mva_ray.errors import RunError
from mva_ray.maths.dpo import dpo_loss
from mva_ray.run_dir.stores import directory_at
from mva_ray.training.job import TrainingJob
from mva_ray.training.packing import completion_logps, pack
from mva_ray.training.penalised import Penalised


class Dpo:
    """On packed pairs, against the model as it is when training starts."""

    columns: ClassVar[Mapping[str, str]] = {
        "loss": "dpo_loss",
        "hsic": "hsic",
        "reward_accuracy": "rewards/accuracies",
        "reward_margin": "rewards/margins",
        "staleness": "staleness",
    }

    def trainer(
        self,
        job: TrainingJob,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        arguments: Mapping[str, Any],
        **options: Any,
    ) -> "PairTrainer":
        """
        Raises:
            RunError: no pair fits into training.max_length, or the model attends to less than that.
        """
        _check_window(job, model)
        disable_dropout_in_model(model)
        rows = trained_on(tokenise(job, tokenizer), job.training, job.seed)
        return PairTrainer(
            model=model,
            args=DPOConfig(
                beta=job.training.beta,
                disable_dropout=False,
                remove_unused_columns=False,
                precompute_ref_log_probs=True,
                precompute_ref_batch_size=8,
                **arguments,
            ),
            train_dataset=_shared(Dataset.from_list(rows), f"{job.scratch}/pairs"),
            data_collator=pack,
            processing_class=tokenizer,
            start=job.start,
            **options,
        )


class PairTrainer(Penalised, DPOTrainer):
    """TRL's trainer over packed pairs; the DPO loss is logged as `dpo_loss`.

    Args:
        start: directory of the adapter whose weights it goes on from; None for a fresh one.
    """

    def __init__(self, *args: Any, start: str | None, **kwargs: Any) -> None:
        self._start = start
        super().__init__(*args, **kwargs)

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> LengthGroupedSampler:
        return _EpochOrder(
            lambda: 1000 * self.args.seed + int(self.state.epoch or 0),
            self.args.train_batch_size * self.args.world_size,
            lengths=list(self.train_dataset["length"]),
        )

    def training_step(self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        self._batch = inputs
        return super().training_step(model, inputs, *args, **kwargs)

    def batch_prompts(self) -> list[str]:
        """The prompts of the last step's pairs, of all workers; to be called on all of them."""
        rows = zip(self._batch["input_ids"], self._batch["prompt_lengths"], strict=True)
        prompts: list[str] = gather_object([self.processing_class.decode(ids[:length]) for ids, length in rows])
        return prompts

    def _prepare_dataset(self, dataset: Dataset, *args: Any, **kwargs: Any) -> Dataset:
        """The rows are token ids already: the template would end completions that were cut off."""
        return dataset

    def _precompute_ref_logps(self, *args: Any, **kwargs: Any) -> Dataset:
        """The earliest moment at which the adapter is there: what it goes on from is part of the reference.

        Nothing is dropped from that: training switches dropout on at each of its steps.
        """
        self.model.eval()
        if self._start:
            set_peft_model_state_dict(self.model, load_file(directory_at(self._start).fetch() / WEIGHTS_FILE))
        return super()._precompute_ref_logps(*args, **kwargs)

    def _logps(self, model: nn.Module, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        return completion_logps(model, self.accelerator.unwrap_model(model).get_output_embeddings(), inputs)

    def compute_ref_log_probs(self, model: nn.Module, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        with torch.no_grad(), self.accelerator.autocast():
            return self._logps(model, inputs)

    def _compute_loss(self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool) -> Any:
        chosen, rejected = self._logps(model, inputs)
        chosen_reward = self.beta * (chosen - inputs["ref_chosen_logps"])
        rejected_reward = self.beta * (rejected - inputs["ref_rejected_logps"])
        dpo = dpo_loss(
            chosen,
            rejected,
            inputs["ref_chosen_logps"],
            inputs["ref_rejected_logps"],
            self.beta,
            inputs["weight"],
            inputs["margin"],
        )
        self.note(
            {
                "dpo_loss": dpo.item(),
                "rewards/accuracies": (chosen_reward > rejected_reward).float().mean().item(),
                "rewards/margins": (chosen_reward - rejected_reward).mean().item(),
            }
        )
        return dpo


class _EpochOrder(LengthGroupedSampler):
    """Pairs of like length together, in an order of the epoch's own: a resumed epoch has that of its beginning."""

    def __init__(self, seed: Callable[[], int], batch_size: int, lengths: list[int]) -> None:
        super().__init__(batch_size, lengths=lengths)
        self._seed = seed

    def __iter__(self) -> Iterator[int]:
        self.generator = torch.Generator().manual_seed(self._seed())
        yield from super().__iter__()


def _check_window(job: TrainingJob, model: PreTrainedModel) -> None:
    """Packed pairs bring their own attention mask, which knows of no sliding window."""
    window = getattr(model.config.get_text_config(), "sliding_window", None)
    if window and job.training.max_length > window:
        raise RunError(
            f"training.max_length is {job.training.max_length}, beyond the model's attention window of {window} "
            "tokens: lower it"
        )


def tokenise(job: TrainingJob, tokenizer: PreTrainedTokenizerBase) -> list[dict[str, Any]]:
    """The rows that `pack` takes, of all pairs whose prompt leaves room under training.max_length.

    Completions that the model said are the tokens that it said; those that came as data end as its own answers do.

    Raises:
        RunError: where no pair does.
    """
    limit, end = job.training.max_length, read_ends(local_directory(job.base_model), tokenizer).turn

    def ids(completion: str, finished: bool, known: tuple[int, ...] | None) -> list[int]:
        return completion_ids(tokenizer, completion, end if finished else None) if known is None else [*known]

    rows: list[dict[str, Any]] = [
        {
            "prompt_ids": prompt_ids(tokenizer, pair.prompt, job.system_prompt),
            "chosen_ids": ids(pair.chosen, pair.chosen_finished, pair.chosen_ids),
            "rejected_ids": ids(pair.rejected, pair.rejected_finished, pair.rejected_ids),
            "weight": pair.weight,
            "margin": pair.margin,
        }
        for pair in job.pairs
    ]
    rows = [_cut(row, limit) for row in rows if len(row["prompt_ids"]) < limit]
    if not rows:
        raise RunError(f"no pair of '{job.name}' has a prompt under training.max_length = {limit} tokens")
    return rows


def _cut(row: dict[str, Any], limit: int) -> dict[str, Any]:
    """Completions end where prompt and completion together reach `limit` tokens."""
    room = limit - len(row["prompt_ids"])
    cut = row | {name: row[name][:room] for name in ("chosen_ids", "rejected_ids")}
    return cut | {"length": sum(len(cut[name]) for name in ("prompt_ids", "chosen_ids", "rejected_ids"))}


def trained_on(rows: Sequence[dict[str, Any]], training: Training, seed: int) -> list[dict[str, Any]]:
    """No more rows than the steps need, drawn evenly, the short ones first.

    The reference pass goes over all rows it is given, in their order. And an epoch that is not finished would see the
    longest ones alone, since each part of it begins with those.
    """
    needed = training.steps * max(training.pairs_per_step, training.num_workers)
    drawn = Random(seed).sample(rows, min(needed, len(rows)))
    return sorted(drawn, key=lambda row: row["length"])


def _shared(dataset: Dataset, path: str) -> Dataset:
    """The same data set for every worker, from one place on disk: the first one keeps reference log-probs there."""
    with PartialState().main_process_first():
        if PartialState().is_main_process:
            dataset.save_to_disk(path)
        return load_from_disk(path)

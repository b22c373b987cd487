"""DPO on one value's preference pairs, with the decorrelation penalty in the loss. Runs with or without Ray."""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from datasets import Dataset, load_from_disk
from peft import LoraConfig, set_peft_model_state_dict
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PrinterCallback
from transformers.trainer_pt_utils import LengthGroupedSampler
from trl import DPOConfig, DPOTrainer

from mva_ray.adapters.base_model import load_base_model, load_tokenizer
from mva_ray.adapters.hashes import WEIGHTS_FILE
from mva_ray.adapters.lora import load_factors
from mva_ray.adapters.prompting import completion_ids, prompt_ids
from mva_ray.config.training import PenaltySettings, Training
from mva_ray.errors import RunError
from mva_ray.maths.dpo import dpo_loss
from mva_ray.training.callbacks import Checkpoints, StepMetrics, step_rows
from mva_ray.training.job import METRICS_FILE, TrainingJob
from mva_ray.training.live_penalty import Exchange, LivePenalty
from mva_ray.training.packing import completion_logps, pack
from mva_ray.training.penalty import Penalty, make_penalty, penalty_weight, trainable_factors


class DecorrelatedDPOTrainer(DPOTrainer):
    """TRL's trainer over packed pairs, with `penalty_weight * penalty(A, B)` added to the loss.

    The DPO loss and the penalty, unweighted, are logged as `dpo_loss` and `hsic`. The reference is the model as it
    is when training starts.
    """

    def __init__(
        self, *args: Any, penalty: Penalty | None, settings: PenaltySettings, start: str | None = None, **kwargs: Any
    ) -> None:
        self._penalty = penalty
        self._penalty_settings = settings
        self._start = start
        super().__init__(*args, **kwargs)

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """None: checkpoints are for resuming alone."""

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
        """The earliest moment at which the adapter is there: what it goes on from is part of the reference."""
        if self._start:
            set_peft_model_state_dict(self.model, load_file(Path(self._start) / WEIGHTS_FILE))
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
        step = self.state.global_step
        penalty = dpo.new_zeros(())
        if self._penalty:
            penalty = self._penalty(trainable_factors(self.accelerator.unwrap_model(model)), step)
        for name, metric in {
            "dpo_loss": dpo,
            "hsic": penalty,
            "rewards/accuracies": (chosen_reward > rejected_reward).float().mean(),
            "rewards/margins": (chosen_reward - rejected_reward).mean(),
        }.items():
            self._metrics["train"][name].append(metric.item())
        if isinstance(self._penalty, LivePenalty):
            self._metrics["train"]["staleness"].append(self._penalty.staleness)
        return dpo + penalty_weight(self._penalty_settings, step) * penalty


class _EpochOrder(LengthGroupedSampler):
    """Pairs of like length together, in an order of the epoch's own: a resumed epoch has that of its beginning."""

    def __init__(self, seed: Callable[[], int], batch_size: int, lengths: list[int]) -> None:
        super().__init__(batch_size, lengths=lengths)
        self._seed = seed

    def __iter__(self) -> Iterator[int]:
        self.generator = torch.Generator().manual_seed(self._seed())
        yield from super().__iter__()


def train_adapter(
    job: TrainingJob,
    on_step: Callable[[Mapping[str, float]], None],
    keep: Callable[[Path], None] | None = None,
    resume_from: Path | None = None,
    exchange: Exchange | None = None,
) -> None:
    """Train one value adapter and save it as a plain PEFT directory with its metrics beside it.

    Args:
        job: what to train.
        on_step: called after each optimiser step with the step's metrics; first with those before the checkpoint.
        keep: called on every worker, every `training.checkpoint_steps` steps, with its part of a checkpoint.
        resume_from: a directory with all parts of a checkpoint; the result is that of a run without interruption.
        exchange: gives the adapters that are trained at the same time and are penalised against too.

    Raises:
        RunError: where the loss or its gradient is not finite, or the model attends to less than training.max_length.
    """
    tokenizer = load_tokenizer(job.base_model)
    model = load_base_model(job.base_model)
    _check_window(job, model)
    trainer = DecorrelatedDPOTrainer(
        model=model,
        args=_arguments(job, with_checkpoints=keep is not None),
        train_dataset=_shared(Dataset.from_list(tokenise(job, tokenizer)), f"{_scratch(job)}/pairs"),
        data_collator=partial(pack, pad_token_id=tokenizer.pad_token_id),
        processing_class=tokenizer,
        peft_config=_lora_config(job.training),
        penalty=_penalty(job, exchange),
        settings=job.training.penalty,
        start=job.start,
    )
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(StepMetrics(job.name, on_step, trainer.batch_prompts))
    if keep:
        trainer.add_callback(Checkpoints(keep))
    trainer.train(resume_from_checkpoint=str(resume_from) if resume_from else None)
    if trainer.is_world_process_zero():
        trainer.accelerator.unwrap_model(trainer.model).save_pretrained(job.output, safe_serialization=True)
        lines = "".join(json.dumps(row) + "\n" for row in step_rows(trainer.state.log_history))
        (Path(job.output) / METRICS_FILE).write_text(lines)
        shutil.rmtree(_scratch(job))


def _penalty(job: TrainingJob, exchange: Exchange | None) -> Penalty | None:
    settings, frozen = job.training.penalty, [load_factors(Path(path)) for path in job.earlier]
    if exchange and settings.kind != "none":
        return LivePenalty(lambda others: make_penalty(settings, [*frozen, *others], job.seed), exchange)
    return make_penalty(settings, frozen, job.seed)


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

    Raises:
        RunError: where no pair does.
    """
    limit = job.training.max_length
    rows: list[dict[str, Any]] = [
        {
            "prompt_ids": prompt_ids(tokenizer, pair.prompt, job.system_prompt),
            "chosen_ids": completion_ids(tokenizer, pair.chosen, pair.chosen_finished),
            "rejected_ids": completion_ids(tokenizer, pair.rejected, pair.rejected_finished),
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


def _shared(dataset: Dataset, path: str) -> Dataset:
    """The same data set for every worker, from one place on disk: the first one keeps reference log-probs there."""
    with PartialState().main_process_first():
        if PartialState().is_main_process:
            dataset.save_to_disk(path)
        return load_from_disk(path)


def _scratch(job: TrainingJob) -> str:
    return f"{job.output}/trainer"


def _lora_config(training: Training) -> LoraConfig:
    lora = training.lora
    return LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=list(lora.target_modules),
        task_type="CAUSAL_LM",
    )


def _arguments(job: TrainingJob, with_checkpoints: bool) -> DPOConfig:
    training = job.training
    on_gpu = torch.cuda.is_available()
    return DPOConfig(
        output_dir=f"{_scratch(job)}/worker-{PartialState().process_index}",
        max_steps=training.steps,
        per_device_train_batch_size=max(1, training.pairs_per_step // training.num_workers),
        learning_rate=training.learning_rate,
        beta=training.beta,
        remove_unused_columns=False,
        precompute_ref_log_probs=True,
        precompute_ref_batch_size=8,
        seed=job.seed,
        logging_steps=1,
        save_strategy="steps" if with_checkpoints else "no",
        save_steps=training.checkpoint_steps,
        report_to=[],
        disable_tqdm=True,
        use_cpu=not on_gpu,
        bf16=on_gpu and torch.cuda.is_bf16_supported(),
        gradient_checkpointing=on_gpu,
        dataloader_pin_memory=on_gpu,
        ddp_find_unused_parameters=False,
    )

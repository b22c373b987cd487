"""DPO on one value's preference pairs, with the decorrelation penalty in the loss. Runs with or without Ray."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from datasets import Dataset, load_from_disk
from peft import LoraConfig
from torch import nn
from transformers import PreTrainedTokenizerBase, PrinterCallback, TrainerCallback
from trl import DPOConfig, DPOTrainer

from mva_ray.adapters.base_model import load_base_model, load_tokenizer
from mva_ray.adapters.lora import load_factors
from mva_ray.adapters.prompting import completion_ids, prompt_ids
from mva_ray.config import Penalty as PenaltySettings
from mva_ray.config import Training
from mva_ray.errors import RunError
from mva_ray.training.job import METRICS_FILE, TrainingJob
from mva_ray.training.penalty import Penalty, make_penalty, penalty_weight, trainable_factors


class DecorrelatedDPOTrainer(DPOTrainer):
    """TRL's DPO with `penalty_weight * penalty(A, B)` added to the loss; the penalty is logged unweighted as `hsic`."""

    def __init__(self, *args: Any, penalty: Penalty | None, settings: PenaltySettings, **kwargs: Any) -> None:
        self._penalty = penalty
        self._penalty_settings = settings
        super().__init__(*args, **kwargs)

    def _prepare_dataset(self, dataset: Dataset, *args: Any, **kwargs: Any) -> Dataset:
        """The rows are token ids already: the template would end completions that were cut off."""
        return dataset

    def _compute_loss(self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool) -> Any:
        loss = super()._compute_loss(model, inputs, return_outputs)
        dpo, *outputs = loss if return_outputs else (loss,)
        step = self.state.global_step
        penalty = dpo.new_zeros(())
        if self._penalty:
            penalty = self._penalty(trainable_factors(self.accelerator.unwrap_model(model)), step)
        metrics = self._metrics["train" if self.model.training else "eval"]
        metrics["dpo_loss"].append(dpo.item())
        metrics["hsic"].append(penalty.item())
        total = dpo + penalty_weight(self._penalty_settings, step) * penalty
        return (total, *outputs) if return_outputs else total


def train_adapter(job: TrainingJob, on_step: Callable[[Mapping[str, float]], None]) -> None:
    """Train one value adapter and save it as a plain PEFT directory with its metrics beside it.

    Args:
        job: what to train.
        on_step: called after each optimiser step with the step's metrics.

    Raises:
        RunError: where the loss is not finite.
    """
    tokenizer = load_tokenizer(job.base_model)
    trainer = DecorrelatedDPOTrainer(
        model=load_base_model(job.base_model),
        args=_arguments(job),
        train_dataset=_tokenise(job, tokenizer),
        processing_class=tokenizer,
        peft_config=_lora_config(job.training),
        penalty=make_penalty(job.training.penalty, [load_factors(Path(path)) for path in job.earlier], job.seed),
        settings=job.training.penalty,
    )
    trainer.remove_callback(PrinterCallback)
    metrics = _StepMetrics(job.name, on_step)
    trainer.add_callback(metrics)
    trainer.train()
    if trainer.is_world_process_zero():
        trainer.accelerator.unwrap_model(trainer.model).save_pretrained(job.output, safe_serialization=True)
        lines = "".join(json.dumps(row) + "\n" for row in metrics.rows)
        (Path(job.output) / METRICS_FILE).write_text(lines)
        shutil.rmtree(_scratch(job))


class _StepMetrics(TrainerCallback):
    def __init__(self, name: str, on_step: Callable[[Mapping[str, float]], None]) -> None:
        self.rows: list[dict[str, float]] = []
        self._name = name
        self._on_step = on_step

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        if not logs or "dpo_loss" not in logs:
            return
        row = {
            "step": state.global_step,
            "loss": logs["dpo_loss"],
            "hsic": logs["hsic"],
            "reward_accuracy": logs["rewards/accuracies"],
            "reward_margin": logs["rewards/margins"],
        }
        broken = [name for name, number in row.items() if not torch.tensor(number).isfinite()]
        if broken:
            raise RunError(
                f"training of '{self._name}' diverged at step {state.global_step}: {', '.join(broken)} not finite; "
                "lower training.learning_rate or training.penalty.weight"
            )
        self.rows.append(row)
        self._on_step(row)


def _tokenise(job: TrainingJob, tokenizer: PreTrainedTokenizerBase) -> Dataset:
    limit = job.training.max_length
    rows = [
        {
            "prompt_ids": prompt_ids(tokenizer, pair.prompt, job.system_prompt),
            "chosen_ids": completion_ids(tokenizer, pair.chosen, pair.chosen_finished),
            "rejected_ids": completion_ids(tokenizer, pair.rejected, pair.rejected_finished),
        }
        for pair in job.pairs
    ]
    rows = [row for row in rows if len(row["prompt_ids"]) < limit]
    if not rows:
        raise RunError(f"no pair of '{job.name}' has a prompt under training.max_length = {limit} tokens")
    return _shared(Dataset.from_list(rows), f"{_scratch(job)}/pairs")


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


def _arguments(job: TrainingJob) -> DPOConfig:
    training = job.training
    on_gpu = torch.cuda.is_available()
    return DPOConfig(
        output_dir=_scratch(job),
        max_steps=training.steps,
        per_device_train_batch_size=max(1, training.pairs_per_step // training.num_workers),
        learning_rate=training.learning_rate,
        beta=training.beta,
        max_length=training.max_length,
        precompute_ref_log_probs=True,
        precompute_ref_batch_size=8,
        seed=job.seed,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        use_cpu=not on_gpu,
        bf16=on_gpu and torch.cuda.is_bf16_supported(),
        gradient_checkpointing=on_gpu,
        dataloader_pin_memory=on_gpu,
        ddp_find_unused_parameters=False,
    )

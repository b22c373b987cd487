"""One adapter trained, whatever the method: its model, penalty, metrics, checkpoints and files. With or without Ray."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from accelerate import PartialState
from peft import LoraConfig
from transformers import PrinterCallback

from mva_ray.adapters.base_model import (
    checkpoints_activations,
    load_base_model,
    load_tokenizer,
    trains_in_bfloat16,
)
from mva_ray.adapters.lora import load_factors
from mva_ray.adapters.memory import BFLOAT16
from mva_ray.config.training import Training
from mva_ray.run_dir.stores import directory_at
from mva_ray.training.callbacks import Checkpoints, StepMetrics, step_rows
from mva_ray.training.job import METRICS_FILE, TrainingJob
from mva_ray.training.live_penalty import Exchange, LivePenalty
from mva_ray.training.method import method_of
from mva_ray.training.penalty import Penalty, make_penalty


def train_adapter(
    job: TrainingJob,
    on_step: Callable[[Mapping[str, float]], None],
    keep: Callable[[Path], None] | None = None,
    resume_from: Path | None = None,
    exchange: Exchange | None = None,
    gpus: float = 0,
    notice: Callable[[], bool] | None = None,
) -> None:
    """Train one value adapter and save it as a plain PEFT directory with its metrics beside it.

    Args:
        job: what to train.
        on_step: called after each optimiser step with the step's metrics; first with those before the checkpoint.
        keep: called on every worker, every `training.checkpoint_steps` steps, with its part of a checkpoint.
        resume_from: a directory with all parts of a checkpoint; the result is that of a run without interruption.
        exchange: gives the adapters that are trained at the same time and are penalised against too.
        gpus: the share of a GPU that this process has; without one it trains on the CPU.
        notice: asked after every step, on every worker, whether a checkpoint is wanted now.

    Raises:
        RunError: where the loss or its gradient is not finite, or job and model do not suit the method.
    """
    method = method_of(job.training)
    arguments = _arguments(job, keep is not None, gpus)
    trainer = method.trainer(
        job,
        load_base_model(job.base_model, gpus),
        load_tokenizer(job.base_model),
        arguments,
        peft_config=_lora_config(job.training),
        penalty=_penalty(job, exchange),
        settings=job.training.penalty,
    )
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(StepMetrics(job.name, method.columns, on_step, trainer.batch_prompts))
    if keep:
        trainer.add_callback(Checkpoints(keep, notice))
    trainer.train(resume_from_checkpoint=str(resume_from) if resume_from else None)
    if trainer.is_world_process_zero():
        trainer.accelerator.unwrap_model(trainer.model).save_pretrained(job.output, safe_serialization=True)
        lines = "".join(json.dumps(row) + "\n" for row in step_rows(trainer.state.log_history, method.columns))
        (Path(job.output) / METRICS_FILE).write_text(lines)
        shutil.rmtree(job.scratch)


def _penalty(job: TrainingJob, exchange: Exchange | None) -> Penalty | None:
    settings, frozen = job.training.penalty, [load_factors(directory_at(place).fetch()) for place in job.earlier]
    if exchange and settings.kind != "none":
        return LivePenalty(lambda others: make_penalty(settings, [*frozen, *others], job.seed), exchange)
    return make_penalty(settings, frozen, job.seed)


def _lora_config(training: Training) -> LoraConfig:
    lora = training.lora
    return LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=list(lora.target_modules),
        task_type="CAUSAL_LM",
    )


def _arguments(job: TrainingJob, with_checkpoints: bool, gpus: float) -> dict[str, Any]:
    """Of `TrainingArguments`, whatever the method; asked for before the model takes its memory."""
    training, on_gpu = job.training, gpus > 0
    return {
        "output_dir": f"{job.scratch}/worker-{PartialState().process_index}",
        "max_steps": training.steps,
        "per_device_train_batch_size": training.pairs_at_once,
        "learning_rate": training.learning_rate,
        "seed": job.seed,
        "logging_steps": 1,
        "save_strategy": "steps" if with_checkpoints else "no",
        "save_steps": training.checkpoint_steps,
        "report_to": [],
        "disable_tqdm": True,
        "use_cpu": not on_gpu,
        "bf16": trains_in_bfloat16(on_gpu),
        "gradient_checkpointing": on_gpu and _checkpoints_activations(job, gpus),
        "dataloader_pin_memory": on_gpu,
        "ddp_find_unused_parameters": False,
    }


def _checkpoints_activations(job: TrainingJob, gpus: float) -> bool:
    """Of the longest pairs that there may be: a prompt with two answers, each of which may fill `max_length`."""
    tokens = job.training.pairs_at_once * 2 * job.training.max_length
    return checkpoints_activations(job.base_model, job.training.lora, tokens, BFLOAT16, len(job.earlier), gpus)

"""Bradley-Terry training of a sequence classifier on a base model (TRL's RewardTrainer), with LoRA that is merged."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray
from peft import LoraConfig
from tqdm.auto import trange
from transformers import AutoModelForSequenceClassification, PreTrainedModel, PreTrainedTokenizerBase, set_seed
from transformers.trainer_pt_utils import LengthGroupedSampler
from trl import RewardConfig, RewardTrainer
from trl.trainer.reward_trainer import DataCollatorForPreference, suppress_seqcls_warning

from mva_ray.adapters.base_model import (
    allow_bfloat16_products,
    checkpoints_activations,
    load_tokenizer,
    loading,
    native_autocast,
    trains_in_bfloat16,
)
from mva_ray.adapters.memory import FLOAT32
from mva_ray.adapters.model_size import model_size
from mva_ray.config.training import Lora
from mva_ray.config.values import PairSource
from mva_ray.data.source import read_pairs
from mva_ray.errors import ConfigError, RunError
from mva_ray.evaluation.reward import reward_inputs
from mva_ray.records import PreferencePair
from mva_ray.reward_model.judged import Judged, calibrating_scale, cross_calibrated, judge
from mva_ray.run_dir.files import whole_directory

HEAD = "score"
FEWEST = 20
"""Held-out pairs: fewer say nothing about an accuracy."""


@dataclass(frozen=True)
class Recipe:
    """How a reward model is trained.

    Args:
        base_model: hub id, directory or `.gguf` file of a causal LM.
        held_out: share of the pairs that are kept to judge it by; pairs of one prompt stay together.
        max_length: tokens of prompt and answer; what is longer is cut at its beginning.
    """

    base_model: str
    held_out: float = 0.2
    epochs: float = 1.0
    learning_rate: float = 1e-4
    pairs_per_step: int = 8
    max_length: int = 512
    rank: int = 16
    seed: int = 0


@dataclass(frozen=True)
class Trained:
    """What came of it: the pairs that were trained on, the seconds that took, and the judgement."""

    pairs: int
    seconds: float
    scale: float
    judged: Judged


def train_reward(source: PairSource, recipe: Recipe, out: Path) -> Trained:
    """Train a reward model and write it to `out` as transformers and `reward: {model: ...}` load it, all or nothing.

    Its only logit is the reward, higher is better, scaled so that the sigmoid of a difference is the probability that
    people choose so. The scale is of all held-out pairs; each half of them is judged at the scale of the other.

    Raises:
        ConfigError: the pairs cannot be read, are too few, or `out` is not empty.
        RunError: the base model cannot be loaded, or has no sequence classifier.
    """
    if out.exists() and any(out.iterdir()):
        raise ConfigError("--out", [f"{out} is not empty"])
    known, unseen = split_by_prompt(read_pairs(source), recipe.held_out)
    if not known or len(unseen) < 2 * FEWEST:
        counts = f"{len(known)} to train on and {len(unseen)} held out"
        raise ConfigError(
            source.name, [f"has {counts} (--held-out {recipe.held_out:g}); expected {2 * FEWEST} held out"]
        )
    tokenizer = load_tokenizer(recipe.base_model)
    rows, unseen_rows = tokenise(tokenizer, known, recipe.max_length), tokenise(tokenizer, unseen, recipe.max_length)
    started = time.perf_counter()
    model = fitted(tokenizer, rows, recipe)
    seconds = time.perf_counter() - started
    margins = margins_of(model, unseen_rows, tokenizer.pad_token_id, recipe.pairs_per_step)
    scale = calibrating_scale(margins)
    with torch.no_grad():
        getattr(model, HEAD).weight.mul_(scale)
    trained = Trained(len(known), seconds, scale, judge(cross_calibrated(margins), lengths_of(unseen_rows)))
    with whole_directory(out) as scratch:
        model.save_pretrained(scratch, safe_serialization=True)
        tokenizer.save_pretrained(scratch)
        facts = {"pairs_from": source.name, **asdict(recipe), **asdict(trained)}
        (scratch / "reward.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    return trained


def split_by_prompt(
    pairs: Sequence[PreferencePair], held_out: float
) -> tuple[list[PreferencePair], list[PreferencePair]]:
    """Pairs to train on and pairs held out: a prompt is on one side, the same one whatever other pairs there are."""
    known: list[PreferencePair] = []
    unseen: list[PreferencePair] = []
    for pair in pairs:
        digest = sha256(json.dumps(pair.prompt).encode()).digest()
        (unseen if int.from_bytes(digest[:8]) < held_out * 2**64 else known).append(pair)
    return known, unseen


def tokenise(
    tokenizer: PreTrainedTokenizerBase, pairs: Sequence[PreferencePair], max_length: int
) -> list[dict[str, list[int]]]:
    """`chosen_ids` and `rejected_ids`, as the reward that reads the model will have them."""
    tokenizer.padding_side, tokenizer.truncation_side = "right", "left"
    prompts = [pair.prompt for pair in pairs]
    chats = tokenizer.chat_template is not None
    chosen, rejected = (
        reward_inputs(tokenizer, prompts, answers, chats, truncation=True, max_length=max_length)["input_ids"]
        for answers in ([pair.chosen for pair in pairs], [pair.rejected for pair in pairs])
    )
    return [{"chosen_ids": [*one], "rejected_ids": [*other]} for one, other in zip(chosen, rejected, strict=True)]


@torch.inference_mode()
def margins_of(
    model: PreTrainedModel, rows: Sequence[dict[str, list[int]]], pad: int, batch_size: int
) -> NDArray[np.float64]:
    """[pairs] reward of the chosen answer minus that of the rejected one, as a config's reward computes it."""
    model.eval()
    collate, margins = DataCollatorForPreference(pad_token_id=pad), np.zeros(len(rows))
    order = sorted(range(len(rows)), key=lambda place: _longest(rows[place]))
    for start in trange(0, len(order), batch_size, desc="judging", unit_scale=batch_size, unit="pair"):
        places = order[start : start + batch_size]
        batch = {name: part.to(model.device) for name, part in collate([rows[place] for place in places]).items()}
        with native_autocast(model.device):
            logits = model(**batch).logits[:, 0]
        chosen, rejected = logits.double().cpu().chunk(2)
        margins[places] = (chosen - rejected).numpy()
    return margins


def lengths_of(rows: Sequence[Mapping[str, Sequence[int]]]) -> NDArray[np.int64]:
    """[pairs, 2] tokens of the chosen and the rejected answer, with their prompt."""
    return np.array([[len(row["chosen_ids"]), len(row["rejected_ids"])] for row in rows])


def _longest(row: Mapping[str, Sequence[int]]) -> int:
    """Tokens of the longer answer with its prompt, which a batch is padded to."""
    return max(map(len, row.values()))


def _classifier(recipe: Recipe, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """The base model with a head that is drawn from the seed."""
    set_seed(recipe.seed)
    with loading(recipe.base_model) as directory, suppress_seqcls_warning():
        model: PreTrainedModel = AutoModelForSequenceClassification.from_pretrained(
            directory, num_labels=1, id2label={0: "reward"}, dtype=torch.float32, use_safetensors=True
        )
    if not isinstance(getattr(model, HEAD, None), torch.nn.Linear):
        raise RunError(f"{recipe.base_model}: {type(model).__name__} has no linear head '{HEAD}': take a causal LM")
    model.config.pad_token_id = tokenizer.pad_token_id
    return model


class _Trainer(RewardTrainer):
    """Pairs of like length share a step, so that little is padded where it is one batch."""

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> LengthGroupedSampler:
        longest = list(map(_longest, self.train_dataset))
        generator = torch.Generator().manual_seed(self.args.seed)
        step = self.args.train_batch_size * self.args.gradient_accumulation_steps
        return LengthGroupedSampler(step, lengths=longest, generator=generator)


def fitted(tokenizer: PreTrainedTokenizerBase, rows: Sequence[dict[str, Any]], recipe: Recipe) -> PreTrainedModel:
    """A classifier that was trained on these rows, not scaled; on a GPU where there is one.

    Raises:
        RunError: the base model cannot be loaded, or has no sequence classifier.
    """
    on_gpu = torch.cuda.is_available()
    allow_bfloat16_products()
    model = _classifier(recipe, tokenizer)
    lora = LoraConfig(
        r=recipe.rank,
        lora_alpha=2 * recipe.rank,
        target_modules="all-linear",
        modules_to_save=[HEAD],
        task_type="SEQ_CLS",
    )
    at_once = recipe.pairs_per_step if on_gpu else 1  # a CPU gains nothing by more, and they are gigabytes
    with TemporaryDirectory() as scratch:
        trainer = _Trainer(
            model=model,
            args=RewardConfig(
                output_dir=scratch,
                num_train_epochs=recipe.epochs,
                learning_rate=recipe.learning_rate,
                per_device_train_batch_size=at_once,
                gradient_accumulation_steps=recipe.pairs_per_step // at_once,
                center_rewards_coefficient=0.01,
                max_length=None,
                seed=recipe.seed,
                save_strategy="no",
                report_to=[],
                use_cpu=not on_gpu,
                bf16=trains_in_bfloat16(on_gpu),
                gradient_checkpointing=on_gpu and _checkpoints_activations(recipe),
                dataloader_pin_memory=on_gpu,
            ),
            train_dataset=Dataset.from_list(list(rows)),
            processing_class=tokenizer,
            peft_config=lora,
        )
        trainer.train()
    merged: PreTrainedModel = trainer.accelerator.unwrap_model(trainer.model).merge_and_unload()
    return merged


def _checkpoints_activations(recipe: Recipe) -> bool:
    """Counted as for DPO with a base model in float32: there are no logits, so that is more than it takes."""
    with loading(recipe.base_model) as directory:
        names = {name.rpartition(".")[2] for name in model_size(directory).linear}
    lora = Lora(r=recipe.rank, target_modules=sorted(names))
    return checkpoints_activations(recipe.base_model, lora, recipe.pairs_per_step * 2 * recipe.max_length, FLOAT32)

"""Rewards: a Python function with TRL's signature, or a Hugging Face sequence classifier."""

import hashlib
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from mva_ray.adapters.fetch import local_directory
from mva_ray.adapters.hashes import model_hash
from mva_ray.config.imports import import_function
from mva_ray.config.reward import RewardSettings
from mva_ray.errors import CandidateFailure


class Reward(Protocol):
    """Scores completions, higher is better; `version` changes whenever scores may, `truncated` counts cut inputs."""

    version: str
    truncated: int

    def __call__(self, prompts: Sequence[str], completions: Sequence[str]) -> list[float]: ...


def load_reward(settings: RewardSettings) -> Reward:
    """Load what the config names; a classifier is read from disk here, so call this where it will run."""
    if settings.function is not None:
        return FunctionReward(settings)
    return ClassifierReward(settings)


def reward_version(settings: RewardSettings) -> str:
    """The version a loaded reward would have, without loading a classifier's weights."""
    if settings.function is not None:
        return FunctionReward(settings).version
    return _classifier_version(settings)


def score(reward: Reward, prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
    """One finite number a completion.

    Raises:
        CandidateFailure: `reward_raised`, `reward_length` or `reward_not_finite`, with the cause.
    """
    try:
        scores = list(reward(prompts, completions))
    except Exception as error:
        cause = f"{type(error).__name__}: {error}".splitlines()[0]
        raise CandidateFailure("reward_raised", cause) from error
    if len(scores) != len(completions):
        raise CandidateFailure("reward_length", f"returned {len(scores)} scores for {len(completions)} completions")
    for index, number in enumerate(scores):
        if not _finite(number):
            raise CandidateFailure("reward_not_finite", f"returned {number!r} for completion {index}")
    return [float(number) for number in scores]


def _finite(number: Any) -> bool:
    try:
        return math.isfinite(number)
    except Exception:  # whatever a reward returns instead of a number decides what it raises
        return False


class FunctionReward:
    """`package.module:function`, called as TRL calls it: f(prompts=..., completions=..., **kwargs).

    Its version is the function's `version` attribute, if any, and a hash of its module's source.
    """

    def __init__(self, settings: RewardSettings) -> None:
        self._function = import_function(settings.source, settings.directory)
        source = sys.modules[settings.source.partition(":")[0]].__file__
        digest = hashlib.sha256(Path(source).read_bytes()).hexdigest()[:12] if source else ""
        self.version = f"{getattr(self._function, 'version', '')} {digest}".strip()
        self.truncated = 0

    def __call__(self, prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
        return list(self._function(prompts=list(prompts), completions=list(completions)))


class ClassifierReward:
    """The logit `label` of a sequence classifier for (prompt, completion); longer inputs are cut, and counted."""

    def __init__(self, settings: RewardSettings) -> None:
        import torch
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        directory = local_directory(settings.source)
        self._settings = settings
        self._device = "cuda" if torch.cuda.is_available() and settings.resources.num_gpus else "cpu"
        self._tokenizer = AutoTokenizer.from_pretrained(directory, truncation_side="left")
        model, loaded = AutoModelForSequenceClassification.from_pretrained(
            directory, use_safetensors=True, output_loading_info=True
        )
        if missing := sorted(loaded["missing_keys"]):
            raise ValueError(f"{settings.source} is no sequence classifier: it has no {missing[0]}")
        if settings.label >= model.config.num_labels:
            raise ValueError(f"label {settings.label}: {settings.source} has {model.config.num_labels} labels")
        self._model = model.to(self._device).eval()
        self._pad()
        self.version = _classifier_version(settings)
        self.truncated = 0

    def __call__(self, prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
        """Texts of like length share a batch, so that little is padded."""
        if not completions:
            return []
        lengths = [len(ids) for ids in self._tokenizer(list(prompts), list(completions))["input_ids"]]
        self.truncated += sum(length > self._settings.max_length for length in lengths)
        order = sorted(range(len(lengths)), key=lambda index: lengths[index])
        scores = [0.0] * len(order)
        for start in range(0, len(order), self._settings.batch_size):
            batch = order[start : start + self._settings.batch_size]
            numbers = self._score([prompts[index] for index in batch], [completions[index] for index in batch])
            for index, number in zip(batch, numbers, strict=True):
                scores[index] = number
        return scores

    def _score(self, prompts: list[str], completions: list[str]) -> list[float]:
        import torch

        encoded = self._tokenizer(
            prompts,
            completions,
            return_tensors="pt",
            padding=True,
            truncation=True,
            max_length=self._settings.max_length,
        ).to(self._device)
        with torch.inference_mode():
            logits = self._model(**encoded).logits[:, self._settings.label]
        return [float(number) for number in logits.float().cpu()]

    def _pad(self) -> None:
        if self._tokenizer.pad_token is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token
        self._model.config.pad_token_id = self._tokenizer.pad_token_id


def _classifier_version(settings: RewardSettings) -> str:
    weights = model_hash(local_directory(settings.source))[:12]
    return f"label {settings.label}, {settings.max_length} tokens, {weights}"

"""LoRA factors of a PEFT directory as plain tensors."""

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from mva_ray.adapters.hashes import SETTINGS_FILE, WEIGHTS_FILE
from mva_ray.errors import ConfigError, last_line

PREFIX = "base_model.model."
_UNSAFE_WEIGHTS_FILE = "adapter_model.bin"
_READ = frozenset({"peft_type", "r", "lora_alpha", "use_rslora", "bias", "init_lora_weights"})
_OF_TRAINING_ALONE = frozenset(
    {
        "auto_mapping",
        "base_model_name_or_path",
        "corda_config",
        "ensure_weight_tying",
        "eva_config",
        "exclude_modules",
        "fan_in_fan_out",
        "inference_mode",
        "layers_pattern",
        "layers_to_transform",
        "loftq_config",
        "lora_dropout",
        "lora_ga_config",
        "megatron_core",
        "peft_version",
        "qalora_group_size",
        "revision",
        "runtime_config",
        "target_modules",
        "task_type",
    }
)
"""Settings of PEFT that leave base + scaling * B @ A as it is. Any other that is set is refused: what it does to the
model is not known here."""

_WHY_EMBEDDINGS = (
    "were embeddings resized, or trained? they are saved with it; those that were not can be left out with PEFT's "
    "save_pretrained(..., save_embedding_layers=False)"
)

_KEEP_THE_BASE = ("True", "False", "gaussian", "eva", "orthogonal", "mica")
"""Initialisations of A and B that leave the base model's weights alone."""


@dataclass(frozen=True)
class LoraFactors:
    """One adapter: per module name A [r, in], B [out, r]; its delta is scaling * B @ A."""

    a: dict[str, Tensor]
    b: dict[str, Tensor]
    scaling: float


def load_factors(directory: Path) -> LoraFactors:
    """Read a PEFT LoRA directory (safetensors only).

    Raises:
        ConfigError: where it is not a plain LoRA that base + w * scaling * B @ A describes exactly.
    """
    settings = read_settings(directory)
    if problems := list(_unsupported(settings)):
        raise ConfigError(str(directory / SETTINGS_FILE), problems)
    try:
        tensors = load_file(directory / WEIGHTS_FILE)
    except SafetensorError as error:
        raise ConfigError(str(directory / WEIGHTS_FILE), [f"no safetensors file: {last_line(error)}"]) from error
    factors: dict[str, dict[str, Tensor]] = {"lora_A": {}, "lora_B": {}}
    others = []
    for name, tensor in tensors.items():
        module, _, factor = name.removeprefix(PREFIX).removesuffix(".weight").rpartition(".")
        if factor in factors and tensor.ndim == 2:
            factors[factor][module] = tensor
        else:
            others.append(name)
    a, b = factors.values()
    if problems := [*_foreign(others), *_unfit(a, b, settings["r"])]:
        raise ConfigError(str(directory / WEIGHTS_FILE), problems)
    rank = settings["r"]
    return LoraFactors(a, b, settings["lora_alpha"] / (sqrt(rank) if settings.get("use_rslora") else rank))


def read_settings(directory: Path) -> dict[str, Any]:
    """What PEFT wrote beside the weights.

    Raises:
        ConfigError: where the directory is no PEFT adapter, or its weights are not safetensors.
    """
    path = directory / SETTINGS_FILE
    if path.is_file() and not (directory / WEIGHTS_FILE).is_file() and (directory / _UNSAFE_WEIGHTS_FILE).is_file():
        unsafe = f"{_UNSAFE_WEIGHTS_FILE} is a pickle, which may run code when it is read: save it as safetensors"
        raise ConfigError(str(directory), [unsafe])
    if not path.is_file() or not (directory / WEIGHTS_FILE).is_file():
        raise ConfigError(str(directory), [f"not a PEFT adapter: needs {SETTINGS_FILE} and {WEIGHTS_FILE}"])
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(str(path), [f"not valid JSON: {error}"]) from error
    if not isinstance(settings, dict):
        raise ConfigError(str(path), ["expected the settings of a PEFT adapter, a JSON object"])
    return settings


def copy_adapter(source: Path, scratch: Path) -> Path:
    """Copy an adapter's weights and settings into a directory that is emptied first, and return that."""
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    for name in (SETTINGS_FILE, WEIGHTS_FILE):
        shutil.copyfile(source / name, scratch / name)
    return scratch


def _unsupported(settings: Mapping[str, Any]) -> Iterator[str]:
    if settings.get("peft_type") != "LORA":
        yield f"peft_type is {settings.get('peft_type')!r}: only LORA adapters can be blended"
    for key in sorted(settings.keys() - _READ - _OF_TRAINING_ALONE):
        if settings[key]:
            yield f"{key} is set: only plain LoRA (delta = scaling * B @ A on linear layers) can be blended"
    init = settings.get("init_lora_weights", True)
    if str(init) not in _KEEP_THE_BASE:
        yield (
            f"init_lora_weights is {init!r}, which changes the base model's weights: convert the adapter to plain LoRA "
            "(PEFT's save_pretrained with path_initial_model_for_weight_conversion)"
        )
    if settings.get("bias", "none") != "none":
        yield "bias is trained: only adapters with bias 'none' can be blended"
    for key, kind in (("r", int), ("lora_alpha", int | float)):
        if not isinstance(settings.get(key), kind) or settings[key] <= 0:
            yield f"expected a number > 0 for {key}, got {settings.get(key)!r}"


def _foreign(names: list[str]) -> Iterator[str]:
    if names:
        of_the_base = any("lora_" not in name for name in names)
        hint = f" ({_WHY_EMBEDDINGS})" if of_the_base else ""
        yield f"{and_more(names)} is no lora_A or lora_B of a linear layer{hint}: only plain LoRA can be blended"


def _unfit(a: Mapping[str, Tensor], b: Mapping[str, Tensor], rank: int) -> Iterator[str]:
    whole = sorted(a.keys() & b.keys())
    if not a and not b:
        yield "there are no LoRA factors in it"
    if halves := sorted(a.keys() ^ b.keys()):
        yield f"{and_more(halves)} has only one of lora_A and lora_B"
    if odd := [module for module in whole if not len(a[module]) == b[module].shape[1] == rank]:
        shapes = f"{list(a[odd[0]].shape)} and {list(b[odd[0]].shape)}"
        yield f"{and_more(odd)} has factors {shapes}, which are not of rank r = {rank}"
    if broken := [module for module in whole if not (a[module].isfinite().all() and b[module].isfinite().all())]:
        yield f"{and_more(broken)} has factors that are not finite"


def and_more(names: list[str]) -> str:
    """The first name, and how many others there are."""
    return f"{names[0]} and {len(names) - 1} more" if len(names) > 1 else names[0]

"""LoRA factors of a PEFT directory as plain tensors."""

import json
from dataclasses import dataclass
from math import sqrt
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from mva_ray.adapters.hashes import WEIGHTS_FILE
from mva_ray.errors import ConfigError

_PREFIX = "base_model.model."
_UNSUPPORTED = (
    "use_dora",
    "modules_to_save",
    "rank_pattern",
    "alpha_pattern",
    "trainable_token_indices",
    "lora_bias",
    "layer_replication",
)
_CHANGE_THE_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")


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
    config_path = directory / "adapter_config.json"
    if not config_path.is_file() or not (directory / WEIGHTS_FILE).is_file():
        raise ConfigError(str(directory), [f"not a PEFT adapter: needs adapter_config.json and {WEIGHTS_FILE}"])
    config = json.loads(config_path.read_text())
    problems = _unsupported(config)
    if problems:
        raise ConfigError(str(config_path), problems)
    a: dict[str, Tensor] = {}
    b: dict[str, Tensor] = {}
    for key, tensor in load_file(directory / WEIGHTS_FILE).items():
        module, _, factor = key.removeprefix(_PREFIX).removesuffix(".weight").rpartition(".")
        if factor not in ("lora_A", "lora_B"):
            raise ConfigError(str(directory), [f"{key} in {WEIGHTS_FILE} is no lora_A or lora_B of a linear layer"])
        (a if factor == "lora_A" else b)[module] = tensor
    rank = config["r"]
    scaling = config["lora_alpha"] / (sqrt(rank) if config.get("use_rslora") else rank)
    return LoraFactors(a, b, scaling)


def _unsupported(config: dict[str, object]) -> list[str]:
    problems = []
    if config.get("peft_type") != "LORA":
        problems.append(f"peft_type is {config.get('peft_type')!r}: only LORA adapters can be blended")
    for key in _UNSUPPORTED:
        if config.get(key):
            problems.append(f"{key} is set: only plain LoRA (delta = scaling * B @ A on linear layers) can be blended")
    if str(config.get("init_lora_weights")).startswith(_CHANGE_THE_BASE):
        problems.append(f"init_lora_weights is {config['init_lora_weights']!r}, which changes the base model's weights")
    if config.get("bias", "none") != "none":
        problems.append("bias is trained: only adapters with bias 'none' can be blended")
    return problems

"""Value adapters in parts: contiguous blocks of decoder layers, each with a coefficient of its own."""

from collections.abc import Sequence
from functools import lru_cache

from torch import Tensor
from transformers import AutoConfig

from mva_ray.adapters.fetch import local_directory
from mva_ray.adapters.lora import LoraFactors, load_factors
from mva_ray.adapters.parts import block_of
from mva_ray.records import AdapterRef
from mva_ray.run_dir.stores import directory_at


def load_adapters(base_model: str, adapters: Sequence[AdapterRef]) -> list[LoraFactors]:
    """The factors of adapters, or of those parts of them that the references name.

    Args:
        base_model: hub id or directory; its config.json says how many layers there are.

    Raises:
        ConfigError: where one is not a plain LoRA.
    """
    read = lru_cache(maxsize=1)(load_factors)
    return [_part(base_model, read(directory_at(adapter.path).fetch()), adapter.block) for adapter in adapters]


def _part(base_model: str, factors: LoraFactors, block: tuple[int, int] | None) -> LoraFactors:
    if block is None:
        return factors
    index, blocks = block
    layers = AutoConfig.from_pretrained(local_directory(base_model)).get_text_config().num_hidden_layers

    def inside(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: tensor for name, tensor in tensors.items() if block_of(name, layers, blocks) == index}

    return LoraFactors(inside(factors.a), inside(factors.b), factors.scaling)

"""How large a decoder is: by the headers of its weights where its names tell all, else by the model's own code."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any

SHOWN = 3
"""Broken files that are named."""
CONFIG_FILE, WEIGHTS_FILE, INDEX_FILE = "config.json", "model.safetensors", "model.safetensors.index.json"

PLAIN: dict[str, tuple[str, ...]] = {
    "llama": (),
    "mistral": ("sliding_window",),
    "qwen2": ("use_sliding_window", "sliding_window"),
    "qwen3": ("use_sliding_window", "sliding_window", "head_dim"),
    "smollm3": ("use_sliding_window", "sliding_window"),
    "gemma": ("head_dim",),
    "gemma2": ("sliding_window", "head_dim"),
    "phi3": ("sliding_window",),
    "olmo2": (),
    "granite": (),
}
"""Decoders whose matrices are all linear layers, but `embed_tokens`, and called as the modules are; with the settings
that their config.json must have, since transformers takes other values for granted from model to model."""

_SIZES = (
    "num_hidden_layers",
    "hidden_size",
    "intermediate_size",
    "vocab_size",
    "num_attention_heads",
    "num_key_value_heads",
    "tie_word_embeddings",
)
"""What config.json must say of every one of them."""

_PARAMETERS = (".weight", ".bias")
"""How their names end; older files hold buffers too."""


@dataclass(frozen=True)
class ModelSize:
    """The sizes of a decoder: `attention` and `key_value` are heads times their width, `linear` (in, out) by name.

    `window` is how many tokens back it attends, `positions` how many tokens it was made for, None for any number.
    """

    parameters: int
    layers: int
    hidden: int
    attention: int
    key_value: int
    intermediate: int
    vocabulary: int
    window: int | None
    positions: int | None
    linear: Mapping[str, tuple[int, int]]

    def adapted(self, targets: Iterable[str]) -> dict[str, tuple[int, int]]:
        """(in, out) of the modules that PEFT adapts for these target names."""
        return {name: self.linear[name] for name in adapted(self.linear, targets)}


def adapted(modules: Iterable[str], targets: Iterable[str]) -> list[str]:
    """Those of the modules that PEFT adapts for these target names."""
    ends = tuple(f".{target}" for target in targets)
    return [name for name in modules if f".{name}".endswith(ends)]


@lru_cache
def model_size(directory: Path) -> ModelSize:
    """Sizes of a model directory; without weights, config.json is enough.

    Raises:
        ValueError: transformers knows no such architecture.
    """
    config = model_config(directory)
    shapes = weight_shapes(directory)
    if shapes and is_plain(config):
        return _by_header(config, shapes)
    return _by_skeleton(directory)


def model_config(directory: Path) -> dict[str, Any]:
    """The content of config.json.

    Raises:
        ValueError: it is no JSON object.
    """
    content = json.loads((directory / CONFIG_FILE).read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError("expected a JSON object")
    return content


def stored_parameters(directory: Path) -> int:
    """Parameters of a model whose tensors all count, 0 without weights."""
    return sum(prod(shape) for name, shape in weight_shapes(directory).items() if name.endswith(_PARAMETERS))


def weight_shapes(directory: Path) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor that is stored, by name; nothing where there are no safetensors to be loaded."""
    shapes: dict[str, tuple[int, ...]] = {}
    for file in filter(Path.is_file, weight_files(directory)):
        header = _header(file)
        shapes |= {name: tuple(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__"}
    return shapes


def has_weights(directory: Path) -> bool:
    """Whether there are safetensors that transformers would read, whole or not."""
    return any((directory / name).is_file() for name in (WEIGHTS_FILE, INDEX_FILE))


def weight_files(directory: Path) -> list[Path]:
    """Those that transformers reads: one file, or what an index lists, whether they are there or not."""
    index = directory / INDEX_FILE
    if (directory / WEIGHTS_FILE).is_file() or not index.is_file():
        return [directory / WEIGHTS_FILE]
    listed = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    return [directory / name for name in sorted(listed)]


def missing_bytes(file: Path) -> int:
    """How many bytes a file of safetensors lacks of what its header says.

    Raises:
        ValueError: it has no such header.
    """
    header = _header(file)
    ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"]
    with file.open("rb") as content:
        begin = 8 + int.from_bytes(content.read(8), "little")
    return max(0, begin + max(ends, default=0) - file.stat().st_size)


def _header(file: Path) -> dict[str, Any]:
    """A file of safetensors begins with the length of its header, 8 bytes, and the header."""
    with file.open("rb") as content:
        length = int.from_bytes(content.read(8), "little")
        header: dict[str, Any] = json.loads(content.read(min(length, file.stat().st_size)))
    return header


def is_plain(config: Mapping[str, Any]) -> bool:
    """Whether config.json and the names of the weights say all there is to know."""
    own = PLAIN.get(str(config.get("model_type")))
    causal = str(config.get("architectures")).endswith("ForCausalLM']") and "longrope" not in str(config)
    return causal and own is not None and config.keys() >= set(own) and None not in map(config.get, _SIZES)


def _by_header(config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> ModelSize:
    vocabulary, hidden, heads = config["vocab_size"], config["hidden_size"], config["num_attention_heads"]
    weights = {name: shape for name, shape in shapes.items() if name.endswith(_PARAMETERS)}
    if config["tie_word_embeddings"]:
        weights.pop("lm_head.weight", None)
    matrices = {name.removesuffix(".weight"): shape for name, shape in weights.items() if len(shape) == 2}
    matrices.pop("model.embed_tokens")
    width = config.get("head_dim") or hidden // heads
    windowed = config.get("use_sliding_window", True)
    return ModelSize(
        parameters=sum(map(prod, weights.values())),
        layers=config["num_hidden_layers"],
        hidden=hidden,
        attention=heads * width,
        key_value=config["num_key_value_heads"] * width,
        intermediate=config["intermediate_size"],
        vocabulary=vocabulary,
        window=config.get("sliding_window") if windowed else None,
        positions=config.get("max_position_embeddings"),
        linear={name: (shape[1], shape[0]) for name, shape in matrices.items()} | {"lm_head": (hidden, vocabulary)},
    )


def _by_skeleton(directory: Path) -> ModelSize:
    from mva_ray.adapters.architecture import positions
    from mva_ray.adapters.base_model import linear_shapes, load_skeleton

    model = load_skeleton(directory)
    config = model.config.get_text_config()
    heads = config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    return ModelSize(
        parameters=model.num_parameters(),
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        attention=heads * width,
        key_value=(getattr(config, "num_key_value_heads", None) or heads) * width,
        intermediate=getattr(config, "intermediate_size", None) or 4 * config.hidden_size,
        vocabulary=config.vocab_size,
        window=getattr(config, "sliding_window", None),
        positions=positions(model.config),
        linear=linear_shapes(model),
    )


def broken_weights(directory: Path) -> list[str]:
    """What is wrong with weights that are there in part."""
    try:
        files = weight_files(directory) if has_weights(directory) else []
    except (ValueError, KeyError, TypeError, AttributeError):
        return [f"{directory / INDEX_FILE} is no index of weights"]
    problems = [f"{directory} lacks {file.name}, which its index lists" for file in files if not file.is_file()]
    for file in filter(Path.is_file, files):
        try:
            if lacking := missing_bytes(file):
                problems.append(f"{file} is cut short: {lacking:,} bytes are missing")
        except (ValueError, KeyError, TypeError, AttributeError):
            problems.append(f"{file} is no safetensors file")
    return problems[:SHOWN]

"""What a model takes: parameters and bytes from its config alone, to an accuracy that tells which machine is enough.

Bytes of activations count what autograd keeps for the backward pass of a decoder with gated MLP (Llama, Qwen, Mistral)
and LoRA, frozen weights and fused attention: the per-layer counting of Korthikanti et al. (arXiv 2205.05198, section
4) for this case, without the attention scores (never formed) and the inputs of frozen weights (need no gradient).
"""

from collections.abc import Mapping
from pathlib import Path

from mva_ray.adapters.model_size import ModelSize, stored_parameters
from mva_ray.config.training import Lora

FLOAT32, BFLOAT16 = 4, 2
"""Bytes a number."""

_ADAM = 4 * FLOAT32
"""Bytes a trained parameter: itself, its gradient and Adam's two moments, all in float32 (PEFT keeps adapters so)."""


def classifier_parameters(directory: Path) -> int:
    """Parameters of a reward model; without its weights, by its config.json.

    Raises:
        ValueError: transformers knows no such architecture.
    """
    if stored := stored_parameters(directory):
        return stored
    from transformers import AutoModelForSequenceClassification

    from mva_ray.adapters.base_model import load_skeleton

    return int(load_skeleton(directory, AutoModelForSequenceClassification).num_parameters())


def adapter_parameters(size: ModelSize, lora: Lora) -> int:
    """Trainable parameters of one adapter: r (in + out) a module (Hu et al. 2021, arXiv 2106.09685)."""
    return sum(lora.r * (inputs + outputs) for inputs, outputs in size.adapted(lora.target_modules).values())


def activation_bytes(size: ModelSize, lora: Lora, tokens: int, number: int, checkpointing: bool) -> int:
    """Bytes kept for the backward pass of `tokens` tokens, padding too, without the logits.

    A layer keeps queries, keys, values (repeated to all heads) and the attention's output, three tensors of the MLP's
    width, the float32 inputs of two norms, and of each adapted module the input, dropout's mask (float32, as on a CPU)
    and the r numbers between A and B. With checkpointing, a layer keeps its input alone, and one at a time the rest.

    Args:
        number: bytes a number.
    """
    frozen = number * (4 * size.attention + 3 * size.intermediate) + FLOAT32 * 2 * size.hidden
    inputs = [inputs for inputs, _ in size.adapted(lora.target_modules).values()]
    mask = FLOAT32 * sum(inputs) if lora.dropout else 0
    kept = size.layers * frozen + number * (sum(inputs) + lora.r * len(inputs)) + mask
    if checkpointing:
        kept = size.layers * number * size.hidden + kept // size.layers
    return tokens * kept


def training_bytes(
    size: ModelSize, lora: Lora, tokens: int, number: int, checkpointing: bool, earlier: int
) -> dict[str, int]:
    """Bytes on each training worker, by what they are for.

    Logits as computed, and two tensors of float32 for their log-softmax and its gradient; as many as there are tokens,
    though they are computed for those of completions alone.

    Args:
        tokens: of one step's pairs on this worker, padding too.
        number: bytes a number of the base model.
        earlier: frozen adapters that the penalty compares with.
    """
    return {
        "base model": size.parameters * number,
        "adapter, its gradient, Adam": adapter_parameters(size, lora) * _ADAM,
        "adapters before it": adapter_parameters(size, lora) * FLOAT32 * earlier,
        "activations": activation_bytes(size, lora, tokens, number, checkpointing),
        "logits": tokens * size.vocabulary * (number + 2 * FLOAT32),
    }


def must_checkpoint(parts: Mapping[str, int], free: int, total: int, gpus: float) -> bool:
    """Whether activations have to be computed again in the backward pass, for want of memory.

    On an H100 that took 2.6 times as long, a step of 8 pairs on SmolLM2-135M.

    Args:
        parts: what training takes without, before the model is loaded.
        free: bytes of the GPU that nobody has, of `total`; a process has its share `gpus` of them, less than all for
            what the parts leave out: the allocator's own overhead and the CUDA context.
    """
    return sum(parts.values()) > 0.9 * min(free, min(gpus, 1) * total)


def generation_bytes(
    size: ModelSize, lora: Lora, rows: int, prompt_tokens: int, new_tokens: int, number: int, adapters: int
) -> dict[str, int]:
    """Bytes on each evaluator, by what they are for.

    The cache has a key and a value a layer for every token of every row (Pope et al. 2022, arXiv 2211.05102). The
    working set is one layer's in the prefill, and logits of one token a row, in the model's numbers and in float32.

    Args:
        rows: of a batch; their prompts are padded to `prompt_tokens`.
        number: bytes a number.
        adapters: blended with the base model, all of the config's size.
    """
    width = 4 * size.attention + 3 * size.intermediate + 2 * size.hidden
    return {
        "base model": size.parameters * number,
        "value adapters": adapter_parameters(size, lora) * number * adapters,
        "key-value cache": 2 * size.layers * size.key_value * rows * (prompt_tokens + new_tokens) * number,
        "working set": rows * (prompt_tokens * width * number + size.vocabulary * (number + FLOAT32)),
    }


def readable(amount: float) -> str:
    """Bytes as people read them: 14 MB, 12.6 GB."""
    for unit in ("B", "kB", "MB"):
        if amount < 999.5:
            return f"{amount:.3g} {unit}"
        amount /= 1000
    return f"{amount:,.1f} GB"

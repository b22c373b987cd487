"""Load the base model: a hub id, a local directory, or a local .gguf. Safetensors only, no remote code."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.pytorch_utils import Conv1D

from mva_ray.adapters.fetch import local_directory
from mva_ray.adapters.memory import must_checkpoint, training_bytes
from mva_ray.adapters.model_size import model_size
from mva_ray.config.training import Lora
from mva_ray.errors import RunError, last_line


def load_tokenizer(base_model: str) -> PreTrainedTokenizerBase:
    """The tokenizer, padding on the left (generation needs it), with a pad token.

    Raises:
        RunError: it cannot be had, or read.
    """
    with loading(base_model) as directory:
        tokenizer = AutoTokenizer.from_pretrained(directory, padding_side="left")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_base_model(base_model: str, gpus: float = 0) -> PreTrainedModel:
    """The model in evaluation mode: in bfloat16 on the GPU of which this process has a share, in float32 without one.

    Raises:
        RunError: it cannot be had, or read, or the GPU knows no bfloat16, or is too small.
    """
    if gpus and not torch.cuda.is_bf16_supported():
        raise RunError(f"{torch.cuda.get_device_name()} does not compute in bfloat16: say `device: cpu`")
    dtype = torch.bfloat16 if gpus else torch.float32
    with loading(base_model) as directory:
        if gpus:
            needed = model_size(directory).parameters * dtype.itemsize
            check_room(base_model, needed, torch.cuda.get_device_name(), *torch.cuda.mem_get_info())
        model = AutoModelForCausalLM.from_pretrained(directory, dtype=dtype, use_safetensors=True)
        return model.to("cuda" if gpus else "cpu").eval()


def check_room(base_model: str, needed: int, gpu: str, free: int, total: int) -> None:
    """
    Args:
        needed: bytes of all weights, in the precision that they are computed in.
        gpu: its name; `free` bytes of its `total` are not taken.

    Raises:
        RunError: the weights do not fit.
    """
    if needed > free:
        raise RunError(
            f"base_model: {base_model} has {needed / 1e9:,.1f} GB of weights, and {free / 1e9:,.1f} of the "
            f"{total / 1e9:,.1f} GB of this {gpu} are free: take a larger GPU, or for the search a server that spreads "
            "the model over several (engine.openai)"
        )


def checkpoints_activations(
    base_model: str, lora: Lora, tokens: int, number: int, earlier: int = 0, gpus: float = 1
) -> bool:
    """Whether training on this process's share of a GPU has to compute activations again.

    To be asked before the model takes its memory.

    Args:
        tokens: of the longest step that there may be.
        number: bytes a number of the base model.
        earlier: frozen adapters that the penalty compares with.

    Raises:
        RunError: the model cannot be had, or read.
    """
    with loading(base_model) as directory:
        parts = training_bytes(model_size(directory), lora, tokens, number, False, earlier)
    return must_checkpoint(parts, *torch.cuda.mem_get_info(), gpus)


@contextmanager
def loading(base_model: str) -> Iterator[Path]:
    """The model's directory; what goes wrong with it is said in one line."""
    directory = local_directory(base_model)
    try:
        yield directory
    except RunError:
        raise
    except Exception as error:  # of several libraries, and of the model's own code
        cause = f"{type(error).__name__}: {last_line(error)}"
        raise RunError(f"base_model: {base_model} cannot be loaded: {cause}") from error


def load_skeleton(directory: Path, architecture: Any = AutoModelForCausalLM) -> PreTrainedModel:
    """A model without its weights (on torch's meta device); the directory needs no more than config.json.

    Raises:
        ValueError: transformers knows no such architecture.
    """
    config = AutoConfig.from_pretrained(directory, trust_remote_code=False)
    with torch.device("meta"):
        return architecture.from_config(config, trust_remote_code=False)


def is_linear(module: nn.Module) -> bool:
    """Whether it multiplies by a weight and adds a bias, and nothing else: nn.Linear and GPT-2's Conv1D."""
    return type(module).forward in (nn.Linear.forward, Conv1D.forward)


def linear_shapes(model: nn.Module) -> dict[str, tuple[int, int]]:
    """(in, out) features of each module that an adapter can change."""
    linear: dict[str, Any] = {name: module for name, module in model.named_modules() if is_linear(module)}
    return {
        name: (module.nx, module.nf) if isinstance(module, Conv1D) else (module.in_features, module.out_features)
        for name, module in linear.items()
    }


def allow_bfloat16_products() -> None:
    """Leave float32 products to oneDNN where the CPU multiplies bfloat16 natively: it may round their inputs to that.

    It does so on AMX; with AVX512-BF16 alone it multiplies in float32, twice as fast as MKL where MKL does not
    know the processor. Sums stay float32: the loss curve of a training agrees to the third decimal.
    """
    if _multiplies_bfloat16():
        torch.set_float32_matmul_precision("medium")


def native_products(device: torch.device) -> torch.dtype | None:
    """bfloat16 where the CPU multiplies it natively (AVX512-BF16, AMX), else None: the model's own precision."""
    return torch.bfloat16 if device.type == "cpu" and _multiplies_bfloat16() else None


def native_autocast(device: torch.device) -> torch.autocast:
    """A context in which a model's products are in that precision; its weights, norms and sums stay as they are."""
    products = native_products(device)
    return torch.autocast(device.type, products, enabled=products is not None)


def trains_in_bfloat16(on_gpu: bool) -> bool:
    """Whether training multiplies in bfloat16, by autocast: on a GPU, and on a CPU that does so natively."""
    return on_gpu or _multiplies_bfloat16()


def _multiplies_bfloat16() -> bool:
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())

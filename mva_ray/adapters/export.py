"""A candidate as one plain LoRA adapter, for everything that reads PEFT's format.

sum_i w_i * scaling_i * B_i A_i = B A, where A stacks the adapters' A_i and B has w_i * scaling_i * B_i side by side:
exact for any real w, at the price of a rank that is the sum of the ranks (of adapters that share a module).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, TaskType
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import pad
from transformers.pytorch_utils import Conv1D

from mva_ray.adapters.base_model import is_linear
from mva_ray.adapters.hashes import WEIGHTS_FILE
from mva_ray.adapters.lora import PREFIX, LoraFactors
from mva_ray.run_dir.files import whole_directory


def export_candidate(
    adapters: Sequence[LoraFactors], coefficients: Sequence[float], directory: Path, base_model: str
) -> None:
    """Write base + sum_i w_i theta_i as a PEFT LoRA directory in float32, all of it or nothing.

    Args:
        adapters: n >= 1 sets of factors; ranks and modules may differ.
        coefficients: n numbers, not all of them 0.
        directory: made by the call, with its parents.
        base_model: noted in the settings, as a hub id or a path.

    Raises:
        ValueError: all coefficients are 0, which is the base model, or their number is not n.
        OSError: the directory exists and is not empty, or cannot be written.
    """
    factors = concatenate(adapters, coefficients)
    with whole_directory(directory) as scratch:
        save_adapter(factors, scratch, base_model)


def save_adapter(factors: LoraFactors, directory: Path, base_model: str) -> None:
    """Put factors of one rank and scaling 1 into a directory as a PEFT LoRA adapter in float32."""
    rank = len(next(iter(factors.a.values())))
    settings = LoraConfig(
        r=rank,
        lora_alpha=rank,
        target_modules=sorted(factors.a),
        task_type=TaskType.CAUSAL_LM,
        base_model_name_or_path=base_model,
        inference_mode=True,
    )
    settings.save_pretrained(directory)
    save_file(_named(factors), directory / WEIGHTS_FILE, metadata={"format": "pt"})


def concatenate(adapters: Sequence[LoraFactors], coefficients: Sequence[float]) -> LoraFactors:
    """One set of factors with scaling 1 whose delta is sum_i w_i * scaling_i * B_i A_i; same arguments and errors.

    Adapters with w_i = 0 are left out. The rank is the highest that any module needs: the sum of the ranks of the
    adapters that have it. Other modules get rows of zeros in A and columns of zeros in B instead, since not all readers
    know ranks that differ between modules.
    """
    kept = [(adapter, weight) for adapter, weight in zip(adapters, coefficients, strict=True) if weight]
    if not kept:
        raise ValueError("all coefficients are 0: that is the base model, without an adapter")
    modules = dict.fromkeys(name for adapter, _ in kept for name in adapter.a)
    owners_of = {name: [(adapter, weight) for adapter, weight in kept if name in adapter.a] for name in modules}
    rank = max(sum(len(adapter.a[name]) for adapter, _ in owners) for name, owners in owners_of.items())
    a: dict[str, Tensor] = {}
    b: dict[str, Tensor] = {}
    for name, owners in owners_of.items():
        rows = torch.cat([adapter.a[name].float() for adapter, _ in owners])
        columns = torch.cat([weight * adapter.scaling * adapter.b[name].float() for adapter, weight in owners], dim=1)
        a[name] = pad(rows, (0, 0, 0, rank - len(rows)))
        b[name] = pad(columns, (0, rank - len(rows)))
    return LoraFactors(a, b, scaling=1.0)


def compress(factors: LoraFactors, rank: int) -> tuple[LoraFactors, float]:
    """The nearest delta of a lower rank in every module, by singular value decomposition (Eckart & Young, 1936).

    Args:
        factors: of one rank R and scaling 1.
        rank: of the result, at most R.

    Returns:
        factors of that rank, and the Frobenius norm of what is lost as a share of the delta's, over all modules.
    """
    a, b = {}, {}
    lost = whole = 0.0
    for name in factors.a:
        left, core_left = torch.linalg.qr(factors.b[name].double())
        right, core_right = torch.linalg.qr(factors.a[name].double().T)
        u, singular, v = torch.linalg.svd(core_left @ core_right.T)
        root = singular[:rank].sqrt()
        b[name] = pad((left @ u[:, :rank] * root).float(), (0, rank - len(root)))
        a[name] = pad(((right @ v[:rank].T) * root).T.float().contiguous(), (0, 0, 0, rank - len(root)))
        lost += float(singular[rank:].square().sum())
        whole += float(singular.square().sum())
    return LoraFactors(a, b, scaling=1.0), (lost / whole) ** 0.5 if whole else 0.0


@torch.no_grad()
def merge_into(model: Any, factors: LoraFactors) -> None:
    """Add the delta to the model's weights: computed in float32, rounded once to their precision.

    Raises:
        ValueError: a module that is not plainly linear, or that shares its weight with the embeddings.
    """
    embeddings = model.get_input_embeddings()
    for name in factors.a:
        module = model.get_submodule(name)
        if not is_linear(module):
            raise ValueError(f"{name} is a {type(module).__name__}: only plain linear layers can be merged")
        if module.weight is embeddings.weight:
            raise ValueError(f"{name} shares its weight with the embeddings, which a merge would change too")
        delta = factors.scaling * factors.b[name].float() @ factors.a[name].float()
        weight = module.weight
        weight.copy_(weight.float() + (delta.T if isinstance(module, Conv1D) else delta).to(weight.device))


def _named(factors: LoraFactors) -> dict[str, Tensor]:
    """The tensors by the names that PEFT gives them."""
    halves = {"lora_A": factors.a, "lora_B": factors.b}
    return {f"{PREFIX}{name}.{half}.weight": t for half, tensors in halves.items() for name, t in tensors.items()}

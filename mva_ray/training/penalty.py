"""The decorrelation penalty of one adapter in training against the frozen ones before it."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from mva_ray.maths.hsic import centre, hsic_from_kernels, rbf_kernel


class Penalty(Protocol):
    """Maps the current lora_A of every module to a scalar that is lower the less the adapters share."""

    def __call__(self, lora_a: Mapping[str, Tensor]) -> Tensor: ...


class HsicPenalty:
    """sum over earlier adapters j and modules m of HSIC(A_m, A_j,m): MVA's penalty (arXiv 2511.17579).

    As in the authors' code: RBF with sigma 1 on the rows of lora_A, summed over modules. The kernels of the
    earlier adapters are computed once; modules of the same shape go in one batch.

    Args:
        earlier: lora_A [r, in] per module name of each adapter trained before; may be empty (penalty 0).
        sigma: kernel bandwidth.

    Raises:
        ValueError: where an earlier adapter has another rank or other modules than the one in training.
    """

    def __init__(self, earlier: Sequence[Mapping[str, Tensor]], sigma: float = 1.0) -> None:
        self._sigma = sigma
        self._modules = [set(factors) for factors in earlier]
        self._groups: dict[tuple[int, ...], list[str]] = defaultdict(list)
        for module, factor in earlier[0].items() if earlier else ():
            self._groups[tuple(factor.shape)].append(module)
        self._centred = {
            shape: sum(centre(rbf_kernel(_stack(factors, modules), sigma)) for factors in earlier)
            for shape, modules in self._groups.items()
            if all(module in factors for factors in earlier for module in modules)
        }

    def __call__(self, lora_a: Mapping[str, Tensor]) -> Tensor:
        if any(modules != set(lora_a) for modules in self._modules):
            raise ValueError("an earlier adapter was trained on other modules than this one")
        total = next(iter(lora_a.values())).new_zeros(())
        for shape, modules in self._groups.items():
            current = _stack(lora_a, modules)
            centred = torch.as_tensor(self._centred[shape], device=current.device)
            total = total + hsic_from_kernels(rbf_kernel(current, self._sigma), centred).sum()
        return total


def _stack(factors: Mapping[str, Tensor], modules: Sequence[str]) -> Tensor:
    return torch.stack([factors[module].float() for module in modules])


def trainable_lora_a(model: nn.Module) -> dict[str, Tensor]:
    """The trainable lora_A [r, in] of a PEFT model, by the name its module has in the base model."""
    marker = ".lora_A."
    return {
        name.split(marker)[0].removeprefix("base_model.model."): parameter
        for name, parameter in model.named_parameters()
        if marker in name and parameter.requires_grad
    }

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
        self._earlier = earlier[:1]
        for factors in earlier[1:]:
            _check_comparable(earlier[0], factors)
        self._groups: dict[tuple[int, ...], list[str]] = defaultdict(list)
        for module, factor in earlier[0].items() if earlier else ():
            self._groups[tuple(factor.shape)].append(module)
        self._centred = {
            shape: torch.stack([centre(rbf_kernel(_stack(factors, modules), sigma)) for factors in earlier]).sum(0)
            for shape, modules in self._groups.items()
        }

    def __call__(self, lora_a: Mapping[str, Tensor]) -> Tensor:
        for factors in self._earlier:
            _check_comparable(factors, lora_a)
        total = next(iter(lora_a.values())).new_zeros((), dtype=torch.float32)
        for shape, modules in self._groups.items():
            current = _stack(lora_a, modules)
            centred = self._centred[shape].to(current.device)
            total = total + hsic_from_kernels(rbf_kernel(current, self._sigma), centred).sum()
        return total


def _check_comparable(earlier: Mapping[str, Tensor], factors: Mapping[str, Tensor]) -> None:
    if earlier.keys() != factors.keys():
        raise ValueError("an earlier adapter was trained on other modules than this one")
    if any(earlier[module].shape != factor.shape for module, factor in factors.items()):
        raise ValueError("an earlier adapter has another rank than this one")


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

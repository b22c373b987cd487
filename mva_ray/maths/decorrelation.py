"""The forms of the decorrelation penalty, each on a batch of modules [modules, ...]; lower means less is shared.

A form is made from the same modules of each earlier adapter, which do not change, and then measures the adapter in
training at each step: a scalar, summed over modules and earlier adapters, at least 0.
"""

from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from mva_ray.maths.hsic import (
    FLOOR,
    centre,
    cka,
    hsic_from_kernels,
    median_distance,
    rbf_kernel,
    squared_distances,
    u_centre,
    unbiased_hsic,
)
from mva_ray.maths.low_rank import Deltas, linear_kernel, unbiased_linear_hsic


class Form(Protocol):
    """What the adapter in training shares with the earlier ones; `step` counts from 0."""

    def __call__(self, current: Deltas, step: int) -> Tensor: ...


class PaperHsic:
    """MVA's penalty (arXiv 2511.17579) as its authors compute it: biased HSIC, RBF of sigma 1 on the rows of lora_A."""

    def __init__(self, earlier: Sequence[Deltas]) -> None:
        self._centred = torch.stack([centre(rbf_kernel(deltas.a)) for deltas in earlier]).sum(0)

    def __call__(self, current: Deltas, step: int) -> Tensor:
        return hsic_from_kernels(rbf_kernel(current.a), self._centred).sum()


class Orthogonal:
    """||A A_j^T||_F^2, the loss of O-LoRA (Wang et al., arXiv 2310.14152, section 3): 0 for orthogonal row spaces."""

    def __init__(self, earlier: Sequence[Deltas]) -> None:
        self._rows = torch.cat([deltas.a for deltas in earlier], dim=-2).transpose(-1, -2)

    def __call__(self, current: Deltas, step: int) -> Tensor:
        return (current.a @ self._rows).square().sum()


class LinearHsic:
    """HSIC of all rows of the deltas with a linear kernel, exactly; `normalised`, the CKA of the deltas."""

    def __init__(self, earlier: Sequence[Deltas], normalised: bool) -> None:
        kernels = [linear_kernel(deltas) for deltas in earlier]
        traces = torch.stack([kernel.squares.sum(-1) for kernel in kernels]).amax(0)
        self._unit = torch.where(traces > 0, traces, 1) if normalised else torch.ones_like(traces)
        self._kernels = [linear_kernel(deltas, self._unit) for deltas in earlier]
        self._fixed = torch.stack([unbiased_linear_hsic(kernel, kernel) for kernel in self._kernels])
        self._normalised = normalised

    def __call__(self, current: Deltas, step: int) -> Tensor:
        kernel = linear_kernel(current, self._unit)
        cross = torch.stack([unbiased_linear_hsic(kernel, fixed) for fixed in self._kernels])
        return _dependence(cross, unbiased_linear_hsic(kernel, kernel) if self._normalised else None, self._fixed)


class KernelHsic:
    """HSIC from whole kernel matrices: of the rows of lora_A, or of rows of the deltas that are drawn at each step.

    Args:
        earlier: of any rank on the delta, of one rank on lora_A.
        sigma: bandwidth of an RBF kernel, `median` for the median distance of the rows; None for a linear kernel.
        normalised: CKA in place of HSIC.
        rows: how many rows of the deltas; None for the rows of lora_A.
        seed: of the choice of rows, together with the step.
    """

    def __init__(
        self,
        earlier: Sequence[Deltas],
        sigma: float | Literal["median"] | None,
        normalised: bool,
        rows: int | None = None,
        seed: int = 0,
    ) -> None:
        self._earlier, self._sigma, self._normalised, self._rows, self._seed = earlier, sigma, normalised, rows, seed
        self._fixed = self._kernels(0) if rows is None else None

    def __call__(self, current: Deltas, step: int) -> Tensor:
        fixed, fixed_own, least = self._fixed or self._kernels(step)
        kernel = u_centre(self._kernel(self._products(current, step), least))
        own = unbiased_hsic(kernel, kernel) if self._normalised else None
        return _dependence(unbiased_hsic(kernel, fixed), own, fixed_own)

    def _kernels(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """The earlier adapters': kernels [earlier, modules, n, n], HSIC with themselves, and the least sigma^2."""
        products = torch.stack([self._products(deltas, step) for deltas in self._earlier])
        kernels = u_centre(self._kernel(products, products.new_zeros(())))
        least = FLOOR * median_distance(squared_distances(products)).mean(0)
        return kernels, unbiased_hsic(kernels, kernels), least

    def _products(self, deltas: Deltas, step: int) -> Tensor:
        if self._rows is None:
            return deltas.a @ deltas.a.transpose(-1, -2)
        out = deltas.b.shape[-2]
        rows = np.random.default_rng((self._seed, step)).choice(out, min(out, self._rows), replace=False)
        return deltas.row_products(torch.from_numpy(rows).to(deltas.b.device))

    def _kernel(self, products: Tensor, least: Tensor) -> Tensor:
        """RBF less 1, which centring takes off: equal rows give exactly 0."""
        if self._sigma is None:
            return products
        distances = squared_distances(products)
        if self._sigma != "median":
            return torch.expm1(-distances / (2 * self._sigma**2))
        variance = torch.maximum(median_distance(distances), least).clamp_min(torch.finfo(distances.dtype).tiny)
        return torch.expm1(-distances / (2 * variance))


def _dependence(cross: Tensor, own: Tensor | None, fixed: Tensor) -> Tensor:
    """The sum of HSIC, or of CKA where `own` is given, counted from 0: below chance there is nothing to keep apart."""
    return (cross if own is None else cka(cross, own, fixed)).clamp_min(0).sum()

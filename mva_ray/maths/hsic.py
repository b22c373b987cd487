"""The Hilbert-Schmidt independence criterion, the penalty that keeps value adapters apart.

Gretton, Bousquet, Smola, Schoelkopf: Measuring Statistical Dependence with Hilbert-Schmidt Norms (ALT 2005), as MVA
(arXiv 2511.17579) uses it: the biased estimator with an RBF kernel over the rows of each module's lora_A.
"""

import torch
from torch import Tensor


def rbf_kernel(rows: Tensor, sigma: float = 1.0) -> Tensor:
    """K[i, j] = exp(-||x_i - x_j||^2 / (2 sigma^2)).

    Args:
        rows: [..., n, d], one sample a row.
        sigma: bandwidth, in the units of the rows.

    Returns:
        [..., n, n], symmetric, ones on the diagonal. Differentiable everywhere, also where rows coincide.
    """
    squares = rows.square().sum(-1)
    gram = rows @ rows.transpose(-1, -2)
    distances = squares.unsqueeze(-1) + squares.unsqueeze(-2) - 2 * gram
    return torch.exp(-distances.clamp_min(0) / (2 * sigma**2))


def centre(kernel: Tensor) -> Tensor:
    """H K H with H = I - 1/n: [..., n, n] to [..., n, n], rows and columns sum to zero."""
    return kernel - kernel.mean(-1, keepdim=True) - kernel.mean(-2, keepdim=True) + kernel.mean((-1, -2), keepdim=True)


def hsic(x: Tensor, y: Tensor, sigma: float = 1.0) -> Tensor:
    """HSIC(x, y) = tr(K H L H) / n^2; lower means less dependent, 0 where either side is constant.

    Args:
        x: [..., n, d], paired row by row with y.
        y: [..., n, e].
        sigma: bandwidth of both RBF kernels.

    Returns:
        [...], at least 0 up to rounding.

    Raises:
        ValueError: where x and y do not have the same number of rows.
    """
    if x.shape[-2] != y.shape[-2]:
        raise ValueError(f"HSIC pairs rows: x has {x.shape[-2]}, y has {y.shape[-2]}")
    return hsic_from_kernels(rbf_kernel(x, sigma), centre(rbf_kernel(y, sigma)))


def hsic_from_kernels(kernel: Tensor, centred: Tensor) -> Tensor:
    """tr(K H L H) / n^2 from K [..., n, n] and H L H [..., n, n]; the second may be computed once and kept."""
    n = kernel.shape[-1]
    return (kernel * centred).sum((-1, -2)) / n**2

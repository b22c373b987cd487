"""The Hilbert-Schmidt independence criterion, the penalty that keeps value adapters apart.

Gretton, Bousquet, Smola, Schoelkopf: Measuring Statistical Dependence with Hilbert-Schmidt Norms (ALT 2005): the
biased estimator, as MVA (arXiv 2511.17579) uses it. Song, Smola, Gretton, Bedo, Borgwardt: Feature Selection via
Dependence Maximization (JMLR 13, 2012), equation 5: the unbiased one. Normalised it is the centred kernel alignment
CKA (Kornblith et al., arXiv 1905.00414), debiased as in Nguyen, Raghu, Kornblith (arXiv 2010.15327).
"""

import torch
from torch import Tensor

FLOOR = 0.01
"""CKA takes HSIC(x, x)^(1/2) for at least this part of y's: x for at least a tenth of y, HSIC being quadratic."""


def rbf_kernel(rows: Tensor, sigma: float = 1.0) -> Tensor:
    """K[i, j] = exp(-||x_i - x_j||^2 / (2 sigma^2)).

    Args:
        rows: [..., n, d], one sample a row.
        sigma: bandwidth, in the units of the rows.

    Returns:
        [..., n, n], symmetric, ones on the diagonal. Differentiable everywhere, also where rows coincide.
    """
    return torch.exp(-squared_distances(rows @ rows.transpose(-1, -2)) / (2 * sigma**2))


def squared_distances(gram: Tensor) -> Tensor:
    """||x_i - x_j||^2 from the inner products <x_i, x_j>: [..., n, n] to [..., n, n], at least 0."""
    squares = gram.diagonal(dim1=-2, dim2=-1)
    return (squares.unsqueeze(-1) + squares.unsqueeze(-2) - 2 * gram).clamp_min(0)


def median_distance(distances: Tensor) -> Tensor:
    """The median of the distances between different rows: [..., n, n] to [..., 1, 1], without a gradient.

    As sigma^2 of an RBF kernel it is the median heuristic (Garreau, Jitkrittum, Kanagawa, arXiv 1707.07269).
    """
    n = distances.shape[-1]
    above = torch.triu_indices(n, n, offset=1, device=distances.device)
    return distances.detach()[..., above[0], above[1]].median(-1).values[..., None, None]


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


def u_centre(kernel: Tensor) -> Tensor:
    """The kernel centred so that products of its entries off the diagonal estimate HSIC without bias.

    Szekely, Rizzo: Partial Distance Correlation with Methods for Dissimilarities (Annals of Statistics 2014), (3.1).

    Args:
        kernel: [..., n, n], symmetric, n at least 4.

    Returns:
        [..., n, n], zero on the diagonal, rows and columns sum to zero.

    Raises:
        ValueError: where n is below 4.
    """
    n = kernel.shape[-1]
    if n < 4:
        raise ValueError(f"unbiased HSIC needs at least 4 rows, got {n}")
    hollow = kernel - torch.diag_embed(kernel.diagonal(dim1=-2, dim2=-1))
    rows = hollow.sum(-1, keepdim=True) / (n - 2)
    whole = hollow.sum((-1, -2), keepdim=True) / ((n - 1) * (n - 2))
    centred = hollow - rows - rows.transpose(-1, -2) + whole
    return centred - torch.diag_embed(centred.diagonal(dim1=-2, dim2=-1))


def unbiased_hsic(x: Tensor, y: Tensor) -> Tensor:
    """Song et al. 2012, equation 5, from two kernels after `u_centre`: [..., n, n] each to [...].

    Near 0 for independent rows, on either side of it; of a kernel with itself never negative.
    """
    n = x.shape[-1]
    return (x * y).sum((-1, -2)) / (n * (n - 3))


def cka(cross: Tensor, own: Tensor, fixed: Tensor) -> Tensor:
    """HSIC(x, y) / sqrt(HSIC(x, x) HSIC(y, y)): at most 1, as for equal kernels; the scale of x does not matter.

    Where x is so small that HSIC(x, x)^(1/2) is below `FLOOR` of y's, that part of y's takes its place: 0 for x = 0,
    with a bounded gradient on the way up from there.

    Args:
        cross: [...], HSIC(x, y).
        own: [...], HSIC(x, x).
        fixed: [...], HSIC(y, y); where it is 0, y is constant and the result 0.
    """
    norm = fixed.clamp_min(0).sqrt()
    floored = own.clamp_min(FLOOR**2 * fixed).clamp_min(torch.finfo(own.dtype).tiny).sqrt()
    return torch.where(norm > 0, cross / (floored * torch.where(norm > 0, norm, 1)), 0)

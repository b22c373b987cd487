"""How much two LoRA adapters interfere: cosine and linear CKA of their deltas, never forming a delta.

The delta of a module is scaling * B @ A. Both measures are blind to scaling and to a change of LoRA basis,
B @ A = (B R^-1) @ (R A).
"""

import torch
from torch import Tensor

Factors = tuple[Tensor, Tensor]
"""A [..., r, in] and B [..., out, r] of one module (or of several of one shape)."""


def delta_cosine(first: Factors, second: Factors) -> Tensor:
    """<D, E> / (|D| |E|) of the deltas D and E, in the Frobenius inner product.

    <B1 A1, B2 A2> = sum((B1^T B2) * (A1 A2^T)), a sum over r1 x r2 numbers.

    Returns:
        [...], in [-1, 1]: 1 for equal directions, 0 for orthogonal ones and where a delta is 0.
    """
    lengths = (_inner(first, first) * _inner(second, second)).sqrt()
    return _ratio(_inner(first, second), lengths)


def delta_cka(first: Factors, second: Factors) -> Tensor:
    """Debiased linear CKA of two deltas; output neurons are the samples, their incoming weights the features.

    HSIC_1(D, E) / sqrt(HSIC_1(D, D) HSIC_1(E, E)) with the unbiased estimator of Song et al., "Feature Selection via
    Dependence Maximization" (JMLR 2012, equation 5) in the CKA of Kornblith et al., "Similarity of Neural Network
    Representations Revisited" (ICML 2019), as Nguyen et al. (ICLR 2021) combine them.

    Returns:
        [...], at most 1: 1 for equal deltas, 0 on average for independent ones (so it may be below), 0 where a
        delta does not vary over its output neurons.

    Raises:
        ValueError: fewer than four output neurons, or not as many in both.
    """
    x, y = _samples(first), _samples(second)
    n = x.shape[-2]
    if n < 4 or y.shape[-2] != n:
        raise ValueError(f"CKA pairs output neurons, at least 4: got {n} and {y.shape[-2]}")
    spread = _unbiased_hsic(x, x).clamp_min(0) * _unbiased_hsic(y, y).clamp_min(0)
    return _ratio(_unbiased_hsic(x, y), spread.sqrt())


def _inner(first: Factors, second: Factors) -> Tensor:
    (a, b), (c, d) = first, second
    return ((b.double().mT @ d.double()) * (a.double() @ c.double().mT)).sum((-1, -2))


def _samples(factors: Factors) -> Tensor:
    """[..., out, r] with the same inner products between rows as B @ A: with A^T = Q R they are those of B @ R^T."""
    a, b = (factor.double() for factor in factors)
    scale = a.abs().amax((-1, -2), keepdim=True) * b.abs().amax((-1, -2), keepdim=True)
    triangle: Tensor = torch.linalg.qr(a.mT).R
    return b @ triangle.mT / torch.where(scale == 0, 1.0, scale)


def _unbiased_hsic(x: Tensor, y: Tensor) -> Tensor:
    """HSIC_1 of the linear kernels x x^T and y y^T without their diagonals; x and y are [..., n, r]."""
    n = x.shape[-2]
    own_x, own_y = x.square().sum(-1), y.square().sum(-1)
    rows_x = (x @ x.sum(-2).unsqueeze(-1)).squeeze(-1) - own_x
    rows_y = (y @ y.sum(-2).unsqueeze(-1)).squeeze(-1) - own_y
    trace = (x.mT @ y).square().sum((-1, -2)) - (own_x * own_y).sum(-1)
    totals = rows_x.sum(-1) * rows_y.sum(-1) / ((n - 1) * (n - 2))
    return (trace + totals - 2 / (n - 2) * (rows_x * rows_y).sum(-1)) / (n * (n - 3))


def _ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    return torch.where(denominator > 0, numerator / denominator.clamp_min(torch.finfo(torch.double).tiny), 0.0)

"""Dependence of low-rank matrices scaling * B @ A through their factors: no [out, in] or [out, out] matrix is formed.

The samples are output neurons: row k of one matrix is paired with row k of the other.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Deltas(NamedTuple):
    """A batch of matrices scaling * b @ a: a [..., r, in], b [..., out, r]."""

    a: Tensor
    b: Tensor
    scaling: float

    def row_products(self, rows: Tensor) -> Tensor:
        """Inner products of the chosen n rows with each other: [..., n, n]."""
        b = self.b[..., rows, :]
        return b @ self.mixing() @ b.transpose(-1, -2)

    def mixing(self) -> Tensor:
        """M with delta @ delta^T = b @ M @ b^T: [..., r, r]."""
        return self.scaling**2 * (self.a @ self.a.transpose(-1, -2))


class LinearKernel(NamedTuple):
    """K = b @ mixing @ b^T of centred rows: b [..., n, r] with columns that sum to 0, mixing [..., r, r].

    `squares` [..., n] is the diagonal of K.
    """

    b: Tensor
    mixing: Tensor
    squares: Tensor


def linear_kernel(deltas: Deltas, unit: Tensor | float = 1.0) -> LinearKernel:
    """Inner products of a delta's rows after their mean is taken off, divided by `unit` ([...]): O(out r^2)."""
    b = deltas.b - deltas.b.mean(-2, keepdim=True)
    mixing = deltas.mixing() / torch.as_tensor(unit, device=b.device)[..., None, None]
    return LinearKernel(b, mixing, ((b @ mixing) * b).sum(-1))


def unbiased_linear_hsic(x: LinearKernel, y: LinearKernel) -> Tensor:
    """Unbiased HSIC (Song et al. 2012, equation 5) of the rows of two deltas, exactly, in O(out r_x r_y).

    The estimator does not change when a constant row is added, and for centred rows the sums over K and L that it
    needs are those of their diagonals k and l:
    n (n - 3) HSIC = tr(K L) - n / (n - 2) <k, l> + tr(K) tr(L) / ((n - 1) (n - 2)).

    Args:
        x: n rows, n at least 4.
        y: as many, of any rank.

    Returns:
        [...], near 0 for independent rows, on either side of it; of a kernel with itself never negative.
    """
    n = x.b.shape[-2]
    products = x.b.transpose(-1, -2) @ y.b
    trace = ((x.mixing @ products @ y.mixing) * products).sum((-1, -2))
    diagonals = (x.squares * y.squares).sum(-1)
    traces = x.squares.sum(-1) * y.squares.sum(-1)
    return (trace - n / (n - 2) * diagonals + traces / ((n - 1) * (n - 2))) / (n * (n - 3))
